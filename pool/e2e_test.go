package pool_test

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"lode/devnode"
	"lode/pool"
)

func startBtcd(t testing.TB, config devnode.Config) *devnode.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	btcd, err := devnode.Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = btcd.Stop() })
	return btcd
}

func nodeUpstream(n *devnode.Node) pool.Upstream {
	return pool.Upstream{URL: "node:" + n.URL, User: n.User, Password: n.Password, CA: n.CA}
}

// proxy is a running Proxy under test.
type proxy struct {
	*pool.Proxy
	t      testing.TB
	cancel context.CancelFunc
	done   chan error

	mu     sync.Mutex
	blocks []pool.Block
}

func startProxy(t testing.TB, config pool.Config) *proxy {
	t.Helper()
	p := &proxy{t: t, done: make(chan error, 1)}
	if config.Listen == "" {
		config.Listen = "127.0.0.1:0"
	}
	if config.StateDir == "" {
		config.StateDir = t.TempDir()
	}
	if config.PayoutAddress == "" {
		config.PayoutAddress = devnode.DefaultMiningAddress
	}
	if config.Logger == nil && os.Getenv("LODE_TEST_LOG") != "" {
		config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	config.OnBlock = func(b pool.Block) {
		p.mu.Lock()
		p.blocks = append(p.blocks, b)
		p.mu.Unlock()
	}
	var err error
	if p.Proxy, err = pool.New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.done <- p.Run(ctx) }()
	t.Cleanup(p.stop)
	p.eventually("the proxy is ready", func() bool { s := p.Status(); return s.Ready && s.Listen != "" })
	return p
}

func (p *proxy) stop() {
	p.cancel()
	select {
	case err := <-p.done:
		if err != nil {
			p.t.Errorf("Run: %v", err)
		}
		p.done <- nil
	case <-time.After(time.Minute):
		p.t.Fatal("Run does not end")
	}
}

func (p *proxy) eventually(what string, met func() bool) {
	p.t.Helper()
	eventually(p.t, what+" (last error: "+p.Status().LastError+")", met)
}

func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func (p *proxy) miner(user string) *miner {
	p.t.Helper()
	m := dial(p.t, p.Status().Listen)
	if err := m.login(user, ""); err != nil {
		p.t.Fatalf("login: %v", err)
	}
	return m
}

// TestMineOnBtcd is the main job: template, job, share, block, confirmation.
func TestMineOnBtcd(t *testing.T) {
	btcd := startBtcd(t, devnode.Config{})
	p := startProxy(t, pool.Config{Upstreams: []pool.Upstream{nodeUpstream(btcd)}, CoinbaseTag: "/lode/", StartDifficulty: 1e-6, MaxDifficulty: 1e-6})
	m := p.miner("rig.1")
	prev := ""
	const blocks = 20
	for i := range blocks {
		j, err := m.job(func(j *minerJob) bool { return j.PrevBlock.String() != prev })
		if err != nil {
			t.Fatal(err)
		}
		prev = j.PrevBlock.String()
		s := m.solve(j, uint32(i)<<13&m.mask)
		if err := m.submit(s); err != nil {
			t.Fatalf("block %d refused: %v", i+1, err)
		}
	}
	m.checkClean()
	p.eventually("all blocks are confirmed", func() bool {
		confirmed := 0
		for _, b := range p.Status().Blocks {
			if b.State == pool.BlockConfirmed {
				confirmed++
			}
		}
		return confirmed == blocks
	})
	height, err := btcd.Height(t.Context())
	if err != nil || height != blocks {
		t.Errorf("node is at height %d (%v), want %d", height, err, blocks)
	}
	s := p.Status()
	if s.Network != "simnet" || s.Shares.Accepted != blocks || s.Shares.Rejected != 0 || s.Shares.Stale != 0 || s.Connections != 1 {
		t.Errorf("status %+v", s)
	}
	for _, b := range s.Blocks {
		hash, err := btcd.BlockHash(t.Context(), b.Height)
		if err != nil || hash != b.Hash {
			t.Errorf("height %d: node has %s (%v), proxy %s", b.Height, hash, err, b.Hash)
		}
		if b.Finder != "rig.1" {
			t.Errorf("finder %q", b.Finder)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.blocks) != 2*blocks {
		t.Errorf("OnBlock was called %d times, want %d", len(p.blocks), 2*blocks)
	}
}
