package summary

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lode/internal/terminal"
	"lode/scheduler/api"
)

var update = flag.Bool("update", false, "rewrite testdata")

func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

const framework = "c18ffe76-3c00-4f57-a5b6-87b53621502b"

func example() *api.Status {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return &api.Status{
		FrameworkID: framework + "-0000", Name: "lode", Roles: []string{"mining"}, Uptime: 11_580, Master: "10.0.0.1:5050", Connected: true, Hashrate: 92.5e6, Time: at,
		Proxies:  api.Proxies{Addresses: []string{"10.0.1.7:31142", "agent-1.example:31142"}},
		Artifact: api.Artifact{Digest: strings.Repeat("ab", 32)},
		Problems: []api.Problem{{Kind: "store", Since: at, Text: "nothing can be stored"}},
		Tasks: []api.Task{
			{
				ID: "proxy-0-1", Kind: "proxy", State: "TASK_RUNNING", AgentID: "S0", Hostname: "agent-0001.rack-7.example.com", ReportAge: 1,
				Proxy: &api.ProxyDetail{Ready: true, Stratum: "10.0.1.7:31142", Upstream: "node:http://10.0.0.9:8332", Network: "mainnet", Height: 921_344, Connections: 2},
			},
			{
				ID: "miner-" + framework + "-S1-2", Kind: "miner", State: "TASK_RUNNING", AgentID: "S1", Hostname: "agent-0002.rack-7.example.com",
				Hashrate: 92.5e6, Threads: 4, Kernel: "avx512-roll", Shares: api.Shares{Accepted: 97, Rejected: 1, Stale: 2, Difficulty: 97_000}, Miner: &api.MinerDetail{State: "mining"},
			},
			{ID: "miner-" + framework + "-S2-3", Kind: "miner", State: "TASK_STAGING", AgentID: "S2", Hostname: "agent-0003", Message: "\x1b[2J"},
		},
		Blocks: []api.Block{{Height: 921_343, Hash: strings.Repeat("0", 19) + strings.Repeat("3a9f1", 9), State: "confirmed", Finder: "miner-" + framework + "-S1-2", FoundAt: at}},
		Ended: []api.Ended{{
			ID: "miner-" + framework + "-S1-1", State: "TASK_FAILED", Reason: "REASON_EXECUTOR_TERMINATED", Message: "exit\nstatus 9 \x1b]0;title\a", Hostname: "agent-0002.rack-7.example.com", At: at,
		}},
		Decisions: []api.Decision{
			{At: at, AgentID: "S3", Hostname: "agent-0004", Outcome: "declined", Reason: "no cpus are left"},
			{At: at.Add(time.Second), AgentID: "S4", Hostname: "agent-0005", Outcome: "declined", Reason: "no cpus are left"},
			{At: at.Add(-time.Second), AgentID: "S1", Hostname: "agent-0002.rack-7.example.com", Outcome: "accepted", Tasks: []string{"miner"}},
		},
	}
}

// What is printed at usual widths stands in testdata; go test -update rewrites it.
func TestWrite(t *testing.T) {
	for name, o := range map[string]Options{
		"80":    {Look: terminal.Look{Width: 80}},
		"200":   {Look: terminal.Look{Width: 200}},
		"pipe":  {},
		"wide":  {Look: terminal.Look{Width: 80}, Wide: true},
		"color": {Look: terminal.Look{Width: 80, Color: true}},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := Write(&got, example(), o); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

// At no width is a line longer than it, and the ids of tasks are always there in whole.
func TestFits(t *testing.T) {
	for width := 40; width <= 240; width += 8 {
		var got bytes.Buffer
		if err := Write(&got, example(), Options{Look: terminal.Look{Width: width}}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(got.String()) {
			line = strings.TrimSuffix(line, "\n")
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("%d characters at a width of %d: %s", n, width, line)
			}
			if line != terminal.Clean(line) {
				t.Errorf("a control character in %q", line)
			}
		}
		if !strings.Contains(got.String(), "\nminer-…-S1-2 ") {
			t.Errorf("width %d: the task is not named:\n%s", width, got.String())
		}
	}
}

func TestManyTasks(t *testing.T) {
	s := example()
	for i := range 300 {
		s.Tasks = append(s.Tasks, api.Task{ID: fmt.Sprintf("miner-%d", i), Kind: "miner"})
	}
	for wide, want := range map[bool]string{false: "and 253 tasks more (--wide)", true: "miner-299 "} {
		var got bytes.Buffer
		if err := Write(&got, s, Options{Wide: wide}); err != nil || !strings.Contains(got.String(), want) {
			t.Errorf("wide %v: %v, lacks %q", wide, err, want)
		}
	}
}

func TestNothing(t *testing.T) {
	for name, c := range map[string]struct {
		status api.Status
		want   []string
	}{
		"no master":   {api.Status{Error: "connection refused"}, []string{"none: connection refused", "no tasks", "0 H/s"}},
		"paused":      {api.Status{Connected: true, Paused: "by alice (a test)"}, []string{"paused     by alice (a test)"}},
		"no proxy":    {api.Status{Connected: true, Need: api.Need{Why: "a proxy is needed"}}, []string{"proxy      -, not ready", "waiting    a proxy is needed"}},
		"proxy fails": {api.Status{Tasks: []api.Task{{ID: "p", Proxy: &api.ProxyDetail{Error: "the node refused us"}}}}, []string{"not ready: the node refused us"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := Write(&got, &c.status, Options{}); err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(got.String(), want) {
					t.Errorf("no %q in\n%s", want, got.String())
				}
			}
		})
	}
}
