package pool_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"

	"lode/pool"
	"lode/stratum"
)

// TestExtranonceSizes: whatever an upstream leaves us is shared among miners, and what
// is forwarded fits it again.
func TestExtranonceSizes(t *testing.T) {
	for size, want := range map[int]struct{ prefix, left int }{
		2: {1, 1}, 3: {1, 2}, 4: {1, 3}, 8: {2, 6}, 16: {4, 12},
		1: {}, 17: {}, // refused
	} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			node, up := startFakeNode(t), startFakePool(t)
			up.e2size = size
			up.notify(poolJob("1", node, nil))
			p := startProxy(t, easy(pool.Config{
				HTTPListen: "127.0.0.1:0", Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}, {URL: "node:" + node.URL}},
			}))
			if want.prefix == 0 {
				p.eventually("the node is mined for", func() bool { return p.Status().Upstream == "node:"+node.URL })
				eventually(t, "it is said what is wrong", func() bool { return strings.Contains(get(t, p, "/api/v1/upstreams"), "extranonce2") })
				return
			}
			p.eventually("the pool is mined for", func() bool { return p.Status().Upstream == up.url() })
			a, b := p.miner("rig.1"), p.miner("rig.2")
			if string(a.e1) == string(b.e1) {
				t.Errorf("two miners have extranonce1 %x", a.e1)
			}
			for _, m := range []*miner{a, b} {
				j, err := m.job(anyJob)
				if err != nil {
					t.Fatal(err)
				}
				if len(j.e1) != 4+want.prefix || j.e2size != want.left {
					t.Errorf("extranonce1 of %d bytes, extranonce2 of %d", len(j.e1), j.e2size)
				}
				if err := m.submit(m.solve(j, 0)); err != nil {
					t.Error(err)
				}
			}
			eventually(t, "the shares are forwarded", func() bool { return up.submitted() == 2 })
			up.mu.Lock()
			defer up.mu.Unlock()
			for i, m := range []*miner{a, b} {
				if e2 := up.submits[i][2].(string); len(e2) != 2*size || !strings.HasPrefix(e2, hex.EncodeToString(m.e1[4:])) {
					t.Errorf("forwarded extranonce2 %s of %d bytes for extranonce1 %x", e2, size, m.e1)
				}
			}
		})
	}
}

// TestWholeExtranonce: one miner has all that the pool left, and the next one waits.
func TestWholeExtranonce(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	up.e2size = 4
	up.notify(poolJob("1", node, nil))
	p := startProxy(t, easy(pool.Config{WholeExtranonce: true, Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}}}))
	p.eventually("mining for the pool", func() bool { return p.Status().Upstream == up.url() })
	m := p.miner("rented")
	j, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(j.e1) != up.e1 || j.e2size != 4 {
		t.Errorf("extranonce1 %x, extranonce2 of %d bytes", j.e1, j.e2size)
	}
	if err := m.submit(m.solve(j, 0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the share is forwarded", func() bool { return up.submitted() == 1 })
	up.mu.Lock()
	if e2 := up.submits[0][2].(string); len(e2) != 8 {
		t.Errorf("forwarded extranonce2 %s", e2)
	}
	up.mu.Unlock()
	if err := dial(t, p.Status().Listen).join("another", ""); err == nil || !strings.Contains(err.Error(), "no extranonce is free") {
		t.Errorf("a second miner: %v", err)
	}
	_ = m.conn.Close()
	eventually(t, "the next one is in", func() bool { return dial(t, p.Status().Listen).join("another", "") == nil })
}

// TestExhaustedSpace: the miner that finds no extranonce is told so.
func TestExhaustedSpace(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	up.e2size = 2
	up.notify(poolJob("1", node, nil))
	p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}}}))
	p.eventually("mining for the pool", func() bool { return p.Status().Upstream == up.url() })
	var first *miner
	for i := range 256 {
		m := dial(t, p.Status().Listen)
		if err := m.join(fmt.Sprint("rig.", i), ""); err != nil {
			t.Fatal(err)
		}
		m.share()
		if i == 0 {
			first = m
		}
	}
	err := dial(t, p.Status().Listen).join("one.more", "")
	if codeOf(err) != stratum.CodeOther || !strings.Contains(err.Error(), "no extranonce is free") {
		t.Errorf("the 257th miner: %v", err)
	}
	// A place is kept for the miner that left, by its session id.
	_ = first.conn.Close()
	eventually(t, "the session is resumed", func() bool {
		again := dial(t, p.Status().Listen)
		return again.join("rig.0", first.session) == nil && string(again.e1) == string(first.e1)
	})
}

// TestAnonymousConnects: 65,536 connections in a row that never have a share, of one address
// or of several, some of which stay, keep no miner out of a space of 256 places, or of 65,536.
func TestAnonymousConnects(t *testing.T) {
	connects := 65_536
	if testing.Short() {
		connects = 2000
	}
	for _, size := range []int{4, 8} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			node, up := startFakeNode(t), startFakePool(t)
			up.e2size = size
			up.notify(poolJob("1", node, nil))
			// That strangers can make so many is not what is tried: see stratum.TestConnectRate.
			limits := stratum.Limits{PerAddress: 100_000}
			p := startProxy(t, easy(pool.Config{Limits: limits, Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}}}))
			p.eventually("mining for the pool", func() bool { return p.Status().Upstream == up.url() })
			for i := range connects {
				from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(size), byte(2+i%100))}}
				c, err := from.Dial("tcp", p.Status().Listen)
				if err != nil {
					t.Fatal(err)
				}
				if i < 600 {
					t.Cleanup(func() { _ = c.Close() })
				}
				if _, err := fmt.Fprintln(c, `{"id":1,"method":"mining.subscribe","params":[]}`); err != nil {
					t.Fatal(err)
				}
				if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, `"error":null`) {
					t.Fatalf("connection %d: %s, %v", i+1, line, err)
				}
				if i >= 600 {
					_ = c.Close()
				}
			}
			for i := range 3 {
				m := dial(t, p.Status().Listen)
				if err := m.join(fmt.Sprint("rig.", i), ""); err != nil {
					t.Fatal(err)
				}
				j, err := m.job(anyJob)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.submit(m.solve(j, 0)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestUpstreamExtranonce: the pool changes extranonce1 in mid-session. Who understands
// set_extranonce stays, with a clean job; the others are sent away to subscribe anew.
func TestUpstreamExtranonce(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	up.notify(poolJob("1", node, nil))
	p := startProxy(t, easy(pool.Config{StaleGrace: minerTimeout, Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}}}))
	modern := p.miner("modern")
	plain := dial(t, p.Status().Listen)
	if err := plain.join("plain", ""); err != nil {
		t.Fatal(err)
	}
	var old [2]solution
	for i, m := range []*miner{modern, plain} {
		j, err := m.job(anyJob)
		if err != nil {
			t.Fatal(err)
		}
		old[i] = m.solve(j, 0)
	}
	up.mu.Lock()
	up.extranonces = `{"id":null,"method":"mining.set_extranonce","params":["bbccdd",7]}` + "\n"
	up.mu.Unlock()
	up.notify(poolJob("2", node, func(job []any) { job[8] = false }))
	j, err := modern.job(func(j *minerJob) bool { return len(j.e1) == 3+2 })
	if err != nil {
		t.Fatal(err)
	}
	if !j.Clean || j.e2size != 5 {
		t.Errorf("clean %v, extranonce2 of %d bytes", j.Clean, j.e2size)
	}
	// What was under way is judged by what held when it was found.
	if err := modern.submit(old[0]); err != nil {
		t.Errorf("share of the former extranonce: %v", err)
	}
	if err := modern.submit(modern.solve(j, 0)); err != nil {
		t.Errorf("share of the new extranonce: %v", err)
	}
	eventually(t, "both are forwarded", func() bool { return up.submitted() == 2 })
	up.mu.Lock()
	if a, b := up.submits[0], up.submits[1]; a[1] != "1" || b[1] != "2" || len(a[2].(string)) != 16 || len(b[2].(string)) != 14 {
		t.Errorf("forwarded %v and %v", a, b)
	}
	up.mu.Unlock()
	plain.mu.Lock()
	defer plain.mu.Unlock()
	if err := plain.wait(func() bool { return false }); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("the plain miner was kept: %v", err)
	}
}

// TestBlockOfFormerUpstream: a block that was under way when the miner was moved from
// the node's work to a pool's is not lost.
func TestBlockOfFormerUpstream(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}, {URL: "node:" + node.URL}}}))
	m := p.miner("rig")
	j, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	s := m.solve(j, 0)
	up.notify(poolJob("1", node, nil))
	if _, err := m.job(func(j *minerJob) bool { return len(j.e1) == 4+2 }); err != nil {
		t.Fatal(err)
	}
	if err := m.submit(s); codeOf(err) != stratum.CodeStale {
		t.Errorf("share of the former upstream: %v", err)
	}
	eventually(t, "the block is submitted", func() bool {
		node.mu.Lock()
		defer node.mu.Unlock()
		return len(node.submitted) > 0
	})
	if b := p.Status().Blocks; len(b) != 1 || b[0].Hash != s.hash.String() || b[0].Pool != "" {
		t.Errorf("blocks %+v", b)
	}
}

// TestMaskOfUpstreams: failover to a pool without version rolling and back. A share for
// an old job is judged by the mask of that job.
func TestMaskOfUpstreams(t *testing.T) {
	node, first, second := startFakeNode(t), startFakePool(t), startFakePool(t)
	second.mask = ""
	first.notify(poolJob("1", node, nil))
	second.notify(poolJob("2", node, nil))
	p := startProxy(t, easy(pool.Config{StaleGrace: minerTimeout, Upstreams: []pool.Upstream{{URL: first.url(), User: "me"}, {URL: second.url(), User: "me"}}}))
	m := p.miner("rig")
	rolled, err := m.job(func(j *minerJob) bool { return j.mask == stratum.DefaultVersionMask })
	if err != nil {
		t.Fatal(err)
	}
	late := m.solve(rolled, 0x2000)
	first.stop()
	plain, err := m.job(func(j *minerJob) bool { return j.ID != rolled.ID && j.mask == 0 })
	if err != nil {
		t.Fatal(err)
	}
	if err := m.submit(m.solve(plain, 0x2000)); codeOf(err) != stratum.CodeOther {
		t.Errorf("rolled without leave: %v", err)
	}
	if err := m.submit(m.solve(plain, 0)); err != nil {
		t.Error(err)
	}
	eventually(t, "the share is forwarded", func() bool { return second.submitted() == 1 })
	second.mu.Lock()
	if len(second.submits[0]) != 5 {
		t.Errorf("forwarded %v to a pool without version rolling", second.submits[0])
	}
	second.mu.Unlock()
	if err := m.submit(late); err != nil && codeOf(err) != stratum.CodeStale {
		t.Errorf("late share with version bits: %v", err)
	}
	// Who comes now is told that there is no version rolling.
	if other := p.miner("other"); other.mask != 0 {
		t.Errorf("mask %08x", other.mask)
	}
}

// TestUpstreamDifficulty: the pool's difficulty holds from its next job on, and our
// miners never have a higher one.
func TestUpstreamDifficulty(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	up.difficulty = 1e-4
	hard := func(job []any) { job[6] = "1d00ffff" }
	node.bits = "1d00ffff"
	up.notify(poolJob("1", node, hard))
	p := startProxy(t, pool.Config{StartDifficulty: 1e-5, MaxDifficulty: 1e-5, Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}}})
	m := p.miner("rig")
	j, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	if j.difficulty != 1e-5 {
		t.Errorf("difficulty %g", j.difficulty)
	}
	// Down to a tenth of ours: at once, and each share is forwarded.
	up.mu.Lock()
	up.difficulty = 1e-6
	up.mu.Unlock()
	up.notify(poolJob("2", node, func(job []any) { hard(job); job[8] = false }))
	low, err := m.job(func(next *minerJob) bool { return next.ID != j.ID })
	if err != nil {
		t.Fatal(err)
	}
	if low.difficulty != 1e-6 {
		t.Errorf("difficulty %g above the pool's", low.difficulty)
	}
	if err := m.submit(m.solve(low, 0)); err != nil {
		t.Error(err)
	}
	eventually(t, "the share is forwarded", func() bool { return up.submitted() == 1 })
	// Up again: shares of the old job count as before, for the pool as well.
	up.mu.Lock()
	up.difficulty = 1e6
	up.mu.Unlock()
	up.notify(poolJob("3", node, func(job []any) { hard(job); job[8] = false }))
	high, err := m.job(func(next *minerJob) bool { return next.ID != low.ID })
	if err != nil {
		t.Fatal(err)
	}
	if high.difficulty != 1e-5 {
		t.Errorf("difficulty %g, want our own again", high.difficulty)
	}
	if err := m.submit(m.solve(low, 0)); err != nil {
		t.Errorf("share of the easier job: %v", err)
	}
	if err := m.submit(m.solve(high, 0)); err != nil {
		t.Error(err)
	}
	eventually(t, "the old job's share is forwarded", func() bool { return up.submitted() >= 2 })
	up.mu.Lock()
	defer up.mu.Unlock()
	if up.submits[len(up.submits)-1][1] != "2" || len(up.submits) != 2 {
		t.Errorf("forwarded %v", up.submits)
	}
}

// TestStartOnTestNetwork: an ASIC's first difficulty would keep a miner of a test
// network waiting for days.
func TestStartOnTestNetwork(t *testing.T) {
	node := startFakeNode(t)
	p := startProxy(t, pool.Config{Upstreams: []pool.Upstream{{URL: "node:" + node.URL}}})
	p.eventually("there is work", func() bool { return p.Status().Ready })
	m := dial(t, p.Status().Listen)
	var subscription []any
	if err := m.call(&subscription, "mining.subscribe", "bmminer/2.0.0"); err != nil {
		t.Fatal(err)
	}
	var ok bool
	if err := m.call(&ok, "mining.authorize", "rig", "x"); err != nil {
		t.Fatal(err)
	}
	if j, err := m.job(anyJob); err != nil || j.difficulty > 0.001 {
		t.Errorf("difficulty %v (%v)", j, err)
	}
}
