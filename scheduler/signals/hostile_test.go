package signals

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Servers that say nothing, too much, or something else hold up no other signal, are no
// number, and do not keep the watcher from ending.
func TestHostileServers(t *testing.T) {
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			w.Write([]byte("5"))
		case "/silent":
			<-ended
		case "/drip": // a number that is never complete
			for {
				if _, err := w.Write([]byte("1")); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-ended:
					return
				case <-time.After(time.Millisecond):
				}
			}
		case "/flood":
			for {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/error":
			w.WriteHeader(http.StatusInternalServerError)
			w.Write([]byte("5"))
		case "/cut":
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("5"))
		case "/nan":
			w.Write([]byte("NaN"))
		}
	}))
	defer server.Close()
	defer close(ended)
	sources := make(map[string]string)
	for _, name := range []string{"good", "silent", "drip", "flood", "loop", "error", "cut", "nan"} {
		sources[name] = server.URL + "/" + name
	}
	vanishes := filepath.Join(t.TempDir(), "vanishes")
	if err := os.WriteFile(vanishes, []byte("3"), 0o600); err != nil {
		t.Fatal(err)
	}
	sources["vanishes"], sources["folder"] = vanishes, t.TempDir()
	w := New(sources, time.Millisecond, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	read := func(ok func(map[string]reading) bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			w.mu.Lock()
			now := ok(w.values)
			w.mu.Unlock()
			if now {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("not within half a minute")
			}
		}
	}
	read(func(v map[string]reading) bool { return v["vanishes"].value == 3 })
	if err := os.Remove(vanishes); err != nil {
		t.Fatal(err)
	}
	read(func(v map[string]reading) bool {
		tried := true
		for _, name := range []string{"drip", "flood", "loop", "error", "cut", "nan", "folder", "vanishes"} {
			tried = tried && v[name].err != ""
		}
		return tried && v["good"].value == 5
	})
	// What vanished counts for a minute as it was.
	if got := w.Values(time.Now()); len(got) != 2 || got["good"] != 5 || got["vanishes"] != 3 {
		t.Errorf("%v", got)
	}
	cancel()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the watcher does not end")
	}
}
