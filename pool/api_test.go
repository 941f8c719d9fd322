package pool_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcutil"
	"github.com/btcsuite/btcd/chaincfg"

	"lode/pool"
	"lode/stratum"
)

func simnetAddress(t testing.TB, hash [20]byte) string {
	t.Helper()
	a, err := btcutil.NewAddressPubKeyHash(hash[:], &chaincfg.SimNetParams)
	if err != nil {
		t.Fatal(err)
	}
	return a.EncodeAddress()
}

func get(t testing.TB, p *proxy, path string) string {
	t.Helper()
	response, err := http.Get("http://" + p.Status().HTTP + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

func TestAPI(t *testing.T) {
	node := startFakeNode(t)
	p := startProxy(t, easy(pool.Config{HTTPListen: "127.0.0.1:0", Upstreams: []pool.Upstream{{URL: "node:" + node.URL, User: "u", Password: "s3cret"}}}))
	m := p.miner("rig.1")
	j, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	if j.Version&stratum.DefaultVersionMask != 0 {
		t.Errorf("version %08x has bits of the mask set: miners combine them in different ways", j.Version)
	}
	s := m.solve(j, 0)
	if err := m.submit(s); err != nil {
		t.Fatal(err)
	}
	// The same again, in upper case and without leading zeros: a duplicate.
	var ok bool
	params := s.params("rig.1")
	params[2] = strings.ToUpper(params[2].(string))
	params[4] = strings.ToUpper(fmt.Sprintf("%x", s.nonce))
	if err := m.call(&ok, "mining.submit", params...); codeOf(err) != stratum.CodeDuplicate {
		t.Errorf("upper case: %v", err)
	}
	params[1] = "zzzz"
	if err := m.call(&ok, "mining.submit", params...); codeOf(err) != stratum.CodeStale {
		t.Errorf("unknown job: %v", err)
	}
	params = s.params("rig.1")
	params[2] = params[2].(string)[2:]
	if err := m.call(&ok, "mining.submit", params...); codeOf(err) != stratum.CodeOther {
		t.Errorf("short extranonce2: %v", err)
	}
	if err := m.call(&ok, "mining.submit", s.params("nobody")...); codeOf(err) != stratum.CodeUnauthorized {
		t.Errorf("other worker: %v", err)
	}

	if got := get(t, p, "/healthz"); got != "ok" {
		t.Errorf("healthz: %q", got)
	}
	var status struct {
		Ready    bool
		Network  string
		Height   int64
		Upstream string
		Shares   struct{ Accepted, Rejected, Stale uint64 }
	}
	if err := json.Unmarshal([]byte(get(t, p, "/api/v1/status")), &status); err != nil {
		t.Fatal(err)
	}
	if !status.Ready || status.Network != "simnet" || status.Height != 500 || status.Upstream != "node:"+node.URL ||
		status.Shares.Accepted != 1 || status.Shares.Rejected != 2 || status.Shares.Stale != 1 {
		t.Errorf("status %+v", status)
	}
	var workers []struct {
		Worker string
		Shares map[string]struct{ Shares uint64 }
	}
	if err := json.Unmarshal([]byte(get(t, p, "/api/v1/workers")), &workers); err != nil {
		t.Fatal(err)
	}
	if len(workers) != 1 || workers[0].Worker != "rig.1" || workers[0].Shares["duplicate"].Shares != 1 || workers[0].Shares["malformed"].Shares != 1 {
		t.Errorf("workers %+v", workers)
	}
	var blocks []struct {
		Height int64
		State  string
		Finder string
	}
	if err := json.Unmarshal([]byte(get(t, p, "/api/v1/blocks")), &blocks); err != nil {
		t.Fatal(err)
	}
	if len(blocks) != 1 || blocks[0].Height != 500 || blocks[0].State != "submitted" || blocks[0].Finder != "rig.1" {
		t.Errorf("blocks %+v", blocks)
	}
	upstreams := get(t, p, "/api/v1/upstreams")
	if !strings.Contains(upstreams, `"active": true`) || strings.Contains(upstreams, "s3cret") {
		t.Errorf("upstreams %s", upstreams)
	}
	metrics := get(t, p, "/metrics")
	for _, want := range []string{
		`lode_proxy_shares_total{outcome="accepted"} 1`, `lode_proxy_blocks{state="submitted"} 1`,
		`lode_proxy_ready 1`, `lode_proxy_height 500`, `lode_proxy_miners 1`, `lode_proxy_broadcast_seconds_count`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(metrics, "rig.1") {
		t.Error("metrics name workers")
	}

	// A new block, told by POST /notify.
	node.newBlock()
	response, err := http.Post("http://"+p.Status().HTTP+"/notify", "", nil)
	if err != nil || response.StatusCode != http.StatusAccepted {
		t.Errorf("notify: %v %v", response, err)
	}
	_ = response.Body.Close()
	next, err := m.job(func(n *minerJob) bool { return n.PrevBlock != j.PrevBlock })
	if err != nil {
		t.Fatal(err)
	}
	if !next.Clean {
		t.Error("the job on a new block is not clean")
	}
	if err := m.submit(m.solve(j, 0)); codeOf(err) != stratum.CodeStale {
		t.Errorf("share for the old block: %v", err)
	}
	// It met the network's target, though: the block is submitted all the same.
	eventually(t, "the late block is submitted", func() bool {
		node.mu.Lock()
		defer node.mu.Unlock()
		seen := map[string]bool{}
		for _, raw := range node.submitted {
			seen[raw] = true
		}
		return len(seen) == 2
	})

	// The node goes away.
	node.do(func() { node.fail = http.StatusServiceUnavailable })
	p.eventually("the upstream is gone", func() bool { return p.Status().Upstream == "" })
	if !strings.Contains(p.Status().LastError, "busy") {
		t.Errorf("last error %q", p.Status().LastError)
	}
}

// TestResume: a miner that comes back with its session gets its extranonce again, and
// cannot hand in a share twice.
func TestResume(t *testing.T) {
	node := startFakeNode(t)
	p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: "node:" + node.URL}}}))
	m := p.miner("rig.1")
	j, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	s := m.solve(j, 0)
	if err := m.submit(s); err != nil {
		t.Fatal(err)
	}
	other := p.miner("rig.1")
	if string(other.e1) == string(m.e1) {
		t.Fatal("two connections have one extranonce1")
	}
	if err := other.join("rig.1", m.session); err != nil || string(other.e1) == string(m.e1) {
		t.Errorf("a session in use was taken over (%v)", err)
	}
	// The old connection is half open, for all that the miner knows.
	back := dial(t, p.Status().Listen)
	if err := back.login("rig.1", m.session); err != nil {
		t.Fatal(err)
	}
	if string(back.e1) != string(m.e1) {
		t.Fatalf("extranonce1 %x, want that of the session: %x", back.e1, m.e1)
	}
	m.mu.Lock()
	if err := m.wait(func() bool { return false }); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("the old connection: %v, want it closed", err)
	}
	m.mu.Unlock()
	if err := back.submit(s); codeOf(err) != stratum.CodeDuplicate {
		t.Errorf("the share of before: %v, want a duplicate", err)
	}
	again := back.solve(j, 0x2000)
	if err := back.submit(again); err != nil {
		t.Errorf("a new share for the old job: %v", err)
	}
}
