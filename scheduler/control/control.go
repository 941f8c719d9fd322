// Package control is the HTTP API by which operators see and steer a scheduler, under
// /api/v1. openapi.json describes it; a test holds the two together.
//
//	handler := control.New(control.Config{Scheduler: s, Auth: auth, Events: feed})
//
// It decides who may ask for what, reads requests with bounds on everything, and
// pages through lists. What a command does is the scheduler's business.
package control

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"lode/scheduler/api"
	"lode/scheduler/feed"
)

// Scheduler is what the API shows and steers.
type Scheduler interface {
	Status() api.Status
	Control() api.Control
	// Operate carries out a command. When it returns, what it changed is stored, or the
	// outcome says that it is not.
	Operate(ctx context.Context, c api.Command) (api.Outcome, error)
}

// Config is what the API needs.
type Config struct {
	Scheduler Scheduler
	Events    *feed.Feed
	Auth      Auth
	Logger    *slog.Logger
}

const (
	// mostBody bounds the body of a request, in bytes.
	mostBody = 64 << 10
	// requestTime bounds reading and answering a request that is no stream, and the
	// time that a reader of a stream may take for one piece.
	requestTime = 30 * time.Second
	// snapshotLife is for how long one look at the scheduler serves all who ask.
	snapshotLife = 500 * time.Millisecond
)

//go:generate env UPDATE=1 go test -count=1 -run ^TestOpenAPI$ .

//go:embed openapi.json
var openAPI []byte

type handler struct {
	Config
	csrf *http.CrossOriginProtection

	mu       sync.Mutex // guards snapshot
	snapshot *api.Status
	taken    time.Time
}

// route is one operation of the API.
type route struct {
	method, path string
	role         Role
	serve        func(*handler, http.ResponseWriter, *http.Request, string) error
}

// routes are all of the API but the documents that the scheduler serves itself.
var routes = []route{
	{"GET", api.StatusPath, Read, (*handler).status},
	{"GET", api.TasksPath, Read, (*handler).tasks},
	{"GET", api.TasksPath + "/{task}", Read, (*handler).task},
	{"POST", api.TasksPath + "/{task}/restart", Operate, command(api.OpRestart)},
	{"POST", api.TasksPath + "/{task}/kill", Operate, command(api.OpKill)},
	{"GET", api.AgentsPath, Read, (*handler).agents},
	{"POST", api.AgentsPath + "/{agent}/drain", Operate, command(api.OpDrain)},
	{"POST", api.AgentsPath + "/{agent}/undrain", Operate, command(api.OpUndrain)},
	{"GET", api.OffersPath, Read, (*handler).offers},
	{"GET", api.BlocksPath, Read, (*handler).blocks},
	{"GET", api.EventsPath, Read, (*handler).events},
	{"GET", api.WhyPath, Read, (*handler).why},
	{"GET", api.ControlPath, Read, (*handler).control},
	{"POST", api.ScalePath, Operate, command(api.OpScale)},
	{"POST", api.PausePath, Operate, command(api.OpPause)},
	{"POST", api.ResumePath, Operate, command(api.OpResume)},
	{"GET", api.UpgradePath, Read, (*handler).upgrade},
	{"POST", api.UpgradePath, Operate, command(api.OpUpgrade)},
	{"POST", api.KeysPath, Operate, command(api.OpRotate)},
	{"GET", api.OpenAPIPath, Read, (*handler).openAPI},
}

// New returns the handler of /api/v1 without what others serve there.
func New(c Config) http.Handler {
	h := &handler{Config: c, csrf: http.NewCrossOriginProtection()}
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) { h.serve(w, req, r) })
	}
	return mux
}

// Protect lets nobody to another handler who may not read.
func Protect(c Config, next http.Handler) http.Handler {
	h := &handler{Config: c, csrf: http.NewCrossOriginProtection()}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := h.admit(r, Read); err != nil {
			h.refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fault is an error with its HTTP status.
type fault struct {
	status int
	err    error
}

func (f *fault) Error() string { return f.err.Error() }

func faultf(status int, format string, args ...any) error {
	return &fault{status, fmt.Errorf(format, args...)}
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, route route) {
	control := http.NewResponseController(w)
	deadline := time.Now().Add(requestTime)
	_ = control.SetReadDeadline(deadline)
	_ = control.SetWriteDeadline(deadline)
	r.Body = http.MaxBytesReader(w, r.Body, mostBody)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	who, err := h.admit(r, route.role)
	if err == nil {
		err = route.serve(h, w, r, who)
	}
	if err != nil {
		h.refuse(w, r, err)
	}
}

// admit returns who asks, if he may.
func (h *handler) admit(r *http.Request, need Role) (string, error) {
	if err := h.csrf.Check(r); err != nil {
		return "", faultf(http.StatusForbidden, "a page of another site must not steer the scheduler: %w", err)
	}
	role, who, err := h.Auth.identify(r)
	switch {
	case err != nil:
		return "", &fault{http.StatusUnauthorized, err}
	case role < need && h.Auth.Tokens == nil && !h.Auth.ClientCertificates:
		return "", faultf(http.StatusForbidden, "only programs on the scheduler's machine may do this: start it with --token-file for others")
	case role < need:
		return "", faultf(http.StatusForbidden, "%s may only %s, this needs the role %s", who, role, need)
	}
	return who, nil
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	var f *fault
	if errors.As(err, &f) {
		status = f.status
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="lode"`)
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		h.Logger.Warn("audit: request refused", "method", short(r.Method), "path", short(r.URL.Path), "from", r.RemoteAddr, "error", err)
	}
	write(w, status, map[string]string{"error": err.Error()})
}

// short bounds what strangers can write into the log.
func short(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// write sends a document. The client may be gone; there is nobody else to tell.
func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v)
}

// command is the handler of a command: its body is an api.Command in which path and
// operation are known already.
func command(op string) func(*handler, http.ResponseWriter, *http.Request, string) error {
	return func(h *handler, w http.ResponseWriter, r *http.Request, who string) error {
		c, err := readCommand(r)
		if err != nil {
			return err
		}
		c.Op, c.Who = op, who
		if task := r.PathValue("task"); task != "" {
			c.Task = task
		}
		if agent := r.PathValue("agent"); agent != "" {
			c.Agent = agent
		}
		if err := Check(c); err != nil {
			return &fault{http.StatusBadRequest, err}
		}
		outcome, err := h.Scheduler.Operate(r.Context(), c)
		switch {
		case err != nil:
			return faultf(http.StatusServiceUnavailable, "%w", err)
		case outcome.NotFound:
			return faultf(http.StatusNotFound, "%s", outcome.Refused)
		case outcome.Refused != "":
			return faultf(http.StatusConflict, "%s", outcome.Refused)
		}
		h.forgetSnapshot()
		write(w, http.StatusOK, outcome)
		return nil
	}
}

func readCommand(r *http.Request) (c api.Command, err error) {
	body, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return c, faultf(http.StatusRequestEntityTooLarge, "the request has more than %d bytes", mostBody)
	case err != nil:
		return c, faultf(http.StatusBadRequest, "read the request: %w", err)
	case len(strings.TrimSpace(string(body))) == 0:
		return c, nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return c, faultf(http.StatusUnsupportedMediaType, "want Content-Type: application/json")
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, faultf(http.StatusBadRequest, "the request cannot be read: %w", err)
	}
	if d.More() {
		return c, faultf(http.StatusBadRequest, "the request is more than one JSON object")
	}
	return c, nil
}

// Check refuses commands that make no sense, whatever the cluster does.
func Check(c api.Command) error {
	const mostText = 255
	switch {
	case len(c.Reason) > mostText || len(c.Task) > mostText || len(c.Agent) > mostText:
		return fmt.Errorf("a text of more than %d characters", mostText)
	case c.MaxCPUs != nil && !(*c.MaxCPUs >= 0 && *c.MaxCPUs < 1e9):
		return fmt.Errorf("max_cpus is %g: want 0 or more", *c.MaxCPUs)
	case c.MaxMiners != nil && *c.MaxMiners > 10_000_000:
		return fmt.Errorf("max_miners is %d: that many there cannot be", *c.MaxMiners)
	}
	switch c.Op {
	case api.OpScale:
		if c.MaxMiners == nil && c.MaxCPUs == nil {
			return errors.New("scale needs max_miners or max_cpus")
		}
		if c.Agent != "" && c.MaxCPUs == nil {
			return errors.New("an agent is scaled by max_cpus")
		}
	case api.OpUpgrade:
		if c.Action != "start" && c.Action != "pause" && c.Action != "rollback" {
			return fmt.Errorf("action of upgrade is %q: want start, pause or rollback", c.Action)
		}
	}
	return nil
}

// look returns a status that may be a moment old.
func (h *handler) look() *api.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.snapshot == nil || time.Since(h.taken) > snapshotLife {
		s := h.Scheduler.Status()
		h.snapshot, h.taken = &s, time.Now()
	}
	return h.snapshot
}

func (h *handler) forgetSnapshot() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.snapshot = nil
}

func (h *handler) openAPI(w http.ResponseWriter, _ *http.Request, _ string) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI)
	return nil
}
