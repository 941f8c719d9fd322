//go:build purego || !amd64

package scan

func platformKernels() []Kernel { return nil }
