package monitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"lode/history"
	"lode/pool/accounts"
	"lode/pool/blocks"
	"lode/pool/journal"
	"lode/pool/monitor"
	"lode/stratum"
	"lode/web"
)

// serve serves the state of a proxy that there is not.
func serve(t *testing.T, state func() monitor.State, change func(*monitor.Options)) (get func(path string) (*http.Response, string)) {
	t.Helper()
	o := monitor.Options{
		State: state, Health: func() monitor.Health { return state().Health },
		Blocks:   func() []blocks.Block { return nil },
		Notify:   func() {},
		Accounts: accounts.New(time.Now), Stratum: &stratum.ServerStats{}, History: history.New(), Began: time.Now(), Now: time.Now,
	}
	if change != nil {
		change(&o)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- monitor.New(o).Serve(ctx, l) }()
	t.Cleanup(func() {
		end()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return func(path string) (*http.Response, string) {
		t.Helper()
		r, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(body)
	}
}

// TestHealth: 200 means valid work, and what is wrong is said.
func TestHealth(t *testing.T) {
	var h atomic.Pointer[monitor.Health]
	get := serve(t, func() monitor.State { return monitor.State{Health: *h.Load()} }, nil)
	for _, c := range []struct {
		health monitor.Health
		code   int
		text   string
	}{
		{monitor.Health{Ready: true}, 200, "ok\n"},
		{monitor.Health{Ready: true, LastError: "of before"}, 200, "ok\n"},
		{monitor.Health{}, 503, "no work\n"},
		{monitor.Health{LastError: "node: gone"}, 503, "no work: node: gone\n"},
		{monitor.Health{Ready: true, Draining: true}, 503, "draining\n"},
	} {
		h.Store(&c.health)
		if r, text := get("/healthz"); r.StatusCode != c.code || text != c.text {
			t.Errorf("%+v: %d %q, want %d %q", c.health, r.StatusCode, text, c.code, c.text)
		}
	}
}

// TestDocuments: what is shown is what the parts say.
func TestDocuments(t *testing.T) {
	since := time.Unix(1_700_000_000, 0).UTC()
	state := monitor.State{
		Health: monitor.Health{Ready: true, LastError: "late"}, Network: "regtest", Upstream: "node:http://n", Height: 7,
		NetworkDifficulty: 3, Listen: []string{"127.0.0.1:3333"}, Connections: 2, Jobs: 9, Leased: 4, Capacity: 65536, TurnedAway: 5,
		Upstreams: []monitor.Upstream{
			{URL: "node:http://n", Kind: "node", Up: true, Active: true, Since: &since, Height: 7},
			{URL: "stratum+tcp://p", Kind: "pool", Error: errors.New("shut").Error(), Shares: map[string]uint64{"accepted": 3, "lost": 1}},
		},
		MemoryNeeded: 100, MemoryLimit: 200, Full: true,
		Unsaved: 2, Saved: time.UnixMilli(1_700_000_000_500), DiskError: "full",
	}
	get := serve(t, func() monitor.State { return state }, func(o *monitor.Options) {
		o.Blocks = func() []blocks.Block {
			return []blocks.Block{{Entry: journal.Entry{Height: 6, Hash: "00ff", Finder: "w"}, State: blocks.Confirmed, Confirmations: 3}}
		}
		w := o.Accounts.Worker(`<w "1">`)
		w.Share(time.Now(), accounts.Accepted, 2, 5, accounts.Device{})
		w.Share(time.Now(), accounts.Stale, 1, 1, accounts.Device{})
		w.Share(time.Now(), accounts.Duplicate, 1, 1, accounts.Device{})
		w.Share(time.Now(), accounts.Malformed, 1, 1, accounts.Device{})
	})
	type object = map[string]any
	for path, check := range map[string]func(body string) error{
		"/api/v1/status": func(body string) error {
			var s struct {
				Ready       bool
				Height      int64
				Connections int
				Shares      struct{ Accepted, Rejected, Stale uint64 }
				Extranonces struct{ Leased, Capacity int }
				LastError   string `json:"last_error"`
				DiskError   string `json:"disk_error"`
			}
			if err := json.Unmarshal([]byte(body), &s); err != nil {
				return err
			}
			if !s.Ready || s.Height != 7 || s.Connections != 2 || s.Shares.Accepted != 1 || s.Shares.Rejected != 2 || s.Shares.Stale != 1 ||
				s.Extranonces.Leased != 4 || s.Extranonces.Capacity != 65536 || s.LastError != "late" || s.DiskError != "full" {
				return fmt.Errorf("%+v", s)
			}
			return nil
		},
		"/api/v1/upstreams": func(body string) error {
			var list []object
			if err := json.Unmarshal([]byte(body), &list); err != nil {
				return err
			}
			if len(list) != 2 || list[0]["active"] != true || list[0]["since"] != "2023-11-14T22:13:20Z" || list[1]["error"] != "shut" || list[1]["shares"].(object)["lost"] != 1. {
				return fmt.Errorf("%+v", list)
			}
			return nil
		},
		"/api/v1/blocks": func(body string) error {
			var list []object
			if err := json.Unmarshal([]byte(body), &list); err != nil {
				return err
			}
			if len(list) != 1 || list[0]["state"] != "confirmed" || list[0]["finder"] != "w" || list[0]["confirmations"] != 3. {
				return fmt.Errorf("%+v", list)
			}
			return nil
		},
		"/api/v1/workers": func(body string) error {
			var list []object
			if err := json.Unmarshal([]byte(body), &list); err != nil {
				return err
			}
			if len(list) != 1 || list[0]["worker"] != `<w "1">` || list[0]["best_share"] != 5. {
				return fmt.Errorf("%+v", list)
			}
			return nil
		},
		"/api/v1/dashboard": func(body string) error {
			var d object
			if err := json.Unmarshal([]byte(body), &d); err != nil {
				return err
			}
			workers := d["workers"].(object)
			if d["worker_count"] != 1. || d["network_difficulty"] != 3. || fmt.Sprint(workers["accepted"], workers["rejected"], workers["stale"], workers["work"]) != "[1] [2] [1] [2]" {
				return fmt.Errorf("%+v", d)
			}
			return nil
		},
		"/metrics": func(body string) error {
			for _, want := range []string{
				`lode_proxy_blocks{state="confirmed"} 1`, `lode_proxy_blocks{state="orphaned"} 0`,
				`lode_proxy_upstream_active{upstream="1",url="node:http://n"} 1`,
				`lode_proxy_upstream_shares_total{answer="lost",upstream="2",url="stratum+tcp://p"} 1`,
				`lode_proxy_shares_total{outcome="stale"} 1`, "lode_proxy_memory_full 1", "lode_proxy_extranonces_refused_total 5",
				"lode_proxy_jobs_total 9", "lode_proxy_height 7",
				"lode_proxy_blocks_unsaved 2", "lode_proxy_accounts_saved_timestamp_seconds 1.7000000005e+09",
			} {
				if !strings.Contains(body, want+"\n") {
					return fmt.Errorf("%s is missing in\n%s", want, body)
				}
			}
			if strings.Contains(body, "w \\\"1") {
				return errors.New("a miner's name is in the metrics")
			}
			faults, err := promlint.New(strings.NewReader(body)).Lint()
			if err != nil || len(faults) > 0 {
				return fmt.Errorf("promlint: %v %v", faults, err)
			}
			return nil
		},
	} {
		if r, body := get(path); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", path, r.StatusCode, body)
		} else if err := check(body); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestRoutes: each route answers what its line of the reference says.
func TestRoutes(t *testing.T) {
	state := monitor.State{Health: monitor.Health{Ready: true}, Upstreams: []monitor.Upstream{{URL: "node:http://n"}}}
	get := serve(t, func() monitor.State { return state }, func(o *monitor.Options) {
		o.Accounts.Worker("w").Share(time.Now(), accounts.Accepted, 2, 5, accounts.Device{})
		o.Blocks = func() []blocks.Block { return make([]blocks.Block, 1) }
	})
	for _, route := range monitor.New(monitor.Options{}).Routes() {
		path, want := strings.TrimSuffix(route.Path, "{$}"), http.StatusOK
		if path == web.AssetPrefix {
			path += "page.js"
		}
		if route.Method != http.MethodGet {
			want = http.StatusMethodNotAllowed
		}
		r, body := get(path)
		if r.StatusCode != want {
			t.Errorf("%s: %d %s", path, r.StatusCode, body)
		}
		if route.Type == nil {
			continue
		}
		var document map[string]any
		if body[0] == '[' {
			body = strings.Trim(strings.TrimSpace(body), "[]")
		}
		if err := json.Unmarshal([]byte(body), &document); err != nil {
			t.Fatalf("%s: %v in %s", path, err, body)
		}
		fields := reflect.TypeOf(route.Type)
		for i := range fields.NumField() {
			name, options, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
			if _, found := document[name]; !found && !strings.HasPrefix(options, "omit") {
				t.Errorf("%s answers without %s", path, name)
			}
			delete(document, name)
		}
		if len(document) > 0 {
			t.Errorf("%s answers with more than %s has: %v", path, fields, document)
		}
	}
}

// TestThousandsOfNames: what is shown of a farm of 20,000 miners has a bound, and pages have
// each of them once.
func TestThousandsOfNames(t *testing.T) {
	const names = 20_000
	get := serve(t, func() monitor.State { return monitor.State{} }, func(o *monitor.Options) {
		for i := range names {
			name := fmt.Sprintf("%0255d", i) // the longest that there are
			o.Accounts.Worker(name).Share(time.Now(), accounts.Accepted, float64(i+1), 1, accounts.Device{})
		}
	})
	if _, body := get("/metrics"); len(body) > 100_000 {
		t.Errorf("%d bytes of metrics", len(body))
	}
	var d struct {
		WorkerCount int `json:"worker_count"`
		Workers     struct{ ID []string }
	}
	_, body := get("/api/v1/dashboard")
	if err := json.Unmarshal([]byte(body), &d); err != nil || d.WorkerCount != names || len(d.Workers.ID) != 2000 || len(body) > 2<<20 {
		t.Errorf("%d of %d workers in %d bytes, %v", len(d.Workers.ID), d.WorkerCount, len(body), err)
	}
	if d.Workers.ID[0] != fmt.Sprintf("%0255d", names-1) {
		t.Error("the page does not show the fastest")
	}
	seen := map[string]bool{}
	for path := "/api/v1/workers"; path != ""; {
		r, body := get(path)
		if r.StatusCode == http.StatusTooManyRequests {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		var page []struct{ Worker string }
		if err := json.Unmarshal([]byte(body), &page); err != nil || len(page) > 1000 || r.Header.Get("X-Total-Count") != fmt.Sprint(names) {
			t.Fatalf("%s: %d entries, %v", path, len(page), err)
		}
		for _, w := range page {
			if seen[w.Worker] {
				t.Fatalf("%s is listed twice", w.Worker)
			}
			seen[w.Worker] = true
		}
		path, _, _ = strings.Cut(strings.TrimPrefix(r.Header.Get("Link"), "<"), ">")
	}
	if len(seen) != names {
		t.Errorf("%d of %d workers are on the pages", len(seen), names)
	}
}

// TestOddQueries are answered with what is wrong, in short, or as if there was none.
func TestOddQueries(t *testing.T) {
	get := serve(t, func() monitor.State { return monitor.State{} }, nil)
	long := strings.Repeat("9", 8000)
	for path, want := range map[string]int{
		"/api/v1/workers?limit=-1":            400,
		"/api/v1/workers?offset=" + long:      400,
		"/api/v1/workers?limit=0x10":          400,
		"/api/v1/workers?limit=%00":           400,
		"/api/v1/workers?limit=1&limit=x":     200,
		"/api/v1/workers?limit=1;offset=1":    200, // no query at all
		"/api/v1/workers?nothing=" + long:     200,
		"/api/v1/history?range=" + long:       400,
		"/api/v1/history?range=30d&points=1":  200,
		"/api/v1/history?points=1000000":      400,
		"/api/v1/workers/":                    404,
		"/api/v1/../../etc/passwd":            404,
		"/assets/../monitor.go":               404,
		"/assets/%2e%2e/%2e%2e/etc/passwd":    404,
		"/metrics?name[]=" + long:             200,
		"/notify":                             405,
		"/healthz?x=%zz":                      503,
		"/api/v1/dashboard?callback=evil":     200,
		"//api/v1/status":                     200, // led to the right one
		"/api/v1/blocks?offset=1000000000000": 200,
	} {
		r, body := get(path)
		if r.StatusCode != want {
			t.Errorf("%.60s: %d, want %d", path, r.StatusCode, want)
		}
		if r.StatusCode >= 400 && len(body) > 200 {
			t.Errorf("%.60s: an answer of %d bytes", path, len(body))
		}
		if strings.Contains(body, "evil") {
			t.Errorf("%.60s: the query is in the answer", path)
		}
	}
}

// TestSlowBroadcast: the page shows the end of the bucket that the 99th of 100 broadcasts is
// in.
func TestSlowBroadcast(t *testing.T) {
	for name, c := range map[string]struct {
		quick, slow int
		want        float64 // ms
	}{"none": {0, 0, 0}, "all quick": {100, 0, 1}, "one in a hundred is slow": {99, 1, 1}, "two are": {98, 2, 40}, "the only one is": {0, 1, 40}} {
		stats := &stratum.ServerStats{}
		for range c.quick {
			stats.BroadcastLatency.Observe(time.Millisecond)
		}
		for range c.slow {
			stats.BroadcastLatency.Observe(30 * time.Millisecond)
		}
		get := serve(t, func() monitor.State { return monitor.State{} }, func(o *monitor.Options) { o.Stratum = stats })
		var d struct {
			Broadcast float64 `json:"broadcast_p99_ms"`
		}
		_, body := get("/api/v1/dashboard")
		if err := json.Unmarshal([]byte(body), &d); err != nil || d.Broadcast != c.want {
			t.Errorf("%s: %v ms, %v; want %v", name, d.Broadcast, err, c.want)
		}
	}
}
