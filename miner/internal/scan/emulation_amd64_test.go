//go:build amd64 && !purego

package scan

import (
	"encoding/binary"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"lode/internal/emulate"
	"lode/miner/internal/limits"
)

// bytesOf is the memory of a value.
func bytesOf[T any](p *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

// words are arguments as they lie on the stack.
func words(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func address[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

// loadProgram reads a file of assembly for emulation.
func loadProgram(t testing.TB, file string) *emulate.Machine {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := emulate.Parse(string(text))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return p.NewMachine()
}

// caller calls functions in emulation and forgets the memory that was mapped for
// them.
func caller(m *emulate.Machine) func(function string, arguments []byte) {
	return func(function string, arguments []byte) {
		if err := m.Call(function, arguments); err != nil {
			panic(err) // the test that is running is not known here
		}
		m.Unmap()
	}
}

// emulatedAVX512 are the kernels' functions in emulation.
func emulatedAVX512(t testing.TB) avx512Functions {
	m := loadProgram(t, "avx512_amd64.s")
	call := caller(m)
	return avx512Functions{
		roll: func(records *vectorRecord, pairs int, table, next *avx512Rows, buffer *avx512Buffer, mask *uint32, out *uint16) {
			m.Map(bytesOf((*avx512RollMemory)(unsafe.Pointer(records)))) // its first field
			call("avx512Roll", words(address(records), uint64(pairs), address(table), address(next),
				address(buffer), address(mask), address(out)))
		},
		plain: func(record *vectorRecord, nonce uint32, groups int, buffer *avx512Buffer, mask *uint32, out *uint16) {
			m.Map(bytesOf((*avx512PlainMemory)(unsafe.Pointer(buffer)))) // its first field
			call("avx512Plain", words(address(record), uint64(nonce), uint64(groups),
				address(buffer), address(mask), address(out)))
		},
		table: func(table *avx512Rows, record *vectorRecord, nonce uint32) {
			m.Map(bytesOf(table))
			m.Map(bytesOf(record))
			call("avx512Table", words(address(table), address(record), uint64(nonce)))
		},
	}
}

// emulatedHybrid are those for the SHA extensions beside vectors.
func emulatedHybrid(t testing.TB) hybridFunctions {
	m := loadProgram(t, "hybrid_amd64.s")
	call := caller(m)
	roll := func(name string) hybridRollFunc {
		return func(records, end, previous *hybridRecord, table *extensionTable, blocks int, buffer *hybridBuffer, mask *[hybridLanes]uint32, out *byte) {
			m.Map(bytesOf((*hybridMemory)(unsafe.Pointer(buffer)))) // its first field
			call(name, words(address(records), address(end), address(previous), address(table), uint64(blocks),
				address(buffer), address(mask), address(out)))
		}
	}
	plain := func(record *hybridRecord, table *extensionTable, job *vectorRecord, blocks int, buffer *hybridPlainBuffer, mask *uint32, out *byte) {
		m.Map(bytesOf((*hybridPlainMemory)(unsafe.Pointer(buffer)))) // its first field
		call("hybridPlainAVX512", words(address(record), address(table), address(job), uint64(blocks),
			address(buffer), address(mask), address(out)))
	}
	plainAVX2 := func(record *hybridRecord, table *extensionTable, blocks int, buffer *hybridPlainAVX2Buffer, mask *[hybridLanes]uint32, out *byte) {
		m.Map(bytesOf((*hybridPlainAVX2Memory)(unsafe.Pointer(buffer)))) // its first field
		call("hybridPlainAVX2", words(address(record), address(table), uint64(blocks), address(buffer), address(mask), address(out)))
	}
	return hybridFunctions{roll("hybridRollAVX512"), roll("hybridRollAVX2"), plain, plainAVX2, emulatedShani(t).table}
}

// emulatedShani are those for the SHA extensions.
func emulatedShani(t testing.TB) shaniFunctions {
	m := loadProgram(t, "shani_amd64.s")
	call := caller(m)
	plain := func(name string) extensionPlainFunc {
		return func(record *extensionRecord, tail *[4]uint32, scratch *extensionScratch, nonce uint32, groups int, mask uint32, out *byte) {
			m.Map(bytesOf((*extensionMemory)(unsafe.Pointer(record)))) // its first field
			call(name, words(address(record), address(tail), address(scratch), uint64(nonce),
				uint64(groups), uint64(mask), address(out)))
		}
	}
	return shaniFunctions{
		plain2: plain("shaniPlain2"),
		plain4: plain("shaniPlain4"),
		roll2: func(tables *extensionTable, nonces int, records *extensionRecord, groups int, scratch *extensionScratch, mask uint32, out *byte) {
			m.Map(bytesOf((*extensionMemory)(unsafe.Pointer(records)))) // its first field
			call("shaniRoll2", words(address(tables), uint64(nonces), address(records), uint64(groups),
				address(scratch), uint64(mask), address(out)))
		},
		table: func(table *extensionTable, message *[4]uint32) {
			m.Map(bytesOf(table))
			m.Map(bytesOf(message))
			call("shaniTable", words(address(table), address(message)))
		},
	}
}

// emulatedAVX2 are those for AVX2.
func emulatedAVX2(t testing.TB) avx2Functions {
	m := loadProgram(t, "avx2_amd64.s")
	call := caller(m)
	return avx2Functions{
		roll: func(records *vectorRecord, count int, table *avx2Rows, buffer *avx2Buffer, mask *uint32, out *byte) {
			m.Map(bytesOf((*avx2Memory)(unsafe.Pointer(table)))) // its first field
			call("avx2Roll", words(address(records), uint64(count), address(table),
				address(buffer), address(mask), address(out)))
		},
		plain: func(record *vectorRecord, nonce uint32, count int, buffer *avx2Buffer, mask *uint32, out *byte) {
			m.Map(bytesOf((*avx2Buffer)(unsafe.Pointer(buffer))))
			m.Map(bytesOf(record))
			m.Map(bytesOf(mask))
			m.Map(unsafe.Slice(out, count))
			call("avx2Plain", words(address(record), uint64(nonce), uint64(count),
				address(buffer), address(mask), address(out)))
		},
		table: func(table *avx2Rows, record *vectorRecord, buffer *avx2Buffer, nonce uint32) {
			m.Map(bytesOf(table))
			m.Map(bytesOf(record))
			m.Map(bytesOf(buffer))
			call("avx2Table", words(address(table), address(record), address(buffer), uint64(nonce)))
		},
	}
}

// emulatedKernels are all kernels of amd64, whatever this machine is, with batches
// that an emulation does in reasonable time. Where a kernel can also run natively,
// the emulation itself is what is tested.
func emulatedKernels(t testing.TB) []Kernel {
	kernels := slices.Concat(
		avx512KernelsOf(emulatedAVX512(t), ""),
		hybridKernelsOf(emulatedHybrid(t), "", ""),
		shaniKernelsOf(emulatedShani(t), ""),
		avx2KernelsOf(emulatedAVX2(t), ""),
	)
	for i := range kernels {
		kernels[i].Batch = 512
		if kernels[i].Rolling {
			kernels[i].States = 7
		}
	}
	return kernels
}

// TestHybridCleansUppers checks what makes a kernel two hundred times slower on Zen 3:
// a SHA instruction while the upper half of a register is in use.
func TestHybridCleansUppers(t *testing.T) {
	text, err := os.ReadFile("hybrid_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	wide := regexp.MustCompile(`\bY([0-9]|1[0-5])$`) // as the destination
	dirty, rounds, function := false, 0, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "TEXT"):
			dirty, function = false, line
		case line == "VZEROUPPER":
			dirty = false
		case wide.MatchString(line):
			dirty = true
		case strings.HasPrefix(line, "SHA256RNDS2"):
			if strings.Contains(function, "AVX2") && dirty {
				t.Fatalf("%s: %s after vector code without VZEROUPPER", function, line)
			}
			rounds++
		}
	}
	if rounds == 0 {
		t.Fatal("no SHA256RNDS2 in hybrid_amd64.s")
	}
}

// TestEachKernelHasABound: lode bench says how far a kernel is from what its
// instructions need.
func TestEachKernelHasABound(t *testing.T) {
	for _, k := range Kernels() {
		if _, ok := limits.DesignOf(k.Name); !ok && !k.Fallback {
			t.Errorf("package limits knows no design of %s", k.Name)
		}
	}
}
