// Package web holds the pages that scheduler and proxy serve at their address: plain
// HTML, CSS and ES modules, in the binary, from no other host and with nothing to
// build. The pages read the HTTP API of whoever serves them.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var files embed.FS

// Pages that there are.
const (
	Cluster = "cluster.html" // of the scheduler
	Proxy   = "proxy.html"   // of the pool-proxy
)

// AssetPrefix is the path below which scripts and styles are served.
const AssetPrefix = "/assets/"

// policy lets a page load and call nothing but its own server, and run no script that
// stands in the page itself.
const policy = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// asset is a file, also compressed, with its ETag.
type asset struct {
	kind, tag   string
	plain, gzip []byte
}

// Handler serves page at "/" and what it needs below AssetPrefix.
func Handler(page string) http.Handler {
	assets := make(map[string]asset)
	err := fs.WalkDir(files, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		switch base := path.Base(name); {
		case base == page:
			assets["/"] = newAsset(base, b)
		case path.Ext(base) != ".html":
			assets[AssetPrefix+base] = newAsset(base, b)
		}
		return nil
	})
	if _, found := assets["/"]; err != nil || !found {
		panic(fmt.Sprintf("web: page %q: %v", page, err)) // the binary is broken
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		a, found := assets[req.URL.Path]
		if !found {
			http.NotFound(w, req)
			return
		}
		a.serve(w, req)
	})
}

func newAsset(name string, b []byte) asset {
	sum := sha256.Sum256(b)
	a := asset{kind: mime.TypeByExtension(path.Ext(name)), tag: `"` + hex.EncodeToString(sum[:8]) + `"`, plain: b}
	switch path.Ext(name) { // not what the machine's tables say
	case ".js":
		a.kind = "text/javascript; charset=utf-8"
	case ".svg":
		a.kind = "image/svg+xml"
	}
	var out bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	_, _ = zip.Write(b) // a buffer takes everything
	_ = zip.Close()
	a.gzip = out.Bytes()
	return a
}

func (a asset) serve(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache") // the binary may be another one tomorrow
	h.Set("ETag", a.tag)
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(req.Header.Get("If-None-Match"), a.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.plain
	if strings.Contains(req.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.gzip
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if req.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone
	}
}
