package merkle

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"
	"pgregory.net/rapid"
)

// The package's promises are held against btcd and against the portable functions,
// which are tested as well: on machines without the assembly they are all there is.

func hashes(least, most int) *rapid.Generator[[]chainhash.Hash] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) (h chainhash.Hash) {
		copy(h[:], rapid.SliceOfN(rapid.Byte(), len(h), len(h)).Draw(t, "hash"))
		return h
	}), least, most)
}

func TestDouble(t *testing.T) {
	message := make([]byte, 700)
	for i := range message {
		message[i] = byte(i * 7)
	}
	for n := range message {
		want := chainhash.DoubleHashH(message[:n])
		if got := Double(message[:n]); got != want {
			t.Fatalf("%d bytes: %v, want %v", n, got, want)
		}
		if got := portableDouble(message[:n]); got != want {
			t.Fatalf("portable, %d bytes: %v, want %v", n, got, want)
		}
	}
}

func TestDoubleHeaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var headers [2][80]byte
		for i := range headers {
			copy(headers[i][:], rapid.SliceOfN(rapid.Byte(), 80, 80).Draw(t, "header"))
		}
		got := DoubleHeaders(&headers)
		for i := range headers {
			if want := chainhash.DoubleHashH(headers[i][:]); got[i] != want {
				t.Fatalf("header %d: %v, want %v", i, got[i], want)
			}
		}
	})
}

// naiveRoot is the definition.
func naiveRoot(coinbase []byte, branch []chainhash.Hash) chainhash.Hash {
	root := chainhash.DoubleHashH(coinbase)
	for _, sibling := range branch {
		root = chainhash.DoubleHashH(append(append([]byte(nil), root[:]...), sibling[:]...))
	}
	return root
}

// checkRoots compares all that there is for the root of a coinbase.
func checkRoots(t interface {
	Helper()
	Fatalf(string, ...any)
}, coinbase1, coinbase2, extranonce1, extranonce2, other2 []byte, branch []chainhash.Hash,
) {
	t.Helper()
	r := New(coinbase1, coinbase2, branch)
	var want [2]chainhash.Hash
	for i, e2 := range [][]byte{extranonce2, other2} {
		coinbase := slices.Concat(coinbase1, extranonce1, e2, coinbase2)
		want[i] = naiveRoot(coinbase, branch)
		if got, _ := r.Root([]byte("remains"), extranonce1, e2); got != want[i] {
			t.Fatalf("Root: %v, want %v", got, want[i])
		}
		if got := Fold(Double(coinbase), branch); got != want[i] {
			t.Fatalf("Fold: %v, want %v", got, want[i])
		}
		if got := portableFold(portableDouble(coinbase), branch); got != want[i] {
			t.Fatalf("portable: %v, want %v", got, want[i])
		}
	}
	if got, _ := r.RootPair(nil, extranonce1, extranonce2, other2); got != want {
		t.Fatalf("RootPair: %v, want %v", got, want)
	}
}

func TestRoots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := func(name string, most int) []byte { return rapid.SliceOfN(rapid.Byte(), 0, most).Draw(t, name) }
		size := rapid.IntRange(0, 40).Draw(t, "size")
		extranonce2 := func(name string) []byte { return rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, name) }
		checkRoots(t, part("coinbase1", 300), part("coinbase2", 400), part("extranonce1", 16),
			extranonce2("extranonce2"), extranonce2("other"), hashes(0, 14).Draw(t, "branch"))
	})
}

func FuzzRoots(f *testing.F) {
	f.Add([]byte("coinbase"), []byte("its end"), []byte("one"), []byte("two"), []byte("and a branch, of which whole hashes count"), uint8(3))
	f.Add(make([]byte, 64), []byte{}, []byte{}, []byte{}, make([]byte, 64), uint8(0))
	f.Fuzz(func(t *testing.T, coinbase1, coinbase2, extranonce1, extranonce2, branch []byte, flip uint8) {
		var steps []chainhash.Hash
		for ; len(branch) >= chainhash.HashSize; branch = branch[chainhash.HashSize:] {
			steps = append(steps, chainhash.Hash(branch[:chainhash.HashSize]))
		}
		other := slices.Clone(extranonce2)
		for i := range other {
			other[i] ^= flip
		}
		checkRoots(t, coinbase1, coinbase2, extranonce1, extranonce2, other, steps)
	})
}

// TestParents makes roots of trees of all sizes and compares them with btcd's.
func TestParents(t *testing.T) {
	for n := 1; n < 140; n++ {
		block := make([]*btcutil.Tx, n)
		level := make([]chainhash.Hash, n)
		for i := range block {
			tx := wire.NewMsgTx(int32(n))
			tx.LockTime = uint32(i)
			block[i] = btcutil.NewTx(tx)
			level[i] = *block[i].Hash()
		}
		portable := slices.Clone(level)
		if len(portable)%2 == 0 {
			portableParents(portable)
			portable = portable[:len(portable)/2]
		}
		for i := 0; len(level) > 1; i++ {
			if level = Parents(level); i == 0 && n%2 == 0 && !slices.Equal(level, portable) {
				t.Fatalf("%d leaves: the portable function makes another level", n)
			}
		}
		if want := blockchain.CalcMerkleRoot(block, false); level[0] != want {
			t.Errorf("%d leaves: root %v, btcd says %v", n, level[0], want)
		}
		if same := Parents(level); len(same) != 1 || same[0] != level[0] {
			t.Errorf("the parent of a root is %v", same)
		}
	}
	if got := Parents(nil); len(got) != 0 {
		t.Errorf("no leaves have the parents %v", got)
	}
}

func TestNoAllocation(t *testing.T) {
	r := New(make([]byte, 60), make([]byte, 228), make([]chainhash.Hash, 12))
	scratch := make([]byte, 0, 1024)
	e1, e2 := make([]byte, 4), make([]byte, 8)
	var headers [2][80]byte
	for name, f := range map[string]func(){
		"Root":          func() { _, scratch = r.Root(scratch, e1, e2) },
		"RootPair":      func() { _, scratch = r.RootPair(scratch, e1, e2, e2) },
		"Double":        func() { Double(scratch) },
		"DoubleHeaders": func() { DoubleHeaders(&headers) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkShare rebuilds and hashes headers of a full block: a coinbase of 300
// bytes, a branch of 12, each share with an extranonce2 of its own.
func BenchmarkShare(b *testing.B) {
	branch := make([]chainhash.Hash, 12)
	for i := range branch {
		branch[i] = Double([]byte{byte(i)})
	}
	r := New(make([]byte, 60), make([]byte, 228), branch)
	e1, e2, other := make([]byte, 4), make([]byte, 8), make([]byte, 8)
	scratch := make([]byte, 0, 1024)
	var headers [2][80]byte
	var shares uint64
	measure := func(each int, f func()) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				shares++
				binary.LittleEndian.PutUint64(e2, shares)
				binary.BigEndian.PutUint64(other, shares)
				f()
				n += each
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "shares/s")
		}
	}
	b.Run("one", measure(1, func() {
		var root chainhash.Hash
		root, scratch = r.Root(scratch, e1, e2)
		copy(headers[0][36:], root[:])
		Double(headers[0][:])
	}))
	b.Run("pair", measure(2, func() {
		var roots [2]chainhash.Hash
		roots, scratch = r.RootPair(scratch, e1, e2, other)
		copy(headers[0][36:], roots[0][:])
		copy(headers[1][36:], roots[1][:])
		DoubleHeaders(&headers)
	}))
	b.Run("portable", measure(1, func() {
		scratch = append(append(append(append(scratch[:0], r.coinbase1...), e1...), e2...), r.coinbase2...)
		root := portableFold(portableDouble(scratch), branch)
		copy(headers[0][36:], root[:])
		portableDouble(headers[0][:])
	}))
}

func BenchmarkParents(b *testing.B) {
	for _, n := range []int{100, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			level := make([]chainhash.Hash, n)
			for b.Loop() {
				for rest := level; len(rest) > 1; {
					rest = Parents(rest)
				}
			}
		})
	}
}
