package signals

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestCheck(t *testing.T) {
	for source, good := range map[string]bool{
		"/etc/price": true, "price": true, "http://h/p": true, "https://h:1/p?q": true,
		"": false, "ftp://h/p": false, "http://": false, "file:///x": false, "http://%zz/": false,
	} {
		if err := Check(source); (err == nil) != good {
			t.Errorf("%q: %v", source, err)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]float64{"0.31\n": 0.31, " -5 ": -5, "1e3": 1000} {
		if got, err := parse(strings.NewReader(text)); err != nil || got != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "\n", "0,3", "NaN", "inf", "1 2", `{"price": 1}`, strings.Repeat("1", 300)} {
		if got, err := parse(strings.NewReader(text)); err == nil {
			t.Errorf("%.20q: %v", text, got)
		}
	}
}

func TestFilesAndURLs(t *testing.T) {
	var price atomic.Value
	price.Store("0.25\n")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/price" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(price.Load().(string)))
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "watts")
	if err := os.WriteFile(file, []byte("1200"), 0o644); err != nil {
		t.Fatal(err)
	}
	w := New(map[string]string{"price": server.URL + "/price", "watts": file, "gone": file + "x", "missing": server.URL + "/x"},
		5*time.Millisecond, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	wait := func(want map[string]float64) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			got := w.Values(time.Now())
			same := len(got) == len(want)
			for name, v := range want {
				same = same && got[name] == v
			}
			if same {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v, want %v", got, want)
			}
		}
	}
	wait(map[string]float64{"price": 0.25, "watts": 1200})
	price.Store("0.5")
	wait(map[string]float64{"price": 0.5, "watts": 1200})
	cancel()
	<-done
}

func TestOldNumbersDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		w := New(nil, time.Second, slog.New(slog.NewTextHandler(&log, nil)))
		w.note("price", 1, nil, time.Now())
		time.Sleep(MaxAge)
		for range 3 {
			w.note("price", 0, errors.New("no answer"), time.Now())
		}
		if v, ok := w.Values(time.Now())["price"]; !ok || v != 1 {
			t.Error("a number of a minute ago does not count")
		}
		time.Sleep(time.Second)
		if _, ok := w.Values(time.Now())["price"]; ok {
			t.Error("an older one does")
		}
		w.note("price", 2, nil, time.Now())
		if strings.Count(log.String(), "cannot be read") != 1 || strings.Count(log.String(), "read again") != 1 {
			t.Errorf("the log:\n%s", &log)
		}
	})
}
