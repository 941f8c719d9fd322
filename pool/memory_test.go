package pool

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"lode/pool/space"
)

// TestFullOfMemory: without memory nobody comes in, and who is there goes on.
func TestFullOfMemory(t *testing.T) {
	p, err := New(Config{Listen: "127.0.0.1:0", StateDir: t.TempDir(), Upstreams: []Upstream{{URL: "node:http://127.0.0.1:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.folder.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.miners.Stratum().Serve(t.Context(), l) }()
	defer func() {
		p.miners.Stratum().Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	dial := func() (ask func(line string) (string, error)) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		lines := bufio.NewReader(c)
		return func(line string) (string, error) {
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := fmt.Fprintln(c, line); err != nil {
				return "", err
			}
			return lines.ReadString('\n')
		}
	}
	const subscribe, authorize = `{"id":1,"method":"mining.subscribe","params":[]}`, `{"id":2,"method":"mining.authorize","params":["w",""]}`
	there := dial()
	for _, line := range []string{subscribe, authorize} {
		if _, err := there(line); err != nil {
			t.Fatal(err)
		}
	}
	lease := func() *space.Lease {
		lease, err := p.miners.Space().Take(p.now(), space.Request{})
		if err != nil {
			t.Fatal(err)
		}
		return lease
	}
	gone, working := lease(), lease()
	for _, l := range []*space.Lease{gone, working} {
		l.Prove(p.now(), nil)
	}
	before := p.state().Leased
	gone.Release(p.now(), nil)
	p.memory.Limit = 1
	p.lookAtMemory()
	if n := p.state().Leased; n != before-1 || working.Lost() {
		t.Errorf("%d of %d places are kept, want those with a connection", n, before)
	}
	working.Release(p.now(), nil)
	if p.lookAtMemory(); p.state().Leased != before-2 {
		t.Error("leases are kept while there is no memory")
	}
	if !p.state().Full {
		t.Error("the monitor does not show it")
	}
	if line, err := dial()(subscribe); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a new connection was taken (%q, %v)", line, err)
	}
	if _, err := there(`{"id":3,"method":"mining.ping"}`); err != nil {
		t.Errorf("one that was there: %v", err)
	}
	p.memory.Limit = 0
	p.lookAtMemory()
	if _, err := dial()(subscribe); err != nil {
		t.Errorf("there is memory again: %v", err)
	}
}
