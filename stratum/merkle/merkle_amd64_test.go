//go:build amd64 && !purego

package merkle

import (
	"testing"

	"github.com/klauspost/cpuid/v2"
)

func TestAccelerated(t *testing.T) {
	if !cpuid.CPU.Supports(cpuid.SHA, cpuid.AVX) {
		t.Skip("this processor has no SHA extensions: the portable functions alone were tested")
	}
	if !accelerated {
		t.Error("the assembly for the SHA extensions fails its check")
	}
	if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW) != wide {
		t.Errorf("AVX-512 is used: %v; its assembly fails its check", wide)
	}
}

// TestWithoutAVX512: most processors have the SHA extensions alone.
func TestWithoutAVX512(t *testing.T) {
	was := wide
	wide = false
	defer func() { wide = was }()
	t.Run("roots", TestRoots)
	t.Run("headers", TestDoubleHeaders)
	t.Run("parents", TestParents)
}
