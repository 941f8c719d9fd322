//go:build amd64 && !purego

package scan

import "github.com/klauspost/cpuid/v2"

//go:noescape
func shaniPlain2(record *extensionRecord, tail *[4]uint32, scratch *extensionScratch, nonce uint32, groups int, mask uint32, out *byte)

//go:noescape
func shaniPlain4(record *extensionRecord, tail *[4]uint32, scratch *extensionScratch, nonce uint32, groups int, mask uint32, out *byte)

//go:noescape
func shaniRoll2(tables *extensionTable, nonces int, records *extensionRecord, groups int, scratch *extensionScratch, mask uint32, out *byte)

//go:noescape
func shaniTable(table *extensionTable, message *[4]uint32)

// shaniFunctions are the assembly; tests put an emulation in their place.
type shaniFunctions struct {
	plain2, plain4 extensionPlainFunc
	roll2          extensionRollFunc
	table          func(table *extensionTable, message *[4]uint32)
}

func shaniKernels() []Kernel {
	return shaniKernelsOf(shaniFunctions{shaniPlain2, shaniPlain4, shaniRoll2, shaniTable},
		missing(cpuid.SHA, cpuid.AVX))
}

func shaniKernelsOf(f shaniFunctions, lacks string) []Kernel {
	shani := func(name string, streams int, plain extensionPlainFunc, roll extensionRollFunc) Kernel {
		return extension{
			name: name, streams: streams, plain: plain, roll: roll, table: f.table,
			state: func(s State) [8]uint32 {
				return [8]uint32{s[5], s[4], s[1], s[0], s[7], s[6], s[3], s[2]}
			},
			nonceWords: [4]uint32{0, 1, 0, 1}, // e and a
		}.kernel(1, lacks)
	}
	return []Kernel{
		shani("shani-roll", 2, nil, f.roll2),
		shani("shani", 4, f.plain4, nil),
		shani("shani2", 2, f.plain2, nil),
	}
}
