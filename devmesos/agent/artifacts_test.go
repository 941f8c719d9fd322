package agent

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// artifacts is the file server of the recording.
type artifacts struct {
	server *httptest.Server
	seen   chan seenRequest
	later  *seenRequest
	body   []byte

	mu   sync.Mutex
	slow chan struct{}
}

type seenRequest struct{ request, headers string }

func newArtifacts() *artifacts {
	self, err := os.Executable()
	if err == nil {
		a := &artifacts{seen: make(chan seenRequest, 100), slow: make(chan struct{})}
		if a.body, err = os.ReadFile(self); err == nil {
			a.server = httptest.NewServer(a)
			return a
		}
	}
	panic(err)
}

func (a *artifacts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var headers []string
	for name, values := range r.Header {
		headers = append(headers, name+"="+strings.Join(values, ","))
	}
	slices.Sort(headers)
	a.seen <- seenRequest{r.Method + " " + r.URL.RequestURI(), strings.Join(headers, " ")}
	switch {
	case strings.HasPrefix(r.URL.Path, "/404/"):
		w.Header().Set("Content-Length", "3")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "404") //nolint:errcheck // HEAD has no body
		return
	case strings.HasPrefix(r.URL.Path, "/500/"):
		w.WriteHeader(http.StatusInternalServerError)
		return
	case strings.HasPrefix(r.URL.Path, "/short/"):
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
		w.Write(a.body[:1000]) //nolint:errcheck // short on purpose
		return
	case strings.HasPrefix(r.URL.Path, "/slow/"):
		a.mu.Lock()
		slow := a.slow
		a.mu.Unlock()
		select {
		case <-slow:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	if r.Method != http.MethodHead {
		w.Write(a.body) //nolint:errcheck // the fetcher may be killed
	}
}

// release lets slow answers go.
func (a *artifacts) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.slow)
	a.slow = make(chan struct{})
}

func (a *artifacts) close() {
	a.release()
	a.server.Close()
}
