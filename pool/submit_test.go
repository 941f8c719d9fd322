package pool

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"pgregory.net/rapid"

	"lode/pool/accounts"
	"lode/pool/jobs"
	"lode/pool/judge"
	"lode/pool/share"
	"lode/pool/space"
	"lode/pool/vardiff"
	"lode/stratum"
)

// bench is a Proxy that is not running, with a clock in hand.
func bench(t testing.TB, config Config) (*Proxy, *time.Time) {
	t.Helper()
	config.Listen, config.StateDir = "127.0.0.1:0", t.TempDir()
	config.Upstreams = []Upstream{{URL: "node:http://127.0.0.1:1"}}
	p, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.closeState)
	now := time.Unix(1_700_000_000, 0)
	p.now = func() time.Time { return now }
	p.working.Store(true)
	return p, &now
}

// vectorOrigin gives the same job for extranonces of any size.
type vectorOrigin struct{ job *stratum.Job }

func (o vectorOrigin) Template(int, jobs.Key) (jobs.Template, error) { return o, nil }
func (o vectorOrigin) OwnCoinbase() bool                             { return true }
func (o vectorOrigin) CapDifficulty(d float64) float64               { return d }

func (o vectorOrigin) Parts() (coinbase1, coinbase2 []byte, branch []chainhash.Hash) {
	return o.job.Coinbase1, o.job.Coinbase2, o.job.MerkleBranch
}

func (o vectorOrigin) Block(header [80]byte, _ []byte) []byte { return header[:] }

// inject makes a job as a node would have given it.
func inject(t testing.TB, p *Proxy, from *stratum.Job, mask uint32, clean bool) *jobs.Job {
	t.Helper()
	network, err := stratum.TargetFromBits(from.Bits)
	if err != nil {
		t.Fatal(err)
	}
	return p.jobs.Add(p.now(), &jobs.Work{
		Prev: from.PrevBlock, Bits: from.Bits, Network: network, NetworkDifficulty: float64(network.Difficulty()),
		Version: from.Version &^ mask, Mask: mask, Time: from.Time, MinTime: from.Time - 100,
		Space: p.home, Origin: vectorOrigin{from},
	}, clean)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wireHash reads a prevhash as mining.notify has it.
func wireHash(t testing.TB, s string) (h chainhash.Hash) {
	t.Helper()
	for i, b := range unhex(t, s) {
		h[i^3] = b
	}
	return h
}

type vector struct {
	name       string
	job        stratum.Job
	mask       uint32
	e1, e2     string
	share      stratum.Share
	hash       string
	difficulty float64 // that the share has
}

func vectors(t testing.TB) []vector {
	return []vector{
		{
			name: "mainnet genesis",
			job: stratum.Job{
				Coinbase1: unhex(t, "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d"),
				Coinbase2: unhex(t, "696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"),
				Version:   1, Bits: 0x1d00ffff, Time: 0x495fab29,
			},
			e1: "01044554", e2: "68652054",
			share: stratum.Share{Time: 0x495fab29, Nonce: 0x7c2bac1d},
			hash:  "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", difficulty: 2536.4262984453103,
		},
		{
			name: "testnet3 1263442",
			job: stratum.Job{
				PrevBlock:    wireHash(t, "521a8d1c96a3399c34b22ddb2f15ecd587a251a6ccda6629b428e0bd00000000"),
				Coinbase1:    unhex(t, "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff230352471300fe5f45765afe94690a000963676d696e6572343208"),
				Coinbase2:    unhex(t, "00ffffffff024423a804000000001976a914f2c25ac3d59f3d674b1d1d0a25c27339aaac0ba688ac0000000000000000266a24aa21a9edcb26cb3052426b9ebb4d19c819ef87c19677bbf3a7c46ef0855bd1b2abe8349100000000"),
				MerkleBranch: []chainhash.Hash{chainhash.Hash(unhex(t, "e0e03cc73169f0a7d4863fd1c12d3680006d3406fe1ced246d3d529905d4212c"))},
				Version:      0x20000000, Bits: 0x1d00dcad, Time: 0x5a76455f,
			},
			e1: "00000000", e2: "00000000",
			share: stratum.Share{Time: 0x5a76455f, Nonce: 0x9a3b3338},
			hash:  "000000006f27ddfe1dd680044a34548f41bed47eba9e6f0b310da21423bc5f33", difficulty: 2.3030399894112277,
		},
		{
			name: "simnet 1, version rolled",
			job: stratum.Job{
				PrevBlock: wireHash(t, "69d77af62a669b5d8e3dff72e02dbbdb137ba6bf91b94b975c6d110d683e86bd"),
				Coinbase1: unhex(t, "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff18510c"),
				Coinbase2: unhex(t, "092f6578616d706c652fffffffff0100f2052a010000001976a9140102030405060708090a0b0c0d0e0f101112131488ac00000000"),
				Version:   0x20000000, Bits: 0x207fffff, Time: 0x6553f100,
			},
			mask: 0x1fffe000, e1: "a1b2c3d4", e2: "0102030405060708",
			share: stratum.Share{Time: 0x6553f100, Nonce: 0x10015793, VersionBits: 0x00c0e000, HasVersionBits: true},
			hash:  "00004ab978371b91262b50df9b32276b57ce75bc970e10c9d679625222b07908", difficulty: 5.227456707361418e-05,
		},
	}
}

// judgeVector judges a vector's share, changed by change, at a difficulty.
func judgeVector(t testing.TB, p *Proxy, j *jobs.Job, v vector, difficulty float64, change func(*stratum.Share)) (accounts.Outcome, float64, error) {
	t.Helper()
	e1 := unhex(t, v.e1)
	s := v.share
	s.JobID, s.Extranonce2 = j.Key(0).ID(), unhex(t, v.e2)
	if change != nil {
		change(&s)
	}
	var tmp judge.Scratch
	a := &tmp.Attempts[0]
	*a = judge.Attempt{In: &s, Job: j, Key: j.Key(0), Extranonce1: e1, Rest: len(s.Extranonce2), Difficulty: difficulty, Seen: seenIn(p)}
	a.Admit()
	tmp.Hash(1)
	a.Judge(p.now(), judge.Rules{Working: true, Grace: p.config.StaleGrace})
	if a.Block {
		p.found(a, nil)
	}
	return a.Outcome, a.Reached, a.Refusal
}

// seenIn is the shares that judgeVector has met with a Proxy.
func seenIn(p *Proxy) *share.Seen {
	seen, _ := allSeen.LoadOrStore(p, share.NewSeen(0))
	return seen.(*share.Seen)
}

var allSeen sync.Map

func code(err error) int {
	var e *stratum.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			p, _ := bench(t, Config{})
			j := inject(t, p, &v.job, v.mask, true)
			if o, reached, err := judgeVector(t, p, j, v, v.difficulty*0.999, nil); err != nil || o != accounts.Accepted || abs(reached/v.difficulty-1) > 1e-12 {
				t.Fatalf("%v %v %v, want difficulty %v", o, reached, err, v.difficulty)
			}
			// Once more: a duplicate.
			if o, _, err := judgeVector(t, p, j, v, v.difficulty*0.999, nil); code(err) != stratum.CodeDuplicate || o != accounts.Duplicate {
				t.Errorf("again: %v %v, want a duplicate", o, err)
			}
			// Another nonce is no share at that difficulty (but on simnet it may be a block).
			if o, _, err := judgeVector(t, p, j, v, v.difficulty*0.999, func(s *stratum.Share) { s.Nonce++ }); v.mask == 0 && (code(err) != stratum.CodeLowDifficulty || o != accounts.LowDifficulty) {
				t.Errorf("other nonce: %v %v, want low difficulty", o, err)
			}
			hash, err := chainhash.NewHashFromStr(v.hash)
			if err != nil || seenIn(p).Add(p.now(), j.Tip, hash) {
				t.Errorf("hash %s was not met (%v)", v.hash, err)
			}
		})
	}
}

// TestBlockIsAShare: a block is one however hard shares are, and however late it comes.
func TestBlockIsAShare(t *testing.T) {
	v := vectors(t)[2] // a block of simnet, of difficulty 5e-5
	for name, c := range map[string]struct {
		late bool
		code int
	}{"share difficulty above the network's": {false, 0}, "the tip has changed": {true, stratum.CodeStale}} {
		p, _ := bench(t, Config{})
		j := inject(t, p, &v.job, v.mask, true)
		if c.late {
			next := v.job
			next.PrevBlock[0] ^= 1
			inject(t, p, &next, v.mask, true)
		}
		if _, _, err := judgeVector(t, p, j, v, 1e6, nil); code(err) != c.code {
			t.Errorf("%s: %v, want code %d", name, err, c.code)
		}
		if b := p.keeper.Blocks(); len(b) != 1 || b[0].Hash != v.hash {
			t.Errorf("%s: blocks %+v", name, b)
		}
	}
}

func abs(x float64) float64 { return max(x, -x) }

func TestRefusals(t *testing.T) {
	v := vectors(t)[2]
	low := v.difficulty * 0.9
	for name, c := range map[string]struct {
		change func(*stratum.Share)
		code   int // 0: accepted or a hash that is no share, but no fault of form
	}{
		"as it is":               {nil, 0},
		"version bit outside":    {func(s *stratum.Share) { s.VersionBits |= 1 << 12 }, stratum.CodeOther},
		"high version bit":       {func(s *stratum.Share) { s.VersionBits |= 1 << 29 }, stratum.CodeOther},
		"no version bits":        {func(s *stratum.Share) { s.HasVersionBits, s.VersionBits = false, 0 }, stratum.CodeLowDifficulty},
		"time before mintime":    {func(s *stratum.Share) { s.Time = v.job.Time - 101 }, stratum.CodeOther},
		"time = mintime":         {func(s *stratum.Share) { s.Time = v.job.Time - 100 }, stratum.CodeLowDifficulty},
		"time 7000 s ahead":      {func(s *stratum.Share) { s.Time = v.job.Time + 7000 }, stratum.CodeLowDifficulty},
		"time 7001 s ahead":      {func(s *stratum.Share) { s.Time = v.job.Time + 7001 }, stratum.CodeOther},
		"time 0":                 {func(s *stratum.Share) { s.Time = 0 }, stratum.CodeOther},
		"time at the end of all": {func(s *stratum.Share) { s.Time = 1<<32 - 1 }, stratum.CodeOther},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := bench(t, Config{})
			hard := v.job
			hard.Bits = 0x1d00ffff // so that no hash here is a block
			if name == "as it is" {
				hard = v.job
			}
			j := inject(t, p, &hard, v.mask, true)
			if _, _, err := judgeVector(t, p, j, v, low, c.change); code(err) != c.code {
				t.Errorf("%v, want code %d", err, c.code)
			}
		})
	}
}

func TestStale(t *testing.T) {
	v := vectors(t)[2]
	for _, grace := range []time.Duration{0, 2 * time.Second} {
		t.Run(fmt.Sprint(grace), func(t *testing.T) {
			p, now := bench(t, Config{StaleGrace: grace})
			j := inject(t, p, &v.job, v.mask, true)
			same := v.job
			inject(t, p, &same, v.mask, false) // a refresh does not retire it
			if _, _, err := judgeVector(t, p, j, v, v.difficulty*0.9, nil); err != nil {
				t.Fatalf("after a refresh: %v", err)
			}
			next := v.job
			next.PrevBlock[0] ^= 1
			inject(t, p, &next, v.mask, true)
			other := func(s *stratum.Share) { s.Nonce = s.Nonce ^ 1 }
			want := stratum.CodeStale
			if grace > 0 {
				want = 0 // at simnet's difficulty every second hash is a block, and a share with it
			}
			_, _, err := judgeVector(t, p, j, v, 1e-10, other)
			if code(err) != want {
				t.Errorf("just after the next block: %v, want code %d", err, want)
			}
			*now = now.Add(3 * time.Second)
			if _, _, err := judgeVector(t, p, j, v, 1e-10, func(s *stratum.Share) { s.Nonce ^= 2 }); code(err) != stratum.CodeStale {
				t.Errorf("3 s after: %v, want stale", err)
			}
		})
	}
}

// TestMayFind: the least interval between blocks, and the bound for one previous block.
func TestMayFind(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	one, other := chainhash.Hash{1}, chainhash.Hash{2}
	var b brake
	for i, step := range []struct {
		after time.Duration
		on    chainhash.Hash
		want  bool
	}{{0, one, true}, {9 * time.Second, other, false}, {time.Second, other, true}, {time.Second, other, false}} {
		now = now.Add(step.after)
		if got := b.mayFind(now, 10*time.Second, step.on); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	b = brake{}
	for i := range candidatesPerTip + 1 {
		if got := b.mayFind(now, 0, one); got != (i < candidatesPerTip) {
			t.Errorf("block %d on one tip: %v", i+1, got)
		}
	}
	if !b.mayFind(now, 0, other) {
		t.Error("the next tip is shut")
	}
}

// loggedIn is a session without a connection, whose difficulty does not change.
func loggedIn(p *Proxy, difficulty float64) *session {
	lease, err := p.home.Take(p.now(), space.Request{})
	if err != nil {
		panic(err) // there are 2^24
	}
	lease.Extranonce = []byte{1, 2, 3, 4}
	s := &session{
		holding:    holding{space: p.home, lease: lease, seen: share.NewSeen(p.config.StaleGrace)},
		authorized: true,
		workers:    map[string]*accounts.Worker{"w": p.accounts.Worker("w")},
	}
	s.vardiff = vardiff.New(p.vardiff, p.now(), difficulty, 0)
	return s
}

// TestBatch: shares that come in together are judged as they are one by one.
func TestBatch(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		config := Config{MinDifficulty: 1e-9, MaxDifficulty: 1e-9}
		one, _ := bench(t, config)
		two, _ := bench(t, config)
		from := &stratum.Job{
			Coinbase2: make([]byte, 100), MerkleBranch: make([]chainhash.Hash, rapid.IntRange(0, 3).Draw(r, "branch")),
			Bits: 0x1d00ffff, Version: 0x20000000, Time: uint32(one.now().Unix()),
		}
		made := map[*Proxy][]*jobs.Job{}
		for _, p := range []*Proxy{one, two} {
			for i := range 3 {
				of := *from
				of.Coinbase1 = bytes.Repeat([]byte{byte(i)}, 60)
				j := inject(t, p, &of, stratum.DefaultVersionMask, i == 1)
				made[p] = append(made[p], j)
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
		verdicts := func(p *Proxy, most int) (list []error) {
			s := loggedIn(p, 1e-9)
			for i := 0; i < len(shares); {
				var batch []*stratum.Submission
				for ; len(batch) < most && i < len(shares); i++ {
					in := stratum.Submission{Share: shares[i]}
					if n := int(in.JobID[0] - '0'); n < len(made[p]) {
						in.JobID = made[p][n].Key(0).ID()
					}
					batch = append(batch, &in)
				}
				p.submitBatch(s, batch)
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
		if a, b := one.accounts.Total().Tallies, two.accounts.Total().Tallies; !reflect.DeepEqual(a, b) {
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
			p, now := bench(b, Config{MinDifficulty: c.difficulty, MaxDifficulty: c.difficulty})
			from := &stratum.Job{
				Coinbase1: make([]byte, 60), Coinbase2: make([]byte, 228), MerkleBranch: make([]chainhash.Hash, 12),
				Bits: 0x170355f0, Version: 0x20000000, Time: uint32(p.now().Unix()),
			}
			s := loggedIn(p, c.difficulty)
			batch := make([]*stratum.Submission, c.batch)
			for i := range batch {
				batch[i] = &stratum.Submission{Share: stratum.Share{Worker: "w", Extranonce2: make([]byte, 8), Time: from.Time, HasVersionBits: true}}
			}
			refusals, n := 0, uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				if n%(1<<16) == 0 {
					// A block in a while: the hashes of its shares are kept until the next.
					j := inject(b, p, from, stratum.DefaultVersionMask, true)
					for _, in := range batch {
						in.JobID = j.Key(0).ID()
					}
				}
				*now = now.Add(10 * time.Microsecond)
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
