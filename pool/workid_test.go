package pool_test

import (
	"encoding/json"
	"testing"

	"lode/pool"
)

// TestWorkID: whoever gave an id with the work hears it with the block, also after a restart of
// the proxy; nobody else does.
func TestWorkID(t *testing.T) {
	const id = `{"a":7}`
	giver, other := startFakeNode(t), startFakeNode(t)
	giver.do(func() { giver.extra = map[string]any{"workid": json.RawMessage(id), "longpollid": 7} })
	config := easy(pool.Config{Upstreams: []pool.Upstream{{URL: "node:" + giver.URL}, {URL: "node:" + other.URL}}, StateDir: t.TempDir()})
	p := startProxy(t, config)
	m := p.miner("rig.1")
	m.share()
	first := func(n *fakeNode) string {
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.options) == 0 {
			return ""
		}
		return n.options[0]
	}
	has := func(want string) func() bool {
		return func() bool { return first(giver) == want && first(other) == "[]" }
	}
	p.eventually("the id goes back", has(`[{"workid":`+id+`}]`))
	p.stop()
	giver.do(func() { giver.options = nil })
	other.do(func() { other.options = nil })
	p = startProxy(t, config)
	p.eventually("the id goes back after a restart", has(`[{"workid":`+id+`}]`))
	p.stop()
}
