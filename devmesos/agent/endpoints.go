package agent

import (
	"net/http"

	"lode/devmesos/internal/wire"
)

// routes are the paths that the agent serves.
func (p *process) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/api/v1/executor": p.serveExecutor,
		"/health":          func(w http.ResponseWriter, _ *http.Request) { wire.WriteText(w, http.StatusOK, "") },
	}
}
