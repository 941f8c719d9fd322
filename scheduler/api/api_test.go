package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

func example() *Status {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return &Status{
		FrameworkID: "f-0000", Master: "10.0.0.1:5050", Connected: true, Hashrate: 92.5e6, Time: at,
		Tasks: []Task{
			{
				ID: "proxy-0-1", Kind: "proxy", State: "TASK_RUNNING", AgentID: "S0", Hostname: "a", ReportAge: 1,
				Proxy: &ProxyDetail{Ready: true, Height: 7, Connections: 2},
			},
			{
				ID: "miner-S1-2", Kind: "miner", State: "TASK_RUNNING", AgentID: "S1", Hostname: "b",
				ExecutorDigest: strings.Repeat("ab", 32), Hashrate: 92.5e6, Threads: 4, Kernel: "shani",
				Shares: Shares{Accepted: 12, Rejected: 1, Stale: 2}, Miner: &MinerDetail{State: "mining"},
			},
		},
		Blocks:    []Block{{Height: 6, Hash: strings.Repeat("0", 64), State: "confirmed", FoundAt: at}},
		Ended:     []Ended{{ID: "miner-S1-1", State: "TASK_FAILED", Reason: "REASON_EXECUTOR_TERMINATED", Message: "exit\nstatus 9", Hostname: "b", At: at}},
		Decisions: []Decision{{At: at, OfferID: "O1", Hostname: "c", Resources: "cpus 0, mem 64, ports 0", Outcome: "declined", Reason: "no cpus are left"}},
	}
}

// TestShape holds the names that other programs rely on.
func TestShape(t *testing.T) {
	b, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	has := func(where string, v any, keys ...string) {
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%s is %T", where, v)
		}
		for _, k := range keys {
			if _, ok := m[k]; !ok {
				t.Errorf("%s has no %q", where, k)
			}
		}
	}
	has("status", got, "framework_id", "master", "hashrate", "tasks", "blocks")
	task := got["tasks"].([]any)[1]
	has("task", task, "id", "kind", "state", "agent_id", "hostname", "executor_digest", "hashrate", "threads", "kernel", "shares")
	has("shares", task.(map[string]any)["shares"], "accepted", "rejected", "stale")
	has("block", got["blocks"].([]any)[0], "height", "hash", "state")
}

func TestFetch(t *testing.T) {
	want := example()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+StatusPath, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(want) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for _, base := range []string{server.URL, server.URL + "/", strings.TrimPrefix(server.URL, "http://")} {
		got, err := Fetch(t.Context(), base)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", base, got)
		}
	}
	if _, err := Fetch(t.Context(), server.URL+"/elsewhere"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Error(err)
	}
	server.Close()
	if _, err := Fetch(t.Context(), server.URL); err == nil || !strings.Contains(err.Error(), server.URL) || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
	if _, err := Fetch(t.Context(), "http://"); err == nil {
		t.Error("no host")
	}
}

func TestReasons(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 3, 4, 5, minute, 0, 0, time.UTC) }
	got := Reasons([]Decision{
		{At: at(1), AgentID: "S1", Hostname: "a", Outcome: "declined", Reason: "no cpus are left"},
		{At: at(3), AgentID: "S2", Hostname: "b", Outcome: "declined", Reason: "no cpus are left"},
		{At: at(2), AgentID: "S1", Hostname: "a", Outcome: "declined", Reason: "no cpus are left"},
		{At: at(2), AgentID: "S1", Hostname: "a", Outcome: "accepted", Reason: "it is all used", Tasks: []string{"miner-1"}},
		{At: at(4), AgentID: "S3", Hostname: "c", Outcome: "rescinded"},
	})
	want := []WhyReason{
		{Outcome: "rescinded", Reason: "rescinded", Count: 1, Last: at(4), Agents: 1, Example: "c", Hosts: []string{"c"}},
		{Outcome: "declined", Reason: "no cpus are left", Count: 3, Last: at(3), Agents: 2, Example: "b", Hosts: []string{"b", "a"}},
		{Outcome: "accepted", Reason: "tasks were launched", Count: 1, Last: at(2), Agents: 1, Example: "a", Hosts: []string{"a"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	var many []Decision
	for i := range 100 {
		many = append(many, Decision{Hostname: fmt.Sprint(i), Outcome: "declined", Reason: "x"})
	}
	if got := Reasons(many); len(got) != 1 || got[0].Agents != 100 || len(got[0].Hosts) != mostHosts {
		t.Errorf("100 agents: %+v", got)
	}
	if got := Reasons(nil); got == nil || len(got) != 0 {
		t.Errorf("of nothing: %#v, want an empty list", got)
	}
}

func TestShortID(t *testing.T) {
	for in, want := range map[string]string{
		"miner-c18ffe76-3c00-4f57-a5b6-87b53621502b-S1-7": "miner-…-S1-7",
		"c18ffe76-3c00-4f57-a5b6-87b53621502b-0000":       "…-0000",
		"proxy-0-1": "proxy-0-1",
		"":          "",
	} {
		if got := ShortID(in); got != want {
			t.Errorf("ShortID(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0: "0 s", 900 * time.Millisecond: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min", 3725 * time.Second: "1 h 2 min", 50 * time.Hour: "2 d 2 h",
	} {
		if got := Span(in); got != want {
			t.Errorf("Span(%v) = %q, want %q", in, got, want)
		}
	}
}

func TestDifficulty(t *testing.T) {
	for in, want := range map[float64]string{0: "0", 0.00012: "0.00012", 1: "1", 999: "999", 999.7: "1 k", 1.5e6: "1.5 M"} {
		if got := Difficulty(in); got != want {
			t.Errorf("Difficulty(%v) = %q, want %q", in, got, want)
		}
	}
}

func TestHashrate(t *testing.T) {
	for _, test := range []struct {
		in   float64
		want string
	}{{0, "-"}, {-1, "-"}, {12, "12 H/s"}, {1500, "1.5 kH/s"}, {92.5e6, "92.5 MH/s"}, {2.5e21, "2.5 ZH/s"}} {
		if got := Hashrate(test.in); got != test.want {
			t.Errorf("Hashrate(%v) = %q, want %q", test.in, got, test.want)
		}
	}
}
