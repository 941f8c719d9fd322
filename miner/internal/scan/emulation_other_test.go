//go:build !amd64 || purego

package scan

import "testing"

// emulatedKernels: the code of the emulated kernels' Go half is for amd64 only.
func emulatedKernels(testing.TB) []Kernel { return nil }
