package pool

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/accounts"
	"lode/pool/jobs"
	"lode/pool/judge"
	"lode/pool/template"
	"lode/stratum"
)

// origin is of work that there is not. As a Taker it takes all.
type origin struct{ taken []string }

func (o *origin) Make(int, jobs.Key) (template.Work, error) { return o, nil }
func (o *origin) OwnCoinbase() bool                         { return true }
func (o *origin) CapDifficulty(d float64) float64           { return d }
func (o *origin) Coinbase() (before, after []byte)          { return []byte("before"), []byte("after") }
func (o *origin) Branch() []chainhash.Hash                  { return nil }

func (o *origin) Solve(header [80]byte, extranonce []byte) []byte {
	return append(header[:], extranonce...)
}

func (o *origin) Take(*stratum.Share, uint32, []byte, *chainhash.Hash) {}

func (o *origin) TakeBlock(_ *stratum.Share, _ uint32, _ []byte, hash string, record func(string) bool) {
	if record("stratum+tcp://pool") {
		o.taken = append(o.taken, "new "+hash)
	} else {
		o.taken = append(o.taken, hash)
	}
}

// TestFound: a block goes to the keeper once, with its finder's name, and is the finder's; a
// pool gets it whatever the keeper does. Its finder is answered when it is safe, or after two
// seconds.
func TestFound(t *testing.T) {
	for _, kind := range []string{"node", "pool"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				p, err := New(Config{
					Listen: "127.0.0.1:0", StateDir: dir, MinBlockInterval: time.Minute,
					Upstreams: []Upstream{{URL: "node:http://127.0.0.1:1"}},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer p.folder.Close()
				o := &origin{}
				work := &jobs.Work{Prev: chainhash.Hash{1}, Height: 7, Origin: o}
				if kind == "pool" {
					work.Taker = o
				}
				j := p.jobs.Add(time.Now(), work, true)
				find := func(n byte, w *accounts.Worker) time.Duration {
					v, err := j.Variant(6, 0)
					if err != nil {
						t.Fatal(err)
					}
					begin := time.Now()
					p.found(&judge.Attempt{
						In: &stratum.Share{Worker: "w", Extranonce2: []byte{3, 4}}, Job: j, Variant: v,
						Extranonce1: []byte{1, 2}, Header: [80]byte{n}, Hash: chainhash.Hash{n},
					}, w)
					return time.Since(begin)
				}
				w := p.folder.Accounts.Worker("w")
				if waited := find(1, nil); waited != safeTime { // nothing makes it safe here
					t.Errorf("its finder waited %v", waited)
				}
				time.Sleep(time.Minute)
				if find(1, w) != 0 || w.Report().Blocks != 1 {
					t.Errorf("%d blocks after the same once more", w.Report().Blocks)
				}
				if find(2, w) != 0 { // within the minute after the last one that was counted
					t.Error("the interval does not hold")
				}
				time.Sleep(time.Minute)
				find(3, w)
				list := p.Status().Blocks
				if len(list) != 2 || w.Report().Blocks != 2 {
					t.Fatalf("%d blocks, %d of the worker", len(list), w.Report().Blocks)
				}
				b := list[1]
				if b.Hash != (chainhash.Hash{1}).String() || b.Height != 7 || b.Finder != "w" || (b.Pool != "") != (kind == "pool") {
					t.Errorf("block %+v", b)
				}
				if kind == "pool" {
					if len(o.taken) != 4 || o.taken[0] != "new "+b.Hash || o.taken[1] != b.Hash {
						t.Errorf("the pool got %q", o.taken)
					}
				} else if len(o.taken) != 0 {
					t.Errorf("shares for a node: %q", o.taken)
				}
			})
		})
	}
}

// TestFoundBesideALiar: blocks that a pool only says to be some, with bits that are too easy,
// do not stand in the way of a node's on the same tip.
func TestFoundBesideALiar(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Config{
			Listen: "127.0.0.1:0", StateDir: dir,
			Upstreams: []Upstream{{URL: "stratum+tcp://127.0.0.1:1", User: "u"}, {URL: "node:http://127.0.0.1:1"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.folder.Close()
		o := &origin{}
		find := func(source int, taker jobs.Taker, n byte) {
			j := p.jobs.Add(time.Now(), &jobs.Work{Source: source, Prev: chainhash.Hash{1}, Height: 7, Origin: o, Taker: taker}, true)
			v, err := j.Variant(6, 0)
			if err != nil {
				t.Fatal(err)
			}
			p.found(&judge.Attempt{
				In: &stratum.Share{Worker: "w", Extranonce2: []byte{3, 4}}, Job: j, Variant: v,
				Extranonce1: []byte{1, 2}, Header: [80]byte{n}, Hash: chainhash.Hash{n},
			}, nil)
		}
		for n := range byte(100) {
			find(0, o, n)
		}
		find(1, nil, 200)
		if newest := p.Status().Blocks[0]; newest.Hash != (chainhash.Hash{200}).String() || newest.Pool != "" {
			t.Errorf("the node's block is not among those found: the newest is %+v", newest)
		}
	})
}

// TestFoundBesideAForger: blocks that keep to no rule of their job, which no node takes most
// probably, do not stand in the way of another one on the same tip.
func TestFoundBesideAForger(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Config{Listen: "127.0.0.1:0", StateDir: dir, MinBlockInterval: time.Minute, Upstreams: []Upstream{{URL: "node:http://127.0.0.1:1"}}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.folder.Close()
		j := p.jobs.Add(time.Now(), &jobs.Work{Prev: chainhash.Hash{1}, Height: 7, Version: 0x20000000, Origin: &origin{}}, true)
		find := func(n byte, bits uint32) {
			a := &judge.Attempt{
				In:  &stratum.Share{Worker: "w", Extranonce2: []byte{3, 4}, VersionBits: bits, HasVersionBits: true},
				Job: j, Key: j.Key(0), Extranonce1: []byte{1, 2}, Rest: 2, Header: [80]byte{n}, Hash: chainhash.Hash{n},
			}
			a.Admit()
			p.found(a, nil)
		}
		for n := range byte(20) {
			find(n, 1)
			time.Sleep(time.Minute)
		}
		find(100, 1)
		find(200, 0)
		newest := p.Status().Blocks
		if want := (chainhash.Hash{200}).String(); newest[0].Hash != want || len(newest) > 10 {
			t.Errorf("the newest of %d blocks is %s, want %s", len(newest), newest[0].Hash, want)
		}
	})
}
