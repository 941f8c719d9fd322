package pool_test

import (
	"strings"
	"testing"
	"time"

	"lode/pool"
)

// TestBlockForPool: a block of an upstream pool is journalled, told of, and handed in
// again if the connection broke before the pool answered.
func TestBlockForPool(t *testing.T) {
	for name, c := range map[string]struct {
		another bool // the pool gives another extranonce1 at the second connection
		answer  string
		sent    int
		detail  string
		counted string
	}{
		"resumed":         {answer: `"result":true,"error":null`, sent: 2, detail: "accepted", counted: `answer="accepted"`},
		"it had arrived":  {answer: `"result":null,"error":[22,"Duplicate share",null]`, sent: 2, detail: "accepted", counted: `answer="accepted"`},
		"refused":         {answer: `"result":null,"error":[21,"Job not found",null]`, sent: 2, detail: "refused: ", counted: `answer="stale"`},
		"another session": {another: true, answer: `"result":true,"error":null`, sent: 1, detail: "lost: ", counted: `answer="lost"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := startFakePool(t)
			node := startFakeNode(t)
			up.swallow, up.answer = 1, c.answer
			up.notify(poolJob("1", node, nil))
			p := startProxy(t, easy(pool.Config{
				HTTPListen: "127.0.0.1:0", Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}},
			}))
			m := p.miner("rig.1")
			j, err := m.job(anyJob)
			if err != nil {
				t.Fatal(err)
			}
			if c.another {
				up.mu.Lock()
				up.e1 = "a1b2c3d5"
				up.mu.Unlock()
			}
			s := m.solve(j, 0)
			if err := m.submit(s); err != nil {
				t.Fatal(err)
			}
			var first pool.Block
			p.eventually("the block is told of", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				if len(p.blocks) > 0 {
					first = p.blocks[0]
				}
				return len(p.blocks) > 0
			})
			if first.Pool != up.url() || first.Hash != s.hash.String() || first.State != pool.BlockSubmitted || first.Height != 500 || first.Finder != "rig.1" {
				t.Errorf("told of %+v", first)
			}
			p.eventually("the pool's word is told", func() bool {
				b := p.Status().Blocks
				return len(b) == 1 && strings.HasPrefix(b[0].Detail, up.url()+": "+c.detail)
			})
			if n := up.submitted(); n != c.sent {
				t.Errorf("the share was sent %d times, want %d", n, c.sent)
			}
			if metrics := get(t, p, "/metrics"); !strings.Contains(metrics, c.counted+`,upstream="1",url="`+up.url()+`"} 1`) {
				t.Errorf("not counted as %s", c.counted)
			}
			if !strings.Contains(get(t, p, "/api/v1/blocks"), `"pool": "`+up.url()) {
				t.Error("the API does not tell whose block it is")
			}
		})
	}
}

// TestPoolBlockConfirmed: our own node is asked what became of a pool's block.
func TestPoolBlockConfirmed(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	up.notify(poolJob("1", node, nil))
	p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}, {URL: "node:" + node.URL}}}))
	p.eventually("mining for the pool", func() bool { return p.Status().Upstream == up.url() })
	m := p.miner("rig.1")
	j, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	s := m.solve(j, 0)
	if err := m.submit(s); err != nil {
		t.Fatal(err)
	}
	node.do(func() { node.height, node.prev = node.height+1, s.hash.String() })
	p.eventually("the block is confirmed", func() bool { return confirmed(p) == 1 })
	node.mu.Lock()
	defer node.mu.Unlock()
	if len(node.submitted) > 0 {
		t.Error("what is no whole block was submitted to the node")
	}
}

// TestDrainWaitsForBlocks ends a proxy right after a block was found: it is handed in first, however
// slowly it is taken.
func TestDrainWaitsForBlocks(t *testing.T) {
	const slow = 700 * time.Millisecond
	for _, kind := range []string{"node", "pool"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			node, up := startFakeNode(t), startFakePool(t)
			node.submitDelay, up.submitDelay = slow, slow
			up.notify(poolJob("1", node, nil))
			list := []pool.Upstream{{URL: "node:" + node.URL}}
			if kind == "pool" {
				list[0] = pool.Upstream{URL: up.url(), User: "me"}
			}
			p := startProxy(t, easy(pool.Config{Upstreams: list}))
			m := p.miner("rig.1")
			m.share()
			_ = m.conn.Close()
			p.stop()
			node.mu.Lock()
			defer node.mu.Unlock()
			up.mu.Lock()
			defer up.mu.Unlock()
			if len(node.submitted)+up.answered == 0 {
				t.Errorf("%d blocks were taken, %d answers given when the proxy ended; want some of either", len(node.submitted), up.answered)
			}
		})
	}
}
