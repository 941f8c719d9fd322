package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lode/scheduler/api"
	"lode/scheduler/feed"
)

// fake is a Scheduler that does what it is told.
type fake struct {
	status   api.Status
	control  api.Control
	commands []api.Command
	outcome  api.Outcome
}

func (f *fake) Status() api.Status   { return f.status }
func (f *fake) Control() api.Control { return f.control }
func (f *fake) Operate(_ context.Context, c api.Command) (api.Outcome, error) {
	f.commands = append(f.commands, c)
	return f.outcome, nil
}

type world struct {
	t       *testing.T
	fake    *fake
	feed    *feed.Feed
	handler http.Handler
	log     *bytes.Buffer
	remote  string
	header  http.Header
	host    string
}

func newWorld(t *testing.T, auth ...Auth) *world {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	w := &world{t: t, feed: feed.New(at), log: new(bytes.Buffer), remote: "127.0.0.1:1234", header: http.Header{}, host: "127.0.0.1:8650"}
	w.fake = &fake{outcome: api.Outcome{Done: "done"}, status: api.Status{
		Connected: true,
		Tasks:     []api.Task{{ID: "miner-1", Kind: "miner", State: "TASK_RUNNING", AgentID: "S1", Hostname: "a"}, {ID: "proxy-0", Kind: "proxy", AgentID: "S2"}},
		Agents:    []api.Agent{{ID: "S1", Hostname: "a"}, {ID: "S2", Hostname: "b"}},
		Decisions: []api.Decision{
			{At: at, OfferID: "O3", AgentID: "S2", Hostname: "b", Outcome: "declined", Reason: "no cpus are left"},
			{At: at.Add(-time.Minute), OfferID: "O2", AgentID: "S2", Hostname: "b", Outcome: "declined", Reason: "no cpus are left"},
			{At: at.Add(-time.Hour), OfferID: "O1", AgentID: "S1", Hostname: "a", Outcome: "accepted"},
		},
		Blocks: []api.Block{{Hash: "aa", State: "confirmed"}},
	}}
	c := Config{Scheduler: w.fake, Events: w.feed, Logger: slog.New(slog.NewTextHandler(w.log, nil))}
	if len(auth) > 0 {
		c.Auth = auth[0]
	}
	w.handler = New(c)
	return w
}

func (w *world) do(method, path, body string) (int, []byte) {
	w.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = w.remote, w.host
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range w.header {
		r.Header[name] = values
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	if rec.Header().Get("Access-Control-Allow-Origin") != "" {
		w.t.Error("pages of other sites may read this")
	}
	return rec.Code, rec.Body.Bytes()
}

func tokens(t *testing.T) *Tokens {
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("# who may what\nread  wall   reader-token-0123456789\noperate alice operator-token-012345\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := OpenTokens(file, func(err error) { t.Log(err) })
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWhoMayWhat(t *testing.T) {
	const reader, operator = "Bearer reader-token-0123456789", "Bearer operator-token-012345"
	for _, test := range []struct {
		name         string
		tokens       bool
		remote, host string
		header       map[string]string
		read, post   int
	}{
		{"this machine", false, "127.0.0.1:1", "127.0.0.1:8650", nil, 200, 200},
		{"this machine, with tokens", true, "[::1]:1", "localhost:8650", nil, 200, 200},
		{"this machine, wrong token", true, "127.0.0.1:1", "localhost", map[string]string{"Authorization": "Bearer x"}, 401, 401},
		{"another machine", false, "192.0.2.1:1", "h:8650", nil, 200, 403},
		{"another machine, with tokens", true, "192.0.2.1:1", "h:8650", nil, 401, 401},
		{"reader", true, "192.0.2.1:1", "h:8650", map[string]string{"Authorization": reader}, 200, 403},
		{"operator", true, "192.0.2.1:1", "h:8650", map[string]string{"Authorization": operator}, 200, 200},
		{"half a token", true, "192.0.2.1:1", "h:8650", map[string]string{"Authorization": operator[:20]}, 401, 401},
		{"another scheme", true, "192.0.2.1:1", "h:8650", map[string]string{"Authorization": "Basic YTpi"}, 401, 401},
		{"behind a proxy on this machine", false, "127.0.0.1:1", "127.0.0.1", map[string]string{"X-Forwarded-For": "192.0.2.1"}, 200, 403},
		{"a name that was bound anew", false, "127.0.0.1:1", "evil.example:8650", nil, 200, 403},
		{"a page of another site", false, "127.0.0.1:1", "127.0.0.1:8650", map[string]string{"Sec-Fetch-Site": "cross-site"}, 200, 403},
		{"a page of another origin", false, "127.0.0.1:1", "127.0.0.1:8650", map[string]string{"Origin": "http://evil.example"}, 200, 403},
		{"the scheduler's own page", false, "127.0.0.1:1", "127.0.0.1:8650", map[string]string{"Sec-Fetch-Site": "same-origin"}, 200, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			auth := Auth{}
			if test.tokens {
				auth.Tokens = tokens(t)
			}
			w := newWorld(t, auth)
			w.remote, w.host = test.remote, test.host
			for name, value := range test.header {
				w.header.Set(name, value)
			}
			if status, body := w.do("GET", api.TasksPath, ""); status != test.read {
				t.Errorf("reading: %d %s, want %d", status, body, test.read)
			}
			if status, body := w.do("POST", api.PausePath, ""); status != test.post {
				t.Errorf("operating: %d %s, want %d", status, body, test.post)
			}
			if done := len(w.fake.commands) == 1; done != (test.post == 200) {
				t.Errorf("%d commands were carried out", len(w.fake.commands))
			}
		})
	}
}

func TestClientCertificatesAreAskedFor(t *testing.T) {
	w := newWorld(t, Auth{ClientCertificates: true})
	w.remote = "192.0.2.1:1"
	if status, body := w.do("GET", api.StatusPath, ""); status != 401 || !strings.Contains(string(body), "certificate") {
		t.Errorf("%d %s", status, body)
	}
}

func TestTokenFiles(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"open to all":  {"read a reader-token-0123456789\n", 0o644, "chmod 600"},
		"unknown role": {"root a reader-token-0123456789\n", 0o600, "read or operate"},
		"short":        {"read a secret\n", 0o600, "16 or more"},
		"no name":      {"read reader-token-0123456789\n", 0o600, "line 1"},
		"empty":        {"# nothing\n", 0o600, "no token"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tokens")
			if err := os.WriteFile(file, []byte(test.text), test.mode); err != nil {
				t.Fatal(err)
			}
			_, err := OpenTokens(file, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "reader-token") {
				t.Error("the token is in the error")
			}
		})
	}
	list := tokens(t)
	if role, _ := list.lookup("reader-token-0123456789"); role != Read {
		t.Fatal(role)
	}
	if err := os.WriteFile(list.file, []byte("read b another-token-0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list.checked = time.Time{}
	if role, _ := list.lookup("reader-token-0123456789"); role != Nobody {
		t.Error("a token that was taken back is good")
	}
	if role, name := list.lookup("another-token-0123456789"); role != Read || name != "b" {
		t.Error(role, name)
	}
}

// What becomes of the file later must not open the door, nor close it without a word.
func TestTokenFileChanges(t *testing.T) {
	const before, after = "operate alice the-token-of-before-01\n", "operate alice the-token-of-after-012\n"
	for name, test := range map[string]struct {
		change func(file string) error
		token  string // that is good then
		fault  string
	}{
		"another file in its place": {func(file string) error {
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			// As large as the former one, and as old.
			return errors.Join(os.WriteFile(file+".new", []byte(after), 0o600), os.Chtimes(file+".new", info.ModTime(), info.ModTime()), os.Rename(file+".new", file))
		}, "the-token-of-after-012", ""},
		"open to others": {func(file string) error {
			return errors.Join(os.WriteFile(file, []byte(after), 0o600), os.Chmod(file, 0o644))
		}, "the-token-of-before-01", "chmod 600"},
		"opened to others": {func(file string) error { return os.Chmod(file, 0o604) }, "the-token-of-before-01", "chmod 600"},
		"gone":             {os.Remove, "the-token-of-before-01", "no such file"},
		"empty":            {func(file string) error { return os.WriteFile(file, nil, 0o600) }, "the-token-of-before-01", "no token"},
		"half":             {func(file string) error { return os.WriteFile(file, []byte(after[:12]), 0o600) }, "the-token-of-before-01", "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tokens")
			if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
			var faults []error
			list, err := OpenTokens(file, func(err error) { faults = append(faults, err) })
			if err != nil {
				t.Fatal(err)
			}
			if err := test.change(file); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				list.checked = time.Time{}
				for _, token := range []string{"the-token-of-before-01", "the-token-of-after-012"} {
					if role, _ := list.lookup(token); (role == Operate) != (token == test.token) {
						t.Errorf("%s is %s", token, role)
					}
				}
			}
			switch {
			case test.fault == "" && len(faults) > 0, test.fault != "" && len(faults) != 1:
				t.Errorf("told is %v", faults)
			case test.fault != "" && !strings.Contains(faults[0].Error(), test.fault):
				t.Errorf("told is %v, want %q", faults[0], test.fault)
			}
			if err := os.WriteFile(file+".new", []byte(after), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
			list.checked = time.Time{}
			if role, _ := list.lookup("the-token-of-after-012"); role != Operate {
				t.Error("a good file is not taken over after that")
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	for _, test := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"no JSON", "POST", api.ScalePath, "{", 400},
		{"unknown field", "POST", api.ScalePath, `{"max_minors":3}`, 400},
		{"two objects", "POST", api.ScalePath, `{"max_miners":3}{}`, 400},
		{"nothing to scale", "POST", api.ScalePath, `{}`, 400},
		{"negative cpus", "POST", api.ScalePath, `{"max_cpus":-1}`, 400},
		{"large body", "POST", api.PausePath, `{"reason":"` + strings.Repeat("x", mostBody) + `"}`, 413},
		{"long reason", "POST", api.PausePath, `{"reason":"` + strings.Repeat("x", 300) + `"}`, 400},
		{"unknown action", "POST", api.UpgradePath, `{"action":"go"}`, 400},
		{"wrong method", "POST", api.TasksPath, "", 405},
		{"unknown path", "GET", "/api/v1/nonsense", "", 404},
		{"unknown task", "GET", api.TasksPath + "/nobody", "", 404},
		{"unknown parameter", "GET", api.TasksPath + "?agents=S1", "", 400},
		{"no page", "GET", api.TasksPath + "?limit=0", "", 400},
		{"a large page", "GET", api.TasksPath + "?limit=1000000", "", 400},
		{"why of nobody", "GET", api.WhyPath + "?agent=nobody", "", 404},
	} {
		w := newWorld(t)
		if status, body := w.do(test.method, test.path, test.body); status != test.want {
			t.Errorf("%s: %d %s, want %d", test.name, status, body, test.want)
		}
		if len(w.fake.commands) != 0 {
			t.Errorf("%s: it was carried out", test.name)
		}
	}
	w := newWorld(t)
	w.header.Set("Content-Type", "text/plain")
	if status, _ := w.do("POST", api.ScalePath, `{"max_miners":3}`); status != 415 {
		t.Errorf("a form of another site: %d", status)
	}
}

func TestOutcomes(t *testing.T) {
	for want, outcome := range map[int]api.Outcome{
		200: {Done: "ok"}, 409: {Refused: "not now"}, 404: {Refused: "no such task", NotFound: true},
	} {
		w := newWorld(t)
		w.fake.outcome = outcome
		if status, body := w.do("POST", api.TasksPath+"/miner-1/restart", `{"reason":"try"}`); status != want {
			t.Errorf("%d %s, want %d", status, body, want)
		}
		if c := w.fake.commands[0]; c.Op != api.OpRestart || c.Task != "miner-1" || c.Reason != "try" || c.Who == "" {
			t.Errorf("%+v", c)
		}
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	w.fake.status.Tasks = nil
	for i := range 2500 {
		w.fake.status.Tasks = append(w.fake.status.Tasks, api.Task{ID: fmt.Sprintf("miner-%04d", i), Kind: "miner", State: "TASK_RUNNING", Hostname: fmt.Sprint("h", i%2)})
	}
	seen, after := 0, ""
	for range 10 {
		_, body := w.do("GET", api.TasksPath+"?agent=h1&limit=500&after="+after, "")
		var p api.Page[api.Task]
		if err := json.Unmarshal(body, &p); err != nil || p.Total != 1250 {
			t.Fatalf("%v %s", err, body)
		}
		seen += len(p.Items)
		if after = p.Next; after == "" {
			break
		}
	}
	if seen != 1250 {
		t.Errorf("%d tasks on all pages", seen)
	}
	// The task that a page ended with may end itself.
	_, body := w.do("GET", api.TasksPath+"?limit=1&after=miner-0007x", "")
	if !strings.Contains(string(body), "miner-0008") {
		t.Errorf("%s", body)
	}
}

func TestWhy(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]string{
		api.WhyPath + "?agent=b":  "no cpus are left",
		api.WhyPath + "?agent=S1": "1 miners run",
	} {
		var why api.Why
		_, body := w.do("GET", path, "")
		if err := json.Unmarshal(body, &why); err != nil || why.Answer != want {
			t.Errorf("%s: %s", path, body)
		}
	}
	var why api.Why
	_, body := w.do("GET", api.WhyPath+"?agent=b", "")
	if err := json.Unmarshal(body, &why); err != nil || len(why.Groups) != 1 || why.Groups[0].Count != 2 || why.Groups[0].Agents != 1 {
		t.Errorf("%s", body)
	}
	w = newWorld(t)
	w.fake.control.Paused = true
	if _, body := w.do("GET", api.WhyPath, ""); !strings.Contains(string(body), "paused") {
		t.Errorf("%s", body)
	}
}

func TestEventsAreStreamedAndResumed(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	t.Cleanup(server.Close)
	w.feed.Add(api.Event{Type: "task", Message: "first"})
	get := func(header map[string]string, path string) *bufio.Reader {
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			r.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return bufio.NewReader(resp.Body)
	}
	until := func(r *bufio.Reader, prefix string) string {
		t.Helper()
		for {
			line, err := r.ReadString('\n')
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, prefix) {
				return strings.TrimSpace(strings.TrimPrefix(line, prefix))
			}
		}
	}
	stream := get(nil, api.EventsPath+"?after=0")
	id := until(stream, "id: ")
	w.feed.Add(api.Event{Type: "task", Message: "second"})
	if data := until(stream, "data: "); !strings.Contains(data, "first") {
		t.Error(data)
	}
	if data := until(stream, "data: "); !strings.Contains(data, "second") {
		t.Error(data)
	}
	var e api.Event
	line := until(get(map[string]string{"Last-Event-ID": id, "Accept": "application/x-ndjson"}, api.EventsPath), "")
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Message != "second" || e.ID == "" || e.Type != "task" {
		t.Errorf("%v in %s", err, line)
	}
}

func TestPromises(t *testing.T) {
	var list []api.WhyPromise
	for _, p := range []string{"weight 100", "weight 1", "weight 1"} {
		list = promised(list, p, "host of "+p)
	}
	if len(list) != 2 || list[1] != (api.WhyPromise{Promise: "weight 1", Miners: 2, Example: "host of weight 1"}) {
		t.Errorf("%+v", list)
	}
	status := &api.Status{Tasks: []api.Task{
		{Kind: "miner", State: "TASK_RUNNING", Hostname: "a", Miner: &api.MinerDetail{Host: &api.Host{Promise: "weight 100"}}},
		{Kind: "miner", State: "TASK_RUNNING", Hostname: "b", Miner: &api.MinerDetail{Host: &api.Host{Promise: "weight 1"}}},
		{Kind: "miner", State: "TASK_RUNNING", Hostname: "c", Miner: &api.MinerDetail{Host: &api.Host{Promise: "weight 1"}}},
		{Kind: "miner", State: "TASK_RUNNING", Hostname: "d", Miner: &api.MinerDetail{}}, // of before
	}}
	why, err := explain(status, api.Control{}, "")
	if err != nil || len(why.Promises) != 2 || why.Promises[0].Miners != 2 {
		t.Errorf("%v %+v", err, why.Promises)
	}
	if why, err = explain(status, api.Control{}, "a"); err != nil || len(why.Promises) != 1 || why.Promises[0].Example != "a" {
		t.Errorf("%v %+v", err, why.Promises)
	}
}

// Who watches events that are seldom is told that the stream lives, however many others
// there are.
func TestQuietStreamSaysThatItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, "GET", api.EventsPath+"?type=block", nil)
		r.RemoteAddr, r.Host = w.remote, w.host
		rec := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.handler.ServeHTTP(rec, r)
		}()
		for range 60 {
			time.Sleep(time.Second)
			w.feed.Add(api.Event{Type: "task", Message: "of no interest"})
		}
		cancel()
		<-done
		body := rec.Body.String()
		if n := strings.Count(body, ": still here"); n < 3 || n > 4 || strings.Contains(body, "of no interest") {
			t.Errorf("told %d times in a minute:\n%s", n, body)
		}
	})
}
