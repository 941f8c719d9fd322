package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lode/scheduler/api"
	"lode/scheduler/control"
	"lode/scheduler/feed"
)

// steered is a scheduler that remembers its commands.
type steered struct{ commands []api.Command }

func (*steered) Status() api.Status {
	return api.Status{
		Connected: true, FrameworkID: "F1",
		Tasks:     []api.Task{{ID: "miner-1", Kind: "miner", State: "TASK_RUNNING", AgentID: "S1", Hostname: "h1"}},
		Agents:    []api.Agent{{ID: "S1", Hostname: "h1"}},
		Decisions: []api.Decision{{OfferID: "O1", AgentID: "S2", Hostname: "h2", Outcome: "declined", Reason: "no cpus are left"}},
	}
}

func (*steered) Control() api.Control {
	return api.Control{Upgrade: api.Upgrade{State: "running", Digest: "abcdef", Old: 3, New: 2}}
}

func (s *steered) Operate(_ context.Context, c api.Command) (api.Outcome, error) {
	s.commands = append(s.commands, c)
	switch {
	case c.Task == "nobody":
		return api.Outcome{Refused: "there is no task nobody", NotFound: true}, nil
	case c.Action == "rollback":
		return api.Outcome{Refused: "there is nothing to go back to"}, nil
	}
	return api.Outcome{Done: c.Op + " is done"}, nil
}

// Every command reaches the leader, also from a standby and with a token, and says by
// its exit code what became of it.
func TestOperatorsCommands(t *testing.T) {
	dir := t.TempDir()
	tokens, token := filepath.Join(dir, "tokens"), filepath.Join(dir, "token")
	for file, text := range map[string]string{tokens: "operate alice operator-token-012345\n", token: "operator-token-012345\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := control.OpenTokens(tokens, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, events := new(steered), feed.New(time.Now())
	leader := httptest.NewServer(control.New(control.Config{
		Scheduler: s, Events: events, Auth: control.Auth{Tokens: list}, Logger: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(leader.Close)
	standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(api.LeaderHeader, leader.URL)
		http.Redirect(w, r, leader.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}))
	t.Cleanup(standby.Close)
	for _, test := range []struct {
		args string
		code int
		want string // part of what is printed
		op   string
	}{
		{"scale 7", 0, "scale is done", "scale"},
		{"scale --agent h1 --cpus 2", 0, "scale is done", "scale"},
		{"pause --reason test", 0, "pause is done", "pause"},
		{"resume", 0, "resume is done", "resume"},
		{"drain h1", 0, "drain is done", "drain"},
		{"undrain h1", 0, "undrain is done", "undrain"},
		{"restart miner-1", 0, "restart is done", "restart"},
		{"restart nobody", 1, "there is no task nobody", "restart"},
		{"kill miner-1", 0, "kill is done", "kill"},
		{"upgrade start", 0, "upgrade is done", "upgrade"},
		{"upgrade pause --json", 0, `"done": "upgrade is done"`, "upgrade"},
		{"upgrade rollback", 1, "nothing to go back to", "upgrade"},
		{"upgrade status", 0, "running: 2 tasks with executor abcdef, 3 with others", ""},
		{"rotate-keys --revoke", 0, "rotate-keys is done", "rotate-keys"},
		{"tasks", 0, "miner-1", ""},
		{"tasks --json --state running", 0, `"id": "miner-1"`, ""},
		{"agents", 0, "h1", ""},
		{"why h2", 0, "no cpus are left", ""},
		{"why nowhere", 1, "no agent", ""},
		{"status", 0, "F1", ""},
		{"status --json", 0, `"framework_id": "F1"`, ""},
	} {
		s.commands = nil
		var stdout, stderr bytes.Buffer
		args := append(strings.Fields(test.args), "--scheduler", standby.URL, "--token-file", token)
		if code := run(t.Context(), args, &stdout, &stderr); code != test.code {
			t.Errorf("lode %s: exit code %d, want %d: %s", test.args, code, test.code, &stderr)
		}
		if out := stdout.String() + stderr.String(); !strings.Contains(out, test.want) {
			t.Errorf("lode %s prints %s", test.args, out)
		}
		if test.op != "" && (len(s.commands) != 1 || s.commands[0].Op != test.op || s.commands[0].Who == "") {
			t.Errorf("lode %s is %+v", test.args, s.commands)
		}
	}
}

// Events go on behind the last one when the connection breaks.
func TestEventsGoOn(t *testing.T) {
	events := feed.New(time.Now())
	handler := control.New(control.Config{Scheduler: new(steered), Events: events, Logger: slog.New(slog.DiscardHandler)})
	server := httptest.NewServer(handler)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan int)
	var stderr bytes.Buffer
	events.Add(api.Event{Type: "task", Message: "one"})
	go func() {
		done <- run(ctx, []string{"events", "--json", "--after=0", "--scheduler", server.URL}, w, &stderr)
	}()
	d := json.NewDecoder(r)
	next := func() (e api.Event) {
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := next(); e.Message != "one" || e.ID == "" || e.Time.IsZero() && e.Type != "task" {
		t.Errorf("%+v", e)
	}
	server.CloseClientConnections()
	events.Add(api.Event{Type: "task", Message: "two"})
	if e := next(); e.Message != "two" {
		t.Errorf("%+v", e)
	}
	cancel()
	if code := <-done; code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}
