package master

import (
	"net/http"
	"strings"

	"lode/devmesos/internal/wire"
)

// ServeStandby answers a request as a master that does not lead: with the way to the
// leader, host:port, or 503 if there is none. What needs no leader it answers itself.
func ServeStandby(w http.ResponseWriter, r *http.Request, leader string) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if rest, ok := strings.CutPrefix(path, "/master/"); ok {
		path = "/" + rest
	}
	switch {
	case path == "/health":
		wire.WriteText(w, http.StatusOK, "")
	case path == "/version":
		writeJSON(w, r, thisVersion())
	case leader == "":
		wire.WriteText(w, http.StatusServiceUnavailable, "No leader elected")
	case path == "/redirect":
		redirect(w, "//"+leader)
	default:
		redirect(w, "//"+leader+r.URL.RequestURI())
	}
}

func redirect(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	wire.WriteText(w, http.StatusTemporaryRedirect, "")
}
