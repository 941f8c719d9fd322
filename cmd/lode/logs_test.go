package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lode/scheduler/api"
	"lode/scheduler/control"
	"lode/scheduler/feed"
)

// subscribed is a scheduler with a master.
type subscribed struct {
	steered
	master string
}

func (s *subscribed) Status() api.Status {
	status := s.steered.Status()
	status.Master = s.master
	return status
}

// mesosString is a JSON string as Mesos writes it: what is no control character comes
// as it is, whatever it is.
func mesosString(b []byte) []byte {
	out := []byte{'"'}
	for _, c := range b {
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, `\n`...)
		case c < ' ' || c == 0x7f:
			out = fmt.Appendf(out, `\u%04X`, c)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

// A log comes as it is, though pieces of it end within characters, and from agents that
// ask who reads.
func TestLogsComeAsTheyAre(t *testing.T) {
	content := []byte("\x1b[31mred\x00\x7f \"quoted\" \\ \xff\xfe not utf-8 � \n")
	for i := range 20_000 {
		content = fmt.Appendf(content, "%d: “a line” → with … and 💎\n", i)
	}
	mux := http.NewServeMux()
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, secret, _ := r.BasicAuth(); user != "reader" || secret != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(cluster.Close)
	host := strings.TrimPrefix(cluster.URL, "http://")
	mux.HandleFunc("GET /slaves", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"slaves":[{"id":"S0","pid":"slave(1)@127.0.0.1:1"},{"id":"S1","pid":"slave(1)@%s"}]}`, host)
	})
	mux.HandleFunc("GET /files/read", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		offset, _ := strconv.Atoi(q.Get("offset"))
		length, _ := strconv.Atoi(q.Get("length"))
		if want := "/frameworks/F1/executors/miner-1/runs/latest/stderr"; q.Get("path") != want || offset > len(content) {
			t.Errorf("asked for %s from %d on", q.Get("path"), offset)
		}
		fmt.Fprintf(w, `{"data":%s,"offset":%d}`, mesosString(content[offset:min(len(content), offset+length)]), offset)
	})
	scheduler := httptest.NewServer(control.New(control.Config{
		Scheduler: &subscribed{master: host}, Events: feed.New(time.Now()), Logger: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(scheduler.Close)
	dir := t.TempDir()
	secret, wrong := filepath.Join(dir, "secret"), filepath.Join(dir, "wrong")
	for file, text := range map[string]string{secret: "s3cret\n", wrong: "wr0ng\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	logs := func(code int, want string, args ...string) []byte {
		t.Helper()
		var stdout, stderr bytes.Buffer
		args = append([]string{"logs", "miner-1", "--scheduler", scheduler.URL}, args...)
		if got := run(t.Context(), args, &stdout, &stderr); got != code || !strings.Contains(stderr.String(), want) {
			t.Errorf("lode %s: exit code %d, want %d with %q: %s", strings.Join(args, " "), got, code, want, &stderr)
		}
		return stdout.Bytes()
	}
	if got := logs(0, "", "--principal=reader", "--secret-file="+secret); !bytes.Equal(got, content) {
		at := 0
		for at < min(len(got), len(content)) && got[at] == content[at] {
			at++
		}
		t.Errorf("%d bytes of %d are printed; from byte %d on they are %.60q, want %.60q", len(got), len(content), at, got[at:], content[at:])
	}
	logs(1, "it asks who reads: --principal")
	logs(1, `principal "reader" may not read this`, "--principal=reader", "--secret-file="+wrong)
	logs(2, "go together", "--principal=reader")
	logs(1, "", "--principal=reader", "--secret-file="+secret, "--https") // it speaks no TLS
}

// At a terminal nothing of a log moves the cursor, wherever its pieces end.
func TestCleaner(t *testing.T) {
	text := "one\ttwo\n\x1b[2Jgone\r\n“quoted” 💎\u202e\n"
	const want = "one\ttwo\n [2Jgone \n“quoted” 💎 \n"
	for n := range len(text) {
		var out bytes.Buffer
		c := &cleaner{out: &out, clean: true}
		for _, part := range []string{text[:n], text[n:]} {
			if err := c.write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if out.String() != want {
			t.Errorf("cut at %d: %q, want %q", n, &out, want)
		}
	}
}
