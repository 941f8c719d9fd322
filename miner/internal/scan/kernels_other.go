//go:build purego || !(amd64 || arm64)

package scan

func platformKernels() []Kernel { return nil }
