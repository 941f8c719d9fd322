package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"

	"lode/scheduler/api"
)

const someFramework = "c18ffe76-3c00-4f57-a5b6-87b53621502b"

// statusServer answers as a scheduler with one miner.
func statusServer(t *testing.T, commands chan<- string) *httptest.Server {
	task := api.Task{
		ID: "miner-" + someFramework + "-S1-2", Kind: "miner", State: "TASK_RUNNING", Hostname: "a-rather-long-name-of-an-agent.rack-7.example.com",
		Hashrate: 5e6, Threads: 4, Kernel: "avx512-roll", Miner: &api.MinerDetail{State: "mining"},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.StatusPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(api.Status{FrameworkID: someFramework + "-0000", Connected: true, Hashrate: 5e6, Tasks: []api.Task{task}})
	})
	mux.HandleFunc("GET "+api.TasksPath, func(w http.ResponseWriter, _ *http.Request) {
		other := api.Task{ID: "miner-" + someFramework + "-S2-3"}
		_ = json.NewEncoder(w).Encode(api.Page[api.Task]{Items: []api.Task{task, other}, Total: 2})
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		commands <- r.URL.Path
		_ = json.NewEncoder(w).Encode(api.Outcome{Done: "done"})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

// At a terminal the status is as wide as that and has colours, unless they are not
// wanted; in a pipe it has none.
func TestStatusInATerminal(t *testing.T) {
	server := statusServer(t, nil)
	for name, c := range map[string]struct {
		width  uint16
		env    string
		colour bool
	}{
		"80 columns":     {80, "TERM=xterm", true},
		"200 columns":    {200, "TERM=xterm", true},
		"NO_COLOR":       {80, "NO_COLOR=1", false},
		"a dumb console": {80, "TERM=dumb", false},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("lode", "status", "--scheduler", server.URL)
			cmd.Env = append(os.Environ(), "NO_COLOR=", "TERM=xterm", c.env)
			terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: c.width})
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			out, _ := io.ReadAll(terminal) // a terminal whose program has ended reads as an error
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			text := string(out)
			if has := strings.Contains(text, "\x1b["); has != c.colour {
				t.Errorf("colours: %v, want %v: %q", has, c.colour, text)
			}
			for _, code := range []string{"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31;1m", "\x1b[32m", "\x1b[33m"} {
				text = strings.ReplaceAll(text, code, "")
			}
			for line := range strings.Lines(text) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\r\n")); n > int(c.width) {
					t.Errorf("a line of %d: %q", n, line)
				}
			}
			if !strings.Contains(text, "miner-…-S1-2") {
				t.Errorf("the task is not named:\n%s", text)
			}
			if whole := strings.Contains(text, "a-rather-long-name-of-an-agent.rack-7.example.com"); whole != (c.width == 200) {
				t.Errorf("the agent's whole name is shown: %v:\n%s", whole, text)
			}
		})
	}
}

// A task is named to commands as the status shows it.
func TestShortTaskID(t *testing.T) {
	commands := make(chan string, 10)
	server := statusServer(t, commands)
	for name, c := range map[string]struct {
		task string
		code int
		want string // that the server is asked for, or the error
	}{
		"as it is shown":  {"miner-…-S1-2", 0, "/api/v1/tasks/miner-" + someFramework + "-S1-2/kill"},
		"typed with dots": {"miner-...-S2-3", 0, "/api/v1/tasks/miner-" + someFramework + "-S2-3/kill"},
		"whole":           {"proxy-0-1", 0, "/api/v1/tasks/proxy-0-1/kill"},
		"nobody":          {"miner-…-S9-9", 1, `there is no task "miner-…-S9-9"`},
		"two":             {"miner-…", 1, `"miner-…" may be miner-` + someFramework + "-S1-2 or miner-" + someFramework + "-S2-3"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), []string{"kill", c.task, "--scheduler", server.URL}, &stdout, &stderr)
			if code != c.code {
				t.Fatalf("exit code %d, want %d: %s", code, c.code, stderr.String())
			}
			if code != 0 {
				if !strings.Contains(stderr.String(), c.want) {
					t.Errorf("%s\nwant %s", stderr.String(), c.want)
				}
				return
			}
			if got := <-commands; got != c.want {
				t.Errorf("asked for %s, want %s", got, c.want)
			}
		})
	}
}

// Whatever else answers at the address is no scheduler, and every command says so, and that nothing was done.
func TestSomethingElseAnswers(t *testing.T) {
	commands := []string{
		"status", "status --json", "tasks", "agents", "events", "why", "why h1", "logs task", "upgrade status", "upgrade status --json",
		"scale 3", "pause", "resume", "drain h1", "undrain h1", "restart task", "kill task", "upgrade start", "upgrade pause", "upgrade rollback", "rotate-keys", "rotate-keys --json",
	}
	for name, body := range map[string]string{
		"a pool-proxy": `{"ready":true,"extranonces":{"leased":1}}`,
		"another API":  `{"status":"ok"}`,
		"an object":    `{}`,
		"a page":       `<html>`,
		"a list":       `[]`,
		"no value":     `null`,
		"bytes":        "\x00\xff",
		"nothing":      ``,
		"cut off":      `{"framework_id":"F","items":[{"id":"x"}],"answer":"yes","state":"done","id":"x","done":"it is d`,
		"other kinds":  `{"framework_id":[],"items":7,"answer":{},"state":{},"id":{},"done":[],"type":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
			defer server.Close()
			for _, command := range commands {
				want := "is no lode scheduler"
				switch {
				case command == "events" && (name == "nothing" || name == "cut off"):
					want = "the scheduler's events end"
				case command != "events" && name == "a pool-proxy":
					want = "is a pool-proxy, no scheduler"
				}
				var stdout, stderr bytes.Buffer
				code := run(t.Context(), append(strings.Fields(command), "--scheduler", server.URL), &stdout, &stderr)
				if code != 1 || stdout.Len() > 0 || !strings.Contains(stderr.String(), want) || strings.Count(stderr.String(), "\n") != 1 {
					t.Errorf("%v: exit code %d, output %q, error %q; want 1, nothing and %q", command, code, stdout.String(), stderr.String(), want)
				}
			}
		})
	}
}
