package miners

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"pgregory.net/rapid"

	"lode/pool/accounts"
	"lode/pool/jobs"
	"lode/pool/share"
	"lode/pool/space"
	"lode/pool/vardiff"
	"lode/stratum"
)

func code(err error) int {
	var e *stratum.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// loggedIn is a session without a connection, whose difficulty does not change.
func (b *bench) loggedIn(difficulty float64) *session {
	lease, err := b.o.Home.Take(b.now(), space.Request{})
	if err != nil {
		panic(err) // there are 2^24
	}
	lease.Extranonce = []byte{1, 2, 3, 4}
	s := &session{
		holding:    holding{space: b.o.Home, lease: lease, seen: share.NewSeen(b.o.StaleGrace)},
		authorized: true,
		workers:    map[string]*accounts.Worker{"w": b.o.Accounts.Worker("w")},
	}
	s.vardiff = vardiff.New(b.o.Vardiff, b.now(), difficulty, 0)
	return s
}

// pool is a Taker.
type pool struct {
	given
	taken []uint32 // nonces
}

func (p *pool) Take(in *stratum.Share, _ uint32, _ []byte, _ *chainhash.Hash) {
	p.taken = append(p.taken, in.Nonce)
}

func (p *pool) TakeBlock(*stratum.Share, uint32, []byte, string, func(string) bool) {
	panic("a block goes by Options.Found")
}

// TestTaker: a pool gets the shares that count, once, and no others; blocks go another way.
func TestTaker(t *testing.T) {
	b := newBench(t, func(o *Options) { easy(o); o.Vardiff.Max = everyHash })
	w := b.work(false)
	p := &pool{given: w.Origin.(given)}
	w.Taker = p
	b.Publish(w)
	s := b.loggedIn(everyHash)
	j := b.o.Jobs.Latest()
	share := func(nonce uint32) stratum.Share {
		return stratum.Share{Worker: "w", JobID: j.Key(0).ID(), Extranonce2: make([]byte, 8), Time: j.Time, Nonce: nonce}
	}
	submit := func(in stratum.Share) error {
		one := &stratum.Submission{Share: in}
		b.submitBatch(s, []*stratum.Submission{one})
		return one.Verdict
	}
	for name, c := range map[string]struct {
		change func(in *stratum.Share)
		code   int
	}{
		"once more":   {func(in *stratum.Share) { in.Nonce = 1 }, stratum.CodeDuplicate},
		"a stranger":  {func(in *stratum.Share) { in.Worker = "x" }, stratum.CodeUnauthorized},
		"another job": {func(in *stratum.Share) { in.JobID = "zz" }, stratum.CodeStale},
		"early":       {func(in *stratum.Share) { in.Time -= 1000 }, stratum.CodeOther},
	} {
		if err := submit(share(1)); code(err) != 0 && code(err) != stratum.CodeDuplicate {
			t.Fatal(err)
		}
		in := share(2)
		c.change(&in)
		if err := submit(in); code(err) != c.code {
			t.Errorf("%s: %v, want code %d", name, err, c.code)
		}
	}
	if !reflect.DeepEqual(p.taken, []uint32{1}) {
		t.Errorf("the pool got shares %d, want 1 alone", p.taken)
	}
	w = b.work(false)
	w.Network, _ = stratum.TargetFromBits(0x207fffff) // every second hash is a block
	w.Taker = p
	b.Publish(w)
	j = b.o.Jobs.Latest()
	for nonce := range uint32(20) {
		if err := submit(share(100 + nonce)); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.found) == 0 || len(b.found)+len(p.taken) != 21 {
		t.Errorf("of 20 shares %d are blocks, %d went to the pool", len(b.found), len(p.taken)-1)
	}
}

// TestBatch: shares that come in together are judged as they are one by one.
func TestBatch(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		fixed := func(o *Options) { o.Vardiff = vardiff.Config{Min: 1e-9, Max: 1e-9} }
		one, two := newBench(t, fixed), newBench(t, fixed)
		from := &stratum.Job{
			Coinbase2: make([]byte, 100), MerkleBranch: make([]chainhash.Hash, rapid.IntRange(0, 3).Draw(r, "branch")),
			Bits: 0x1d00ffff, Version: 0x20000000, Time: uint32(one.now().Unix()),
		}
		made := map[*bench][]*jobs.Job{}
		for _, b := range []*bench{one, two} {
			for i := range 3 {
				of := *from
				of.Coinbase1 = bytes.Repeat([]byte{byte(i)}, 60)
				j := b.inject(t, &of, stratum.DefaultVersionMask, i == 1)
				made[b] = append(made[b], j)
			}
		}
		shares := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) stratum.Share {
			return stratum.Share{
				Worker:      rapid.SampledFrom([]string{"w", "w", "w", "x"}).Draw(r, "worker"),
				JobID:       rapid.SampledFrom([]string{"0", "1", "2", "2", "2", "3"}).Draw(r, "job"),
				Extranonce2: rapid.SliceOfN(rapid.ByteRange(0, 1), 8, rapid.SampledFrom([]int{8, 8, 8, 9}).Draw(r, "size")).Draw(r, "extranonce2"),
				Time:        from.Time + uint32(rapid.SampledFrom([]int{0, 0, 1, 9000}).Draw(r, "time")),
				Nonce:       rapid.Uint32Range(0, 3).Draw(r, "nonce"),
				VersionBits: rapid.SampledFrom([]uint32{0, 0, 1 << 13, 1}).Draw(r, "version"), HasVersionBits: true,
			}
		}), 1, 60).Draw(r, "shares")
		verdicts := func(b *bench, most int) (list []error) {
			s := b.loggedIn(1e-9)
			for i := 0; i < len(shares); {
				var batch []*stratum.Submission
				for ; len(batch) < most && i < len(shares); i++ {
					in := stratum.Submission{Share: shares[i]}
					if n := int(in.JobID[0] - '0'); n < len(made[b]) {
						in.JobID = made[b][n].Key(0).ID()
					}
					batch = append(batch, &in)
				}
				b.submitBatch(s, batch)
				for _, in := range batch {
					list = append(list, in.Verdict)
				}
			}
			return list
		}
		single, together := verdicts(one, 1), verdicts(two, rapid.IntRange(2, 40).Draw(r, "batch"))
		for i := range single {
			if single[i] != together[i] {
				r.Fatalf("share %d %+v: %v alone, %v in a batch", i, shares[i], single[i], together[i])
			}
		}
		if a, b := one.o.Accounts.Total().Tallies, two.o.Accounts.Total().Tallies; !reflect.DeepEqual(a, b) {
			r.Fatalf("accounts: %v one by one, %v in batches", a, b)
		}
	})
}

// BenchmarkShare is a share in a full block from when its line was read to its
// verdict: coinbase of 300 bytes, branch of 12, a new extranonce2 each time.
func BenchmarkShare(b *testing.B) {
	for _, c := range []struct {
		name       string
		difficulty float64
		batch      int
	}{
		{"accepted/one", 1e-12, 1},
		{"accepted/two", 1e-12, 2},
		{"accepted/batch", 1e-12, 16},
		{"too-easy/one", 1e6, 1},
		{"too-easy/two", 1e6, 2},
		{"too-easy/batch", 1e6, 16},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := newBench(b, func(o *Options) { o.Vardiff = vardiff.Config{Min: c.difficulty, Max: c.difficulty} })
			from := &stratum.Job{
				Coinbase1: make([]byte, 60), Coinbase2: make([]byte, 228), MerkleBranch: make([]chainhash.Hash, 12),
				Bits: 0x170355f0, Version: 0x20000000, Time: uint32(p.now().Unix()),
			}
			s := p.loggedIn(c.difficulty)
			batch := make([]*stratum.Submission, c.batch)
			for i := range batch {
				batch[i] = &stratum.Submission{Share: stratum.Share{Worker: "w", Extranonce2: make([]byte, 8), Time: from.Time, HasVersionBits: true}}
			}
			refusals, n := 0, uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				if n%(1<<16) == 0 {
					// A block in a while: the hashes of its shares are kept until the next.
					j := p.inject(b, from, stratum.DefaultVersionMask, true)
					for _, in := range batch {
						in.JobID = j.Key(0).ID()
					}
				}
				p.advance(10 * time.Microsecond)
				for _, in := range batch {
					n++
					binary.LittleEndian.PutUint64(in.Extranonce2, n)
				}
				p.submitBatch(s, batch)
				for _, in := range batch {
					if in.Verdict != nil {
						refusals++
					}
				}
			}
			if wanted := c.difficulty > 1; refusals > 0 != wanted {
				b.Errorf("%d of %d shares were refused", refusals, n)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "shares/s")
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(n), "ns/share")
		})
	}
}
