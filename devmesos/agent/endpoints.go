package agent

import (
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"

	"lode/devmesos/internal/wire"
)

// routes are the paths that the agent serves, with and without /slave(1) before them.
func (p *process) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/api/v1/executor":    p.serveExecutor,
		"/api/v1":             p.serveOperator,
		"/health":             func(w http.ResponseWriter, _ *http.Request) { wire.WriteText(w, http.StatusOK, "") },
		"/version":            p.view(func() any { return versionOf() }),
		"/state":              p.view(func() any { return p.stateView() }),
		"/flags":              p.view(func() any { return map[string]any{"flags": p.flags()} }),
		"/containers":         p.view(func() any { return p.containerViews(true) }),
		"/monitor/statistics": p.view(func() any { return p.containerViews(false) }),
		"/metrics/snapshot":   p.view(func() any { return p.metrics() }),
		"/files/browse":       p.serveBrowse,
		"/files/read":         p.serveRead,
		"/files/download":     p.serveDownload,
		"/files/debug":        p.view(func() any { return p.attached() }),
	}
}

// view serves JSON that is made from the agent's state.
func (p *process) view(of func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body []byte
		if !p.inbox.do(func() { body = wire.AppendJSON(nil, of()) }) {
			panic(http.ErrAbortHandler) // the agent was killed meanwhile
		}
		writeJSON(w, r, body)
	}
}

// gzipFrom is the size in bytes from which on answers are compressed for those who ask for it.
const gzipFrom = 1024

// writeJSON answers with JSON, in a function if the request names one (?jsonp=).
func writeJSON(w http.ResponseWriter, r *http.Request, body []byte) {
	contentType := wire.JSON.MediaType()
	if callback := r.URL.Query().Get("jsonp"); callback != "" {
		body = append(append([]byte(callback+"("), body...), ");"...)
		contentType = "text/javascript"
	}
	w.Header().Set("Content-Type", contentType)
	if len(body) >= gzipFrom && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(body) // whoever is gone does not read the rest
		_ = z.Close()
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
