package scan

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"
)

// chainHeaders are the headers of real blocks.
func chainHeaders(t testing.TB) [][headerBytes]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/headers.txt")
	if err != nil {
		t.Fatal(err)
	}
	var list [][headerBytes]byte
	for line := range strings.Lines(string(text)) {
		if line[0] == '#' {
			continue
		}
		h, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil || len(h) != headerBytes {
			t.Fatalf("testdata/headers.txt: %q is no header", line)
		}
		list = append(list, [headerBytes]byte(h))
	}
	if len(list) < 50 {
		t.Fatalf("only %d headers", len(list))
	}
	return list
}

// eachKernel runs a test for all kernels that this machine can run, and for those
// that it can emulate. With -short, as under the race detector, which slows emulation
// down and finds nothing in it, the others must do.
func eachKernel(t *testing.T, test func(t *testing.T, k Kernel, emulated bool)) {
	for _, k := range Kernels() {
		t.Run(k.Name, func(t *testing.T) {
			if k.Missing != "" {
				t.Skip(k.Missing)
			}
			test(t, k, false)
		})
	}
	for _, k := range emulatedKernels(t) {
		t.Run(k.Name+"/emulated", func(t *testing.T) {
			if testing.Short() {
				t.Skip("emulation takes long: not with -short")
			}
			test(t, k, true)
		})
	}
}

// window is the number of nonces that are searched around a known one.
func window(k *Kernel, emulated bool, states int) int {
	n := 4096
	if emulated {
		n = 64
	}
	n = min(n, k.Batch) / states
	return max(n/k.Nonces*k.Nonces, k.Nonces)
}

func TestKernelsFindBlocksOfTheChain(t *testing.T) {
	all := chainHeaders(t)
	// All of these have at least 32 zero bits, and near them there is no other
	// such header: what a kernel finds must be the block and nothing else.
	const mask = ^uint32(0)
	eachKernel(t, func(t *testing.T, k Kernel, emulated bool) {
		scanner := k.New()
		for i, header := range all {
			if emulated && i%4 != 0 {
				continue // it takes long
			}
			nonce := binary.LittleEndian.Uint32(header[76:])
			version := binary.LittleEndian.Uint32(header[:])
			// The block's version is one of several, at a place that moves.
			h := &headers{header: header, versions: make([]uint32, k.States)}
			at := i % k.States
			for j := range h.versions {
				h.versions[j] = version ^ uint32(j-at)<<13
			}
			count := window(&k, emulated, k.States)
			start := nonce - uint32(i*7%count) // first, last and all lanes between
			scanner.Reset(&Job{States: h.midstates(), Tail: h.tailWords(), Mask: mask})
			got := slices.Clone(scanner.Scan(start, count))
			want := []Candidate{{State: uint32(at), Nonce: nonce}}
			if !slices.Equal(got, want) {
				t.Errorf("header %x, nonces from %08x: found %v, want %v", header, start, got, want)
			}
		}
	})
}

func TestKernelsAtBoundaries(t *testing.T) {
	random := newRandom(3)
	eachKernel(t, func(t *testing.T, k Kernel, emulated bool) {
		scanner := k.New()
		states := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 31, k.States - 1, k.States}
		for _, m := range states {
			if m < 1 || m > k.States || emulated && m > 4 && m < k.States {
				continue
			}
			h := randomHeaders(random, m)
			count := window(&k, emulated, m)
			for _, nonce := range []uint32{
				0, 1, -uint32(count), // ends at 2^32-1
				^uint32(0), -uint32(k.Nonces / 2), -uint32(count / 2), // wraps
				1<<31 - 1, random.Uint32(),
			} {
				for _, mask := range []uint32{TargetMask(1 << 27), TargetMask(1<<29 - 1)} {
					scanner.Reset(&Job{States: h.midstates(), Tail: h.tailWords(), Mask: mask})
					compare(t, scanner, h, mask, nonce, count)
					// And the next batch, which may use what was prepared.
					compare(t, scanner, h, mask, nonce+uint32(count), k.Nonces)
				}
				if emulated && m > 2 {
					break // it takes long
				}
			}
		}
	})
}

// compare checks one Scan against crypto/sha256.
func compare(t *testing.T, s Scanner, h *headers, mask, nonce uint32, count int) {
	t.Helper()
	got, want := slices.Clone(s.Scan(nonce, count)), h.candidates(mask, nonce, count)
	if !equal(got, want) {
		t.Fatalf("%d midstates, nonces from %08x, %d of them, mask %08x: found %v, want %v",
			len(h.versions), nonce, count, mask, got, want)
	}
}

func TestKernelsFindEverythingWithoutAMask(t *testing.T) {
	random := newRandom(4)
	eachKernel(t, func(t *testing.T, k Kernel, emulated bool) {
		h := randomHeaders(random, min(k.States, 5))
		count := window(&k, emulated, len(h.versions))
		scanner := k.New()
		scanner.Reset(&Job{States: h.midstates(), Tail: h.tailWords()})
		compare(t, scanner, h, 0, random.Uint32(), count)
	})
}

func TestTargetMask(t *testing.T) {
	for _, c := range []struct{ top, mask uint32 }{
		{0, 0xffffffff},          // difficulty 1 and above
		{1, 0xfeffffff},          // 31 bits; the last byte of the hash comes first
		{0x0000ffff, 0x0000ffff}, // 16 bits
		{0x7fffff00, 0x00000080}, // simnet
		{0xffffffff, 0},
	} {
		if got := TargetMask(c.top); got != c.mask {
			t.Errorf("TargetMask(%08x) = %08x, want %08x", c.top, got, c.mask)
		}
	}
}

// FuzzKernels compares all kernels with crypto/sha256.
func FuzzKernels(f *testing.F) {
	f.Add(make([]byte, headerBytes), uint32(0), uint8(1), uint8(3))
	f.Add([]byte("the quick brown fox jumps over the lazy dog"), ^uint32(0), uint8(9), uint8(5))
	f.Add([]byte{0xff}, uint32(1)<<31, uint8(255), uint8(8))
	kernels := Kernels()
	emulated := emulatedKernels(f)
	f.Fuzz(func(t *testing.T, header []byte, nonce uint32, versions, zeros uint8) {
		h := &headers{}
		copy(h.header[:], header)
		mask := TargetMask(^uint32(0) >> (zeros % 12))
		check := func(k *Kernel, count int) {
			h.versions = h.versions[:0]
			for i := range max(1, int(versions)%(k.States+1)) {
				h.versions = append(h.versions, uint32(i)*0x9e3779b9)
			}
			s := k.New()
			s.Reset(&Job{States: h.midstates(), Tail: h.tailWords(), Mask: mask})
			compare(t, s, h, mask, nonce, count)
		}
		for i := range kernels {
			if kernels[i].Missing == "" {
				check(&kernels[i], max(kernels[i].Nonces, 8))
			}
		}
		for i := range emulated {
			check(&emulated[i], emulated[i].Nonces)
		}
	})
}
