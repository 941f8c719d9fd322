//go:build amd64 && !purego

package scan

import (
	"encoding/binary"
	"os"
	"testing"
	"unsafe"

	"lode/miner/internal/emulate"
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

// emulatedAVX512 are the kernels' functions in emulation.
func emulatedAVX512(t testing.TB) avx512Functions {
	m := loadProgram(t, "avx512_amd64.s")
	call := func(function string, arguments []byte) {
		if err := m.Call(function, arguments); err != nil {
			panic(err) // the test that is running is not known here
		}
		m.Unmap()
	}
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

// emulatedKernels are the AVX-512 kernels, whatever this machine is, with batches
// that an emulation does in reasonable time.
func emulatedKernels(t testing.TB) []Kernel {
	kernels := avx512KernelsOf(emulatedAVX512(t), "")
	for i := range kernels {
		kernels[i].Batch = 512
		if kernels[i].Rolling {
			kernels[i].States = 7
		}
	}
	return kernels
}

func TestAVX512KernelsInEmulation(t *testing.T) {
	for _, k := range emulatedKernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			if err := k.Verify(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
