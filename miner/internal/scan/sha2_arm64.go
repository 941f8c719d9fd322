//go:build arm64 && !purego

package scan

import "github.com/klauspost/cpuid/v2"

//go:noescape
func arm64Plain(record *extensionRecord, tail *[4]uint32, scratch *extensionScratch, nonce uint32, groups int, mask uint32, out *byte)

//go:noescape
func arm64Roll(tables *extensionTable, nonces int, records *extensionRecord, groups int, scratch *extensionScratch, mask uint32, out *byte)

//go:noescape
func arm64Table(table *extensionTable, message *[4]uint32)

func platformKernels() []Kernel {
	lacks := ""
	if !cpuid.CPU.Supports(cpuid.SHA2) {
		lacks = "this cpu has no SHA2 instructions"
	}
	sha2 := func(name string, plain extensionPlainFunc, roll extensionRollFunc) Kernel {
		return extension{
			name: name, streams: 4, plain: plain, roll: roll, table: arm64Table,
			state:      func(s State) [8]uint32 { return s },
			nonceWords: [4]uint32{1, 0, 0, 0}, // a; and e of the second register
		}.kernel(1, lacks)
	}
	return []Kernel{
		sha2("arm64-sha2-roll", nil, arm64Roll),
		sha2("arm64-sha2", arm64Plain, nil),
	}
}
