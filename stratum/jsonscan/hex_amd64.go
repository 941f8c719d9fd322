//go:build amd64 && !purego

package jsonscan

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

//go:generate go -C ../../_asm run ./hex -out ../stratum/jsonscan/hex_amd64.s

// hexBlocks counts the blocks of 32 bytes at p, of which there are blocks (not 0),
// that consist of hexadecimal digits, up to the first that does not.
//
//go:noescape
func hexBlocks(p *byte, blocks int) int

var hasAVX2 = cpuid.CPU.Supports(cpuid.AVX2)

// hexRun is a number of bytes that b begins with and that are hexadecimal digits.
func hexRun(b []byte) int {
	if n := len(b) / 32; hasAVX2 && n > 0 {
		return 32 * hexBlocks(unsafe.SliceData(b), n)
	}
	return 0
}
