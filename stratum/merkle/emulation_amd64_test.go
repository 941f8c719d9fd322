//go:build amd64 && !purego

package merkle

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"
	"unsafe"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/internal/emulate"
)

// emulatedWide calls the functions for AVX-512 on a model of the processor, whatever
// this one has.
type emulatedWide struct {
	t *testing.T
	m *emulate.Machine
}

func newEmulatedWide(t *testing.T) emulatedWide {
	text, err := os.ReadFile("merkle_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	p, err := emulate.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return emulatedWide{t, p.NewMachine()}
}

// memory lets the function that is called next use a value, and returns its address.
func memory[T any](e emulatedWide, v *T) uint64 {
	return e.m.Map(unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)))
}

func (e emulatedWide) call(function string, arguments ...uint64) {
	e.t.Helper()
	var stack []byte
	for _, a := range arguments {
		stack = binary.LittleEndian.AppendUint64(stack, a)
	}
	if err := e.m.Call(function, stack); err != nil {
		e.t.Fatal(err)
	}
	e.m.Unmap()
}

func TestEmulatedWide(t *testing.T) {
	e := newEmulatedWide(t)
	random := rand.New(rand.NewPCG(5, 6))
	var messages [lanes][blockSize]byte
	for i := range messages {
		for j := range messages[i] {
			messages[i][j] = byte(random.Uint32())
		}
	}
	w := new(wideScratch)
	check := func(t *testing.T, want func(lane int) chainhash.Hash) {
		t.Helper()
		for lane := range lanes {
			var got chainhash.Hash
			if w.get(lane, &got); got != want(lane) {
				t.Errorf("lane %d: %v, want %v", lane, got, want(lane))
			}
		}
	}
	double := func(lane int) chainhash.Hash { return portableDouble(messages[lane][:]) }

	t.Run("block and digest", func(t *testing.T) {
		w.start(&initial)
		for block := range 2 {
			for lane := range messages {
				padded := pad(append([]byte(nil), messages[lane][:]...), blockSize)
				w.put(lane, (*[blockSize]byte)(padded[block*blockSize:]))
			}
			e.call("wideBlock", memory(e, &w.state), memory(e, &w.block))
		}
		e.call("wideHash", memory(e, &w.state), 0, 0, 0)
		check(t, double)
	})
	t.Run("a branch", func(t *testing.T) {
		branch := [3]chainhash.Hash{double(3), double(1), double(2)}
		for lane := range messages {
			w.put(lane, &messages[lane])
		}
		e.call("wideHash", memory(e, &w.state), memory(e, &w.block), memory(e, &branch), uint64(len(branch)))
		check(t, func(lane int) chainhash.Hash { return portableFold(double(lane), branch[:]) })
	})
	t.Run("pairs", func(t *testing.T) {
		for lane := range messages {
			w.put(lane, &messages[lane])
		}
		e.call("wideHash", memory(e, &w.state), memory(e, &w.block), 0, 0)
		check(t, double)
	})
}
