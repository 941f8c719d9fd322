package pool_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lode/pool"
)

// The page's document has what the page's scripts read, and never null for a list.
func TestPage(t *testing.T) {
	node := startFakeNode(t)
	state := t.TempDir()
	p := startProxy(t, easy(pool.Config{HTTPListen: "127.0.0.1:0", StateDir: state, Upstreams: []pool.Upstream{{URL: "node:" + node.URL, User: "u", Password: "s3cret"}}}))
	empty := get(t, p, "/api/v1/dashboard")
	if strings.Contains(empty, ":null") {
		t.Errorf("null in the document of a new proxy: %s", empty)
	}
	m := p.miner("rig.1")
	m.share()
	var d struct {
		Ready              bool
		Stratum            []string
		Network_difficulty float64
		Worker_count       int
		Outcomes           []struct {
			Outcome string
			Shares  uint64
		}
		Upstreams []struct {
			URL    string
			Active bool
		}
		Workers map[string][]any
	}
	eventually(t, "the share is in the document", func() bool {
		return json.Unmarshal([]byte(get(t, p, "/api/v1/dashboard")), &d) == nil && d.Worker_count == 1 && len(d.Outcomes) == 1
	})
	if !d.Ready || len(d.Stratum) != 1 || d.Network_difficulty <= 0 || d.Outcomes[0].Outcome != "accepted" || !d.Upstreams[0].Active {
		t.Errorf("document %+v", d)
	}
	for name, column := range d.Workers {
		if len(column) != 1 {
			t.Errorf("column %s has %d rows, want 1", name, len(column))
		}
	}
	if d.Workers["id"][0] != "rig.1" || d.Workers["accepted"][0] != 1.0 || d.Workers["seen"][0] == 0.0 {
		t.Errorf("worker %v", d.Workers)
	}
	if page := get(t, p, "/"); !strings.Contains(page, "/assets/proxy.js") {
		t.Errorf("the page is %.200s", page)
	}
	if script := get(t, p, "/assets/proxy.js"); !strings.Contains(script, "worker_count") {
		t.Errorf("the script is %.100s", script)
	}
	if h := get(t, p, "/api/v1/history?range=24h"); !strings.HasPrefix(h, `{"from":`) {
		t.Errorf("history %.100s", h)
	}
	p.stop()
	if _, err := os.Stat(filepath.Join(state, "history")); err != nil {
		t.Errorf("the history is not kept: %v", err)
	}
}
