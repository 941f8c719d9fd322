package merkle

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
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
	var scratch Scratch
	rapid.Check(t, func(t *rapid.T) {
		headers := make([][HeaderSize]byte, rapid.IntRange(0, 40).Draw(t, "count"))
		for i := range headers {
			copy(headers[i][:], rapid.SliceOfN(rapid.Byte(), HeaderSize, HeaderSize).Draw(t, "header"))
		}
		got := make([]chainhash.Hash, len(headers))
		DoubleHeaders(&scratch, headers, got)
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

// checkRoots compares all that there is for the roots of coinbases.
func checkRoots(t interface {
	Helper()
	Fatalf(string, ...any)
}, coinbase1, coinbase2, extranonce1 []byte, extranonces2 [][]byte, branch []chainhash.Hash,
) {
	t.Helper()
	r := New(coinbase1, coinbase2, branch)
	scratch := Scratch{coinbases: []byte("remains")}
	got := make([]chainhash.Hash, len(extranonces2))
	r.RootsOf(&scratch, extranonce1, extranonces2, got)
	for i, e2 := range extranonces2 {
		coinbase := slices.Concat(coinbase1, extranonce1, e2, coinbase2)
		want := naiveRoot(coinbase, branch)
		if got[i] != want {
			t.Fatalf("RootsOf, %d of %d: %v, want %v", i, len(got), got[i], want)
		}
		if got := r.Root(&scratch, extranonce1, e2); got != want {
			t.Fatalf("Root: %v, want %v", got, want)
		}
		if got := Fold(Double(coinbase), branch); got != want {
			t.Fatalf("Fold: %v, want %v", got, want)
		}
		if got := portableFold(portableDouble(coinbase), branch); got != want {
			t.Fatalf("portable: %v, want %v", got, want)
		}
	}
}

func TestRoots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := func(name string, most int) []byte { return rapid.SliceOfN(rapid.Byte(), 0, most).Draw(t, name) }
		size := rapid.IntRange(0, 40).Draw(t, "size")
		extranonces2 := make([][]byte, rapid.SampledFrom([]int{0, 1, 2, 3, 6, 7, 15, 16, 17, 24, 40}).Draw(t, "count"))
		seed := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "extranonce2")
		for i := range extranonces2 {
			extranonces2[i] = slices.Clone(seed)
			if size > 0 {
				extranonces2[i][i%size] ^= byte(i)
			}
		}
		checkRoots(t, part("coinbase1", 300), part("coinbase2", 400), part("extranonce1", 16), extranonces2, hashes(0, 14).Draw(t, "branch"))
	})
}

func FuzzRoots(f *testing.F) {
	f.Add([]byte("coinbase"), []byte("its end"), []byte("one"), []byte("two"), []byte("and a branch, of which whole hashes count"), uint8(3))
	f.Add(make([]byte, 64), []byte{}, []byte{}, []byte{}, make([]byte, 64), uint8(18))
	f.Fuzz(func(t *testing.T, coinbase1, coinbase2, extranonce1, extranonce2, branch []byte, count uint8) {
		var steps []chainhash.Hash
		for ; len(branch) >= chainhash.HashSize; branch = branch[chainhash.HashSize:] {
			steps = append(steps, chainhash.Hash(branch[:chainhash.HashSize]))
		}
		extranonces2 := make([][]byte, count%40)
		for i := range extranonces2 {
			extranonces2[i] = slices.Clone(extranonce2)
			for j := range extranonces2[i] {
				extranonces2[i][j] ^= byte(i)
			}
		}
		checkRoots(t, coinbase1, coinbase2, extranonce1, extranonces2, steps)
	})
}

// TestParents makes roots of trees of all sizes and compares them with btcd's.
func TestParents(t *testing.T) {
	for n := 1; n < 300; n++ {
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
	scratch := new(Scratch)
	e1, e2 := make([]byte, 4), make([]byte, 8)
	many := make([][]byte, 20)
	headers, hashes := make([][HeaderSize]byte, len(many)), make([]chainhash.Hash, len(many))
	for i := range many {
		many[i] = e2
	}
	for name, f := range map[string]func(){
		"Root":          func() { r.Root(scratch, e1, e2) },
		"RootsOf":       func() { r.RootsOf(scratch, e1, many, hashes) },
		"Double":        func() { Double(headers[0][:]) },
		"DoubleHeaders": func() { DoubleHeaders(scratch, headers, hashes) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkShare rebuilds and hashes headers of a full block: a coinbase of 300
// bytes, a branch of 12, each share with an extranonce2 of its own. The number is that
// of shares that are at hand together.
func BenchmarkShare(b *testing.B) {
	branch := make([]chainhash.Hash, 12)
	for i := range branch {
		branch[i] = Double([]byte{byte(i)})
	}
	r := New(make([]byte, 60), make([]byte, 228), branch)
	e1 := make([]byte, 4)
	for _, size := range []int{1, 2, 4, 8, 16, 0} {
		name, count := strconv.Itoa(size), size
		if size == 0 {
			name, count = "portable", 1
		}
		b.Run(name, func(b *testing.B) {
			scratch := new(Scratch)
			e2 := make([][]byte, count)
			for i := range e2 {
				e2[i] = make([]byte, 8)
			}
			headers, hashes := make([][HeaderSize]byte, count), make([]chainhash.Hash, count)
			b.ReportAllocs()
			n := uint64(0)
			for b.Loop() {
				for i := range e2 {
					n++
					binary.LittleEndian.PutUint64(e2[i], n)
				}
				if size == 0 {
					coinbase := append(append(append(append(scratch.coinbases[:0], r.coinbase1...), e1...), e2[0]...), r.coinbase2...)
					root := portableFold(portableDouble(coinbase), branch)
					copy(headers[0][36:], root[:])
					hashes[0] = portableDouble(headers[0][:])
					scratch.coinbases = coinbase
					continue
				}
				r.RootsOf(scratch, e1, e2, hashes)
				for i := range hashes {
					copy(headers[i][36:], hashes[i][:])
				}
				DoubleHeaders(scratch, headers, hashes)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "shares/s")
		})
	}
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
