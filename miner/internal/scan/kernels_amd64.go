//go:build amd64 && !purego

package scan

import (
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

func platformKernels() []Kernel {
	hybrid := hybridKernels()
	likely := len(hybrid) - 1 // the last one was behind shani wherever it was measured
	return slices.Concat(avx512Kernels(), hybrid[:likely], shaniKernels(), hybrid[likely:], avx2Kernels())
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
