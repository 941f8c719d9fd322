package master

import (
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"

	"lode/devmesos/internal/wire"
)

// ServeHTTP serves everything that a master serves. Paths are matched by their
// longest prefix, with or without /master before it, as libprocess does.
func (m *Master) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.handler(r.URL.Path)(w, r)
}

func (m *Master) handler(path string) http.HandlerFunc {
	routes := m.routes()
	if rest, ok := strings.CutPrefix(path, "/master"); ok && (rest == "" || rest[0] == '/') {
		path = rest
	}
	for path = strings.TrimSuffix(path, "/"); ; path = path[:strings.LastIndexByte(path, '/')] {
		if serve := routes[path]; serve != nil {
			return serve
		}
		if path == "" {
			return notFound
		}
	}
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	wire.WriteText(w, http.StatusNotFound, "404 Not Found.")
}

func (m *Master) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/api/v1/scheduler": m.serveScheduler,
		"/health":           func(w http.ResponseWriter, _ *http.Request) { wire.WriteText(w, http.StatusOK, "") },
		"/version":          func(w http.ResponseWriter, r *http.Request) { writeJSON(w, r, versionView()) },
		"/redirect":         m.serveRedirect,
	}
}

// serveRedirect tells where the leader is: here.
func (m *Master) serveRedirect(w http.ResponseWriter, _ *http.Request) {
	redirect(w, "//"+m.cfg.Address)
}

// gzipFrom is the size in bytes from which on answers are compressed for clients that
// ask for it.
const gzipFrom = 1024

// writeJSON answers with a value in Mesos' JSON, wrapped in a function if the request
// names one (?jsonp=).
func writeJSON(w http.ResponseWriter, r *http.Request, v any) {
	body := wire.AppendJSON(nil, v)
	contentType := "application/json"
	if callback := r.URL.Query().Get("jsonp"); callback != "" {
		body = append(append([]byte(callback+"("), body...), ");"...)
		contentType = "text/javascript"
	}
	w.Header().Set("Content-Type", contentType)
	if len(body) >= gzipFrom && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(body) //nolint:errcheck // the client is gone, nobody is left to tell
		z.Close()
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body) //nolint:errcheck // as above
}
