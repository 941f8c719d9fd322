package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

func TestTable(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	var got bytes.Buffer
	if err := WriteTable(&got, example()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "status.txt")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("UPDATE=1 rewrites testdata; got\n%s", got.String())
	}
}

func TestTableOfNothing(t *testing.T) {
	var got bytes.Buffer
	if err := WriteTable(&got, &Status{Error: "connection refused"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"none: connection refused", "no tasks"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("no %q in\n%s", want, got.String())
		}
	}
}

func TestHashrate(t *testing.T) {
	for _, test := range []struct {
		in   float64
		want string
	}{{0, "-"}, {-1, "-"}, {12, "12 H/s"}, {1500, "1.5 kH/s"}, {92.5e6, "92.5 MH/s"}, {2.5e21, "2.5e+03 EH/s"}} {
		if got := Hashrate(test.in); got != test.want {
			t.Errorf("Hashrate(%v) = %q, want %q", test.in, got, test.want)
		}
	}
}
