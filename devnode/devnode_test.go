package devnode_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lode/devnode"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, config devnode.Config) *devnode.Node {
	t.Helper()
	node, err := devnode.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Stop(); err != nil {
			t.Error(err)
		}
	})
	return node
}

func height(t *testing.T, node *devnode.Node) int64 {
	t.Helper()
	h, err := node.Height(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestStopKeepsTheChain(t *testing.T) {
	node := start(t, devnode.Config{Dir: filepath.Join(t.TempDir(), "btcd")})
	if _, err := node.Generate(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if err := node.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h := height(t, node); h != 3 {
		t.Errorf("height after a clean restart: got %d, want 3", h)
	}
}

func TestKillEndsTheProcess(t *testing.T) {
	node := start(t, devnode.Config{PlainHTTP: true})
	done := node.Done()
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	<-done
	if _, err := node.Height(t.Context()); err == nil {
		t.Error("a killed node answers")
	}
	if err := node.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	height(t, node)
}

func TestPeersShareBlocks(t *testing.T) {
	first := start(t, devnode.Config{PlainHTTP: true})
	second := start(t, devnode.Config{PlainHTTP: true, Connect: []string{first.P2P}})
	if _, err := first.Generate(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for height(t, second) != 2 {
		select {
		case <-ctx.Done():
			t.Fatal("blocks did not reach the second node within 30 s")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestStopRemovesTemporaryFolder(t *testing.T) {
	node := start(t, devnode.Config{PlainHTTP: true})
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(node.Dir); !os.IsNotExist(err) {
		t.Errorf("folder of a stopped node: got %v, want it gone", err)
	}
}

func TestStartRefuses(t *testing.T) {
	for name, config := range map[string]devnode.Config{
		"network": {Network: "mainnet"},
		"binary":  {Binary: filepath.Join(t.TempDir(), "none")},
		"address": {MiningAddress: "not-an-address"},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := devnode.Start(t.Context(), config)
			if err == nil {
				node.Stop()
				t.Fatal("got no error")
			}
			if !strings.HasPrefix(err.Error(), "start btcd: ") && !strings.HasPrefix(err.Error(), "find btcd: ") {
				t.Errorf("error does not say what failed: %v", err)
			}
		})
	}
}
