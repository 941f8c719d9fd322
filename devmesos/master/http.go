package master

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"net/url"
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
	if rest, ok := strings.CutPrefix(path, "/master"); ok && (rest == "" || rest[0] == '/') {
		path = rest
	}
	if path == "/" || path == "" {
		return m.servePage
	}
	for path = strings.TrimSuffix(path, "/"); path != ""; path = path[:strings.LastIndexByte(path, '/')] {
		if serve := m.routes[path]; serve != nil {
			return serve
		}
	}
	return notFound
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	wire.WriteText(w, http.StatusNotFound, "404 Not Found.")
}

// servePage is the page that people get, a list of what is here.
func (m *Master) servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, "<!DOCTYPE html><title>Mesos for development</title><h1>Mesos master %s</h1><ul>", m.id)
	for _, path := range sortedKeys(m.routes) {
		if path != "" {
			fmt.Fprintf(w, `<li><a href="%s">%s</a>`, path, path)
		}
	}
	fmt.Fprintln(w, "</ul>")
}

func (m *Master) newRoutes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/api/v1/scheduler": m.serveScheduler,
		"/api/v1":           m.serveOperator,

		"/help":     m.servePage,
		"/health":   func(w http.ResponseWriter, _ *http.Request) { wire.WriteText(w, http.StatusOK, "") },
		"/version":  func(w http.ResponseWriter, r *http.Request) { writeJSON(w, r, thisVersion()) },
		"/redirect": func(w http.ResponseWriter, _ *http.Request) { redirect(w, "//"+m.cfg.Address) },

		"/state":            m.view(func(url.Values) any { return m.stateView() }),
		"/state-summary":    m.view(m.summaryView),
		"/slaves":           m.view(func(q url.Values) any { return m.slavesFull(q.Get("slave_id")) }),
		"/frameworks":       m.view(func(q url.Values) any { return m.frameworksView(q.Get("framework_id")) }),
		"/tasks":            m.view(m.tasksView),
		"/roles":            m.view(m.rolesView),
		"/flags":            m.view(func(url.Values) any { return map[string]any{"flags": m.flags()} }),
		"/metrics/snapshot": m.view(func(url.Values) any { return m.snapshot() }),
		"/quota":            m.view(func(url.Values) any { return ptr(m.quotaStatus()) }),
		"/weights":          m.view(func(url.Values) any { return []string{} }),

		"/maintenance/schedule": m.serveSchedule,
		"/maintenance/status":   m.view(func(url.Values) any { return ptr(m.maintenanceStatus()) }),
		"/machine/down":         m.machines(m.machinesDown),
		"/machine/up":           m.machines(m.machinesUp),
		"/teardown":             m.change(m.teardown),
	}
}

// gzipFrom is the size in bytes from which on answers are compressed for clients that
// ask for it.
const gzipFrom = 1024

// writeJSON answers with a value in Mesos' JSON.
func writeJSON(w http.ResponseWriter, r *http.Request, v any) {
	writeBody(w, r, wire.AppendJSON(nil, v))
}

// writeBody answers with JSON, wrapped in a function if the request names one (?jsonp=).
func writeBody(w http.ResponseWriter, r *http.Request, body []byte) {
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
