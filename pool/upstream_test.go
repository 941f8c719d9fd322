package pool_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lode/devnode"
	"lode/pool"
	"lode/stratum"
)

// easy are settings under which the tests' miner finds shares in no time.
func easy(config pool.Config) pool.Config {
	config.StartDifficulty, config.MaxDifficulty = 1e-6, 1e-6
	config.HoldDown = -1
	return config
}

// TestUntrustedPool: a pool whose jobs contradict our own node is left for it.
func TestUntrustedPool(t *testing.T) {
	for _, c := range []struct {
		name   string
		expect string // payout address
		change func(p *fakePool, job []any)
		trust  bool
		reason string
	}{
		{name: "honest", trust: true},
		{name: "honest, pays to the address", expect: devnode.DefaultMiningAddress, trust: true, change: func(_ *fakePool, job []any) {
			job[3] = "ffffffff0100f2052a010000001976a9140102030405060708090a0b0c0d0e0f101112131488ac00000000"
		}},
		{name: "other nbits", reason: "nbits", change: func(_ *fakePool, job []any) { job[6] = "1d00ffff" }},
		{name: "other height", reason: "height", change: func(_ *fakePool, job []any) {
			job[2] = strings.Replace(job[2].(string), "02f401", "02f501", 1)
		}},
		{name: "before mintime", reason: "before", change: func(_ *fakePool, job []any) { job[7] = fmt.Sprintf("%08x", time.Now().Unix()-4000) }},
		{name: "pays to another", expect: "SeqMmGLVQf1ZUL4m8FgBz7kUrWYf1jHTbr", reason: "pay", change: func(*fakePool, []any) {}},
		{name: "coinbase unreadable", expect: devnode.DefaultMiningAddress, reason: "coinbase", change: func(_ *fakePool, job []any) { job[3] = "ff" }},
		{name: "extranonce2 of 1 byte", reason: "extranonce2", change: func(p *fakePool, _ []any) { p.e2size = 1 }},
		{name: "33 branches", change: func(_ *fakePool, job []any) {
			branch := make([]string, 33)
			for i := range branch {
				branch[i] = strings.Repeat("00", 32)
			}
			job[4] = branch
		}},
		{name: "huge coinbase", change: func(_ *fakePool, job []any) { job[3] = strings.Repeat("00", 161<<10) }},
		{name: "difficulty 0", change: func(p *fakePool, _ []any) { p.difficulty = 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.expect == "SeqMmGLVQf1ZUL4m8FgBz7kUrWYf1jHTbr" {
				c.expect = otherSimnetAddress(t)
			}
			node, up := startFakeNode(t), startFakePool(t)
			job := poolJob("1", node, nil)
			if c.change != nil {
				up.mu.Lock()
				c.change(up, job)
				up.mu.Unlock()
			}
			up.notify(job)
			p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{
				{URL: up.url(), User: "me.proxy", ExpectAddress: c.expect},
				{URL: "node:" + node.URL},
			}}))
			want := "node:" + node.URL
			if c.trust {
				want = up.url()
			}
			p.eventually("mining for "+want, func() bool { return p.Status().Upstream == want })
			m := p.miner("rig.1")
			m.share()
			if c.trust {
				eventually(t, "the share is forwarded", func() bool { return up.submitted() == 1 })
			} else if up.submitted() != 0 {
				t.Error("a share was forwarded to a pool that is not trusted")
			}
		})
	}
}

// otherSimnetAddress is an address of simnet that no test pays to.
func otherSimnetAddress(t *testing.T) string {
	t.Helper()
	return simnetAddress(t, [20]byte{9, 9, 9})
}

// TestSwitchKinds goes from a pool to a node and back. The miner understands
// set_extranonce: its connection stays up.
func TestSwitchKinds(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	up.e1, up.e2size, up.mask = "0102030405", 7, "00c00000"
	up.notify(poolJob("1", node, nil))
	p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}, {URL: "node:" + node.URL}}}))
	p.eventually("mining for the pool", func() bool { return p.Status().Upstream == up.url() })
	m := p.miner("rig.1")
	share := func(what string, want func(*minerJob) bool, bits uint32) *minerJob {
		t.Helper()
		j, err := m.job(want)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := m.submit(m.solve(j, bits)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return j
	}
	j := share("pool", anyJob, 0x00800000)
	if j.mask != 0x00c00000 || len(j.e1) != 5+2 || j.e2size != 5 {
		t.Errorf("pool: mask %08x, extranonce1 of %d bytes, extranonce2 of %d", j.mask, len(j.e1), j.e2size)
	}
	eventually(t, "the share is forwarded", func() bool { return up.submitted() == 1 })
	e2 := up.submits[0][2].(string)
	if len(e2) != 2*7 || up.submits[0][5] != "00800000" {
		t.Errorf("forwarded %v", up.submits[0])
	}

	// The pool goes: the node can take the miner's extranonces as they are.
	up.stop()
	p.eventually("mining for the node", func() bool { return p.Status().Upstream == "node:"+node.URL })
	first := j.ID
	j = share("node", func(j *minerJob) bool { return j.ID != first && j.mask == stratum.WideVersionMask }, 0x10002020)
	if len(j.e1) != 5+2 || j.e2size != 5 || !j.Clean {
		t.Errorf("node: extranonce1 of %d bytes, extranonce2 of %d, clean %v", len(j.e1), j.e2size, j.Clean)
	}
	eventually(t, "the block is submitted", func() bool {
		node.mu.Lock()
		defer node.mu.Unlock()
		return len(node.submitted) > 0
	})
}

// TestToPool: a miner that came while the node was mined for goes to a pool; one
// that cannot be told its new extranonce is sent away to subscribe again.
func TestToPool(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}, {URL: "node:" + node.URL}}}))
	p.eventually("mining for the node", func() bool { return p.Status().Upstream == "node:"+node.URL })
	modern := p.miner("modern")
	plain := dial(t, p.Status().Listen)
	if err := plain.join("plain", ""); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*miner{modern, plain} {
		if _, err := m.job(anyJob); err != nil {
			t.Fatal(err)
		}
	}
	up.notify(poolJob("1", node, nil))
	p.eventually("mining for the pool", func() bool { return p.Status().Upstream == up.url() })
	j, err := modern.job(func(j *minerJob) bool { return len(j.e1) == 4+2 })
	if err != nil {
		t.Fatal(err)
	}
	if !j.Clean {
		t.Error("the job with the new extranonce is not clean")
	}
	if err := modern.submit(modern.solve(j, 0)); err != nil {
		t.Error(err)
	}
	plain.mu.Lock()
	err = plain.wait(func() bool { return false })
	plain.mu.Unlock()
	if err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("the plain miner was kept: %v", err)
	}
	again := dial(t, p.Status().Listen)
	if err := again.join("plain", ""); err != nil {
		t.Fatal(err)
	}
	if j, err := again.job(anyJob); err != nil || len(j.e1) != 4+2 {
		t.Errorf("after it came back: %v", err)
	}
}

// TestRefusedByPool: the pool's refusals are counted, and do not hurt the miner.
func TestRefusedByPool(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	up.answer = `"result":null,"error":[23,"Low difficulty",null]`
	up.notify(poolJob("1", node, nil))
	p := startProxy(t, easy(pool.Config{HTTPListen: "127.0.0.1:0", Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}}}))
	m := p.miner("rig.1")
	j, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := m.submit(m.solve(j, 0)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the refusals are counted", func() bool {
		return strings.Contains(get(t, p, "/metrics"), fmt.Sprintf(`lode_proxy_upstream_shares_total{answer="rejected",upstream="1",url=%q} 3`, up.url()))
	})
}

// TestHangingNode: a node that takes calls and does not answer is left for another.
func TestHangingNode(t *testing.T) {
	first, second := startFakeNode(t), startFakeNode(t)
	p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: "node:" + first.URL}, {URL: "node:" + second.URL}}}))
	p.eventually("mining for the first node", func() bool { return p.Status().Upstream == "node:"+first.URL })
	first.do(func() { first.hang = true })
	p.eventually("mining for the second node", func() bool { return p.Status().Upstream == "node:"+second.URL })
}

// TestEmptyFirst: while the node is at work on its template, miners are on the new
// tip already.
func TestEmptyFirst(t *testing.T) {
	node := startFakeNode(t)
	// On simnet the bits of the next block are not certain (late blocks are easier).
	node.do(func() { node.genesis = regtestGenesis })
	p := startProxy(t, easy(pool.Config{EmptyFirst: true, PayoutAddress: regtestAddress, Upstreams: []pool.Upstream{{URL: "node:" + node.URL}}}))
	m := p.miner("rig")
	first, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	node.do(func() { node.slow = release })
	node.newBlock()
	p.Notify()
	early, err := m.job(func(j *minerJob) bool { return j.PrevBlock != first.PrevBlock })
	if err != nil {
		t.Fatal(err)
	}
	if !early.Clean {
		t.Error("the early job is not clean")
	}
	if err := m.submit(m.solve(early, 0)); err != nil {
		t.Errorf("share for the early job: %v", err)
	}
	node.do(func() { node.slow = nil })
	close(release)
	full, err := m.job(func(j *minerJob) bool { return j.ID != early.ID })
	if err != nil {
		t.Fatal(err)
	}
	if full.Clean || full.PrevBlock != early.PrevBlock {
		t.Errorf("the job with transactions: clean %v, previous block %v", full.Clean, full.PrevBlock)
	}
	if err := m.submit(m.solve(early, 0x2000)); err != nil {
		t.Errorf("a late share for the early job: %v", err)
	}
}

// TestFloodingPool: a pool that sends jobs without end costs miners a paced flow, and
// they get the last one.
func TestFloodingPool(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	up.notify(poolJob("1", node, nil))
	p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}}}))
	m := p.miner("rig.1")
	if _, err := m.job(anyJob); err != nil {
		t.Fatal(err)
	}
	// Beyond some thousands lines are read slowly: see docs/stratum.md.
	const seconds, most = 3, 3000
	start := time.Now()
	sent := 0
	for ; sent < most && time.Since(start) < seconds*time.Second; sent++ {
		up.notify(poolJob(fmt.Sprint("j", sent), node, func(job []any) {
			job[7] = fmt.Sprintf("%08x", time.Now().Unix()+int64(sent%50))
			if sent%2 == 0 { // another tip
				job[1] = strings.Repeat(fmt.Sprintf("%08x", sent), 8)
			}
		}))
	}
	up.notify(poolJob("last", node, func(job []any) { job[5] = "20000004" }))
	if _, err := m.job(func(j *minerJob) bool { return j.Version == 0x20000004 }); err != nil {
		t.Fatalf("the last job did not come: %v", err)
	}
	took := time.Since(start)
	m.mu.Lock()
	defer m.mu.Unlock()
	if most := 5 + int(2*took/time.Second); len(m.jobs) > most {
		t.Errorf("%d jobs in %v of the pool's %d, at most %d are wanted", len(m.jobs), took, sent, most)
	}
}

// TestCrossing: when the 20 minutes of a testnet are over miners get the new bits, and a
// share whose time the old ones are wrong for is no block.
func TestCrossing(t *testing.T) {
	var node *fakeNode
	var m *miner
	var usual *minerJob
	var err error
	for ahead := int64(2); usual == nil; ahead *= 2 { // a busy machine may take longer than that to begin
		node = startFakeNode(t)
		crosses := time.Now().Unix() + ahead
		node.do(func() { node.tipTime, node.bits, node.lateBits = crosses-1200, "207ffffe", "207fffff" })
		m = startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: "node:" + node.URL}}})).miner("rig.1")
		if usual, err = m.job(anyJob); err != nil {
			t.Fatal(err)
		}
		if usual.Bits == 0x207fffff && time.Now().Unix() > crosses && ahead < 100 {
			usual = nil
		}
	}
	start := time.Now()
	late, err := m.job(func(j *minerJob) bool { return j.Bits == 0x207fffff })
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("the new bits came after %v", took)
	}
	if usual.Bits != 0x207ffffe || usual.PrevBlock != late.PrevBlock {
		t.Errorf("before: bits %08x, tip %v", usual.Bits, usual.PrevBlock)
	}
	for _, s := range []struct {
		job  *minerJob
		time int64
		ok   bool
	}{{usual, 1200, true}, {usual, 1201, false}, {late, 1201, true}, {late, 1200, false}} {
		j := *s.job
		node.do(func() { j.Time = uint32(node.tipTime + s.time) })
		if err := m.submit(m.solve(&j, 0)); (err == nil) != s.ok {
			t.Errorf("bits %08x, %d s after the tip: %v", j.Bits, s.time, err)
		}
	}
}

// TestUnknownChain mines a block of a chain that nobody knows, for a script: without one it
// is told what to give.
func TestUnknownChain(t *testing.T) {
	node := startFakeNode(t)
	node.do(func() { node.genesis = strings.Repeat("12", 32) })
	const script = "76a914ffffffffffffffffffffffffffffffffffffffff88ac"
	p := startProxy(t, easy(pool.Config{PayoutAddress: "script:" + script, Upstreams: []pool.Upstream{{URL: "node:" + node.URL}}}))
	m := p.miner("rig.1")
	m.share()
	eventually(t, "the block is submitted", func() bool {
		node.mu.Lock()
		defer node.mu.Unlock()
		return len(node.submitted) > 0
	})
	node.mu.Lock()
	block := node.submitted[0]
	node.mu.Unlock()
	// After header and count: a coinbase without witness, with one output.
	if !strings.HasPrefix(block[162:], "0100000001"+strings.Repeat("00", 32)) || !strings.Contains(block, "19"+script+"00000000") {
		t.Errorf("block %s", block)
	}
	if s := p.Status(); s.Network != "chain-1212121212121212" {
		t.Errorf("network %q", s.Network)
	}
	findings := pool.Check(t.Context(), pool.Config{
		Listen: "127.0.0.1:0", PayoutAddress: simnetAddress(t, [20]byte{1}), Upstreams: []pool.Upstream{{URL: "node:" + node.URL}},
	})
	if last := findings[len(findings)-1]; last.Err == nil || !strings.Contains(last.Err.Error(), "--payout-script") {
		t.Errorf("an address there: %v", last.Err)
	}
}

// TestOddPools: pools that keep to the protocol less than others are mined for; what miners
// find reaches them in the right form, and their refusals are understood.
func TestOddPools(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *fakePool)
		bits   string // version bits of the share
		answer string // how it is counted
	}{
		"job before the subscribe reply": {func(p *fakePool) { p.early = true }, "00002000", "accepted"},
		"login answered with nothing":    {func(p *fakePool) { p.login = `"result":null,"error":null` }, "00002000", "accepted"},
		"more bits than asked for":       {func(p *fakePool) { p.mask = "3fffe000" }, "20002000", "accepted"},
		"all bits":                       {func(p *fakePool) { p.mask = "ffffffff" }, "20002000", "accepted"},
		"a reason beside a no":           {func(p *fakePool) { p.answer = `"reject-reason":"Stale","result":false,"error":null` }, "00002000", "stale"},
		"a reason in words":              {func(p *fakePool) { p.answer = `"result":null,"error":"Duplicate share"` }, "00002000", "rejected"},
		"a coinbase of 4,000 outputs": {func(p *fakePool) {
			p.job[3] = "ffffffff" + "fda00f" + strings.Repeat("0100000000000000"+"19"+"76a914"+strings.Repeat("ab", 20)+"88ac", 4000) + "00000000"
		}, "00002000", "accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, up := startFakeNode(t), startFakePool(t)
			up.job = poolJob("1", node, nil)
			c.change(up)
			p := startProxy(t, easy(pool.Config{
				HTTPListen: "127.0.0.1:0", Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}, {URL: "node:" + node.URL}},
			}))
			p.eventually("mining for the pool", func() bool { return p.Status().Upstream == up.url() })
			m := p.miner("rig.1")
			j, err := m.job(anyJob)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.submit(m.solve(j, 0x2000)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the share is forwarded and counted", func() bool {
				return up.submitted() > 0 &&
					strings.Contains(get(t, p, "/metrics"), `answer="`+c.answer+`",upstream="1",url="`+up.url()+`"} 1`)
			})
			up.mu.Lock()
			defer up.mu.Unlock()
			if share := up.submits[0]; len(share[2].(string)) != 16 || share[5] != c.bits {
				t.Errorf("forwarded %v, want 8 bytes of extranonce2 and version bits %s", share, c.bits)
			}
		})
	}
}
