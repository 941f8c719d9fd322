package web

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// DocumentPath is where a page asks for what it shows.
const DocumentPath = "/api/v1/dashboard"

// freshness is for how long one document serves all who ask.
const freshness = time.Second

// Document serves what build makes as JSON. It is built, encoded and compressed once a
// second at most, however many pages are open.
func Document(build func() any) http.Handler {
	return &document{build: build}
}

type document struct {
	build func() any

	mu          sync.Mutex // guards the rest, and is held while the document is built
	built       time.Time
	plain, gzip []byte
}

func (d *document) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	plain, zipped, err := d.get()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(req.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		plain = zipped
	}
	_, _ = w.Write(plain) // the client may be gone
}

func (d *document) get() (plain, zipped []byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.plain != nil && time.Since(d.built) < freshness {
		return d.plain, d.gzip, nil
	}
	b, err := json.Marshal(d.build())
	if err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	_, _ = zip.Write(b) // a buffer takes everything
	_ = zip.Close()
	d.plain, d.gzip, d.built = b, out.Bytes(), time.Now()
	return d.plain, d.gzip, nil
}
