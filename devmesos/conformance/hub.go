package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"lode/devmesos/conformance/internal/control"
)

// pollWait is how long a probe's question for the next command is held.
const pollWait = 10 * time.Second

// hub is the HTTP server of the suite: it serves the probe executor and other files to
// fetchers, with a record of what they asked, and is the other end of the probes' control channel.
type hub struct {
	url    string // as agents see it
	server *http.Server
	done   chan struct{}
	file   []byte // the probe
	digest string // its SHA-256, hex

	mu     sync.Mutex
	probes map[string]*Probe
	files  map[string]http.HandlerFunc // by path
	seen   []fetched
}

// fetched is a request for a file.
type fetched struct {
	Method, URI string
	Header      http.Header
}

func newHub(advertise, probePath string) (*hub, error) {
	file, err := os.ReadFile(probePath)
	if err != nil {
		return nil, fmt.Errorf("probe executor: %w", err)
	}
	sum := sha256.Sum256(file)
	host, port := advertise, "0"
	if h, p, err := net.SplitHostPort(advertise); err == nil {
		host, port = h, p
	}
	bind := "127.0.0.1"
	switch {
	case host == "":
		host = bind
	case net.ParseIP(host) == nil || !net.ParseIP(host).IsLoopback():
		bind = "" // any address of this machine
	default:
		bind = host
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(bind, port))
	if err != nil {
		return nil, fmt.Errorf("file server of the suite: %w", err)
	}
	h := &hub{
		url:  fmt.Sprintf("http://%s", net.JoinHostPort(host, strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))),
		done: make(chan struct{}), file: file, digest: hex.EncodeToString(sum[:]),
		probes: map[string]*Probe{}, files: map[string]http.HandlerFunc{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ctl/{id}/next", h.next)
	mux.HandleFunc("POST /ctl/{id}/result", h.result)
	mux.HandleFunc("POST /ctl/{id}/event", h.event)
	mux.HandleFunc("/", h.serveFile)
	h.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(h.done)
		_ = h.server.Serve(ln)
	}()
	return h, nil
}

func (h *hub) close() {
	_ = h.server.Close()
	<-h.done
}

// probeURI is where the probe is served. variant makes URIs of equal content differ, so
// that a fetcher cache holds nothing for them.
func (h *hub) probeURI(variant string) string {
	if variant == "" {
		variant = "shared"
	}
	return fmt.Sprintf("%s/artifacts/%s/%s/probe", h.url, h.digest, variant)
}

// handle serves a file at path; it returns its URI.
func (h *hub) handle(path string, f http.HandlerFunc) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files[path] = f
	return h.url + path
}

// requests returns what was asked for the path, the query not looked at.
func (h *hub) requests(path string) []fetched {
	h.mu.Lock()
	defer h.mu.Unlock()
	var l []fetched
	for _, f := range h.seen {
		if p, _, _ := strings.Cut(f.URI, "?"); p == path {
			l = append(l, f)
		}
	}
	return l
}

func (h *hub) serveFile(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.seen = append(h.seen, fetched{r.Method, r.RequestURI, r.Header.Clone()})
	f := h.files[r.URL.Path]
	h.mu.Unlock()
	switch {
	case f != nil:
		f(w, r)
	case strings.HasPrefix(r.URL.Path, "/artifacts/"+h.digest+"/"):
		serveBytes(h.file)(w, r)
	default:
		http.NotFound(w, r)
	}
}

// serveBytes serves a body with its length, to HEAD too.
func serveBytes(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Header().Set("Content-Type", "application/octet-stream")
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	}
}

// expect announces a probe.
func (h *hub) expect(id string) *Probe {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &Probe{
		ID: id, URL: h.url + "/ctl/" + id, arrived: make(chan struct{}), gone: make(chan struct{}),
		commands: make(chan control.Command), results: make(chan control.Result, 1), streams: map[string]*eventLog{},
	}
	h.probes[id] = p
	return p
}

// retire makes the probe exit whenever it asks for a command again.
func (h *hub) retire(p *Probe) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-p.gone:
	default:
		close(p.gone)
	}
}

func (h *hub) probe(r *http.Request) *Probe {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.probes[r.PathValue("id")]
}

func (h *hub) next(w http.ResponseWriter, r *http.Request) {
	p := h.probe(r)
	if p == nil {
		http.Error(w, "no such probe", http.StatusNotFound)
		return
	}
	p.arrive()
	ctx, cancel := context.WithTimeout(r.Context(), pollWait)
	defer cancel()
	select {
	case <-p.gone:
		_ = json.NewEncoder(w).Encode(control.Command{Op: control.OpExit})
	case cmd := <-p.commands:
		w.Header().Set("Content-Type", string(JSON))
		_ = json.NewEncoder(w).Encode(cmd)
	case <-ctx.Done():
		w.WriteHeader(http.StatusNoContent)
	}
}

func (h *hub) result(w http.ResponseWriter, r *http.Request) {
	var res control.Result
	p := h.probe(r)
	if p == nil || json.NewDecoder(r.Body).Decode(&res) != nil {
		http.Error(w, "bad result", http.StatusBadRequest)
		return
	}
	select {
	case p.results <- res:
	case <-r.Context().Done():
	}
}

func (h *hub) event(w http.ResponseWriter, r *http.Request) {
	var ev control.Event
	p := h.probe(r)
	if p == nil || json.NewDecoder(r.Body).Decode(&ev) != nil {
		http.Error(w, "bad event", http.StatusBadRequest)
		return
	}
	p.receive(ev)
}
