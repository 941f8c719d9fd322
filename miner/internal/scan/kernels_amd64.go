//go:build amd64 && !purego

package scan

import (
	"strings"

	"github.com/klauspost/cpuid/v2"
)

func platformKernels() []Kernel {
	return append(avx512Kernels(), shaniKernels()...)
}

// missing names the features that the processor or the system lacks.
func missing(features ...cpuid.FeatureID) string {
	var lacking []string
	for _, f := range features {
		if !cpuid.CPU.Supports(f) {
			lacking = append(lacking, f.String())
		}
	}
	if lacking == nil {
		return ""
	}
	return "this cpu has no " + strings.Join(lacking, ", ")
}
