package pool_test

import (
	"strings"
	"testing"

	"lode/devnode"
	"lode/pool"
)

// TestProxyBehindProxy mines a block through two proxies: the outer one has the
// inner one as its pool.
func TestProxyBehindProxy(t *testing.T) {
	btcd := startBtcd(t, devnode.Config{})
	inner := startProxy(t, pool.Config{Upstreams: []pool.Upstream{nodeUpstream(btcd)}, StartDifficulty: 1e-6, MaxDifficulty: 1e-6})
	outer := startProxy(t, pool.Config{
		Upstreams:       []pool.Upstream{{URL: "stratum+tcp://" + inner.Status().Listen, User: "farm.outer"}},
		StartDifficulty: 1e-6, MaxDifficulty: 1e-6,
	})
	m := outer.miner("rig.1")
	prev := ""
	const blocks = 10
	for i := range blocks {
		j, err := m.job(func(j *minerJob) bool { return j.PrevBlock.String() != prev })
		if err != nil {
			t.Fatal(err)
		}
		prev = j.PrevBlock.String()
		if len(j.e1) != 4+2 || j.e2size != 6 {
			t.Fatalf("extranonce1 of %d bytes, extranonce2 of %d: want 6 and 6", len(j.e1), j.e2size)
		}
		if err := m.submit(m.solve(j, uint32(i+1)<<13)); err != nil {
			t.Fatalf("share %d refused: %v", i, err)
		}
	}
	inner.eventually("all blocks are confirmed", func() bool { return confirmed(inner) == blocks })
	for _, b := range inner.Status().Blocks {
		if b.Finder != "farm.outer" {
			t.Errorf("finder %q, want the outer proxy", b.Finder)
		}
	}
	if s := outer.Status(); s.Shares.Accepted != blocks || s.Shares.Rejected+s.Shares.Stale != 0 {
		t.Errorf("outer: %+v", s.Shares)
	}
	if s := inner.Status(); s.Shares.Accepted != blocks || s.Shares.Rejected+s.Shares.Stale != 0 {
		t.Errorf("inner: %+v", s.Shares)
	}
}

func confirmed(p *proxy) int {
	n := 0
	for _, b := range p.Status().Blocks {
		if b.State == pool.BlockConfirmed {
			n++
		}
	}
	return n
}

// TestFailover kills the best upstream and brings it back: the miner's connection
// stays up all the while, and it always has work.
func TestFailover(t *testing.T) {
	first := startBtcd(t, devnode.Config{})
	second := startBtcd(t, devnode.Config{Connect: []string{first.P2P}})
	p := startProxy(t, pool.Config{
		Upstreams:       []pool.Upstream{nodeUpstream(first), nodeUpstream(second)},
		StartDifficulty: 1e-6, MaxDifficulty: 1e-6, HoldDown: -1,
	})
	m := p.miner("rig.1")
	mineOne := func(prev string) string {
		t.Helper()
		last := ""
		for {
			j, err := m.job(func(j *minerJob) bool { return j.PrevBlock.String() != prev && j.ID != last })
			if err != nil {
				t.Fatal(err)
			}
			err = m.submit(m.solve(j, 0))
			if err == nil {
				return j.PrevBlock.String()
			}
			if !strings.Contains(err.Error(), "Stale") {
				t.Fatalf("share refused: %v", err)
			}
			last = j.ID // the upstream changed while it was solved: there is a newer job
		}
	}
	prev := mineOne("")
	prev = mineOne(prev)
	p.eventually("two blocks are confirmed", func() bool { return confirmed(p) == 2 })
	eventually(t, "the second node has them", func() bool { h, _ := second.Height(t.Context()); return h == 2 })

	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	p.eventually("the second node is mined for", func() bool { return p.Status().Upstream == "node:"+second.URL })
	for range 3 {
		prev = mineOne(prev)
	}
	p.eventually("five blocks are confirmed", func() bool { return confirmed(p) == 5 })

	// The first node forgot its chain, or part of it: it gets all blocks again.
	restart(t, first)
	eventually(t, "the first node has all blocks again", func() bool { h, _ := first.Height(t.Context()); return h >= 5 })
	p.eventually("the first node is mined for again", func() bool { return p.Status().Upstream == "node:"+first.URL })
	mineOne(prev)
	p.eventually("six blocks are confirmed", func() bool { return confirmed(p) == 6 })
}
