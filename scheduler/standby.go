package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"lode/scheduler/api"
	"lode/scheduler/artifact"
	"lode/scheduler/store"
	"lode/zookeeper"
)

// standbyLook is the time between two looks whether the state folder is free.
const standbyLook = 500 * time.Millisecond

// Standby waits until no other scheduler uses the state folder, or ctx ends (its
// error). Meanwhile it answers /healthz, /livez and /readyz on config.Listen and sends
// all else to the scheduler that leads. When it returns nil, New may still find that
// another one was quicker: ErrLocked, and Standby can be called again.
//
// The folder's lock is the lease: the kernel frees it when its holder dies, however
// that comes, and the file system when its holder's machine does, if it is shared and
// knows locks. A holder that is merely stopped keeps it: two never lead.
func Standby(ctx context.Context, config Config) error {
	config = config.withDefaults()
	held, leader, err := store.Holder(config.StateDir)
	if err != nil || !held {
		return err
	}
	config.Logger.Info("another scheduler leads; standing by", "leader", leader, "state", config.StateDir)
	p := &post{config: config}
	p.see(leader)
	if err := p.open(); err != nil {
		// Perhaps it is the leader who has the address, on the same machine.
		config.Logger.Warn("nothing is answered while standing by", "error", err)
	}
	defer p.close()
	ticker := time.NewTicker(standbyLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		held, leader, err := store.Holder(config.StateDir)
		switch {
		case err != nil:
			// A shared folder may be away for a moment; taking over needs it anyway.
			config.Logger.Warn("cannot see who leads", "error", err)
		case !held:
			config.Logger.Info("nobody leads any more; taking over")
			return nil
		default:
			p.see(leader)
		}
	}
}

// post is where a standby answers.
type post struct {
	config   Config
	standing atomic.Pointer[zookeeper.Standing]
	// library has the executors that are served here; nil: none are.
	library *library

	at     *Scheduler // that has the listener; nil: nothing is answered
	server *http.Server
	served chan struct{}
}

// see notes who leads.
func (p *post) see(leader string) {
	p.standing.Store(&zookeeper.Standing{Members: []zookeeper.Member{{URL: leader}}})
}

// leader is the URL of who leads; "": it is not known.
func (p *post) leader() string {
	s := p.standing.Load()
	if s == nil || len(s.Members) == 0 {
		return ""
	}
	u, err := url.Parse(s.Members[0].URL)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func (p *post) open() error {
	l, err := p.config.ListenFunc("tcp", p.config.Listen)
	if err != nil {
		return fmt.Errorf("listen for agents and clients (--listen): %w", err)
	}
	p.at = &Scheduler{config: p.config, listener: l, log: p.config.Logger}
	p.server = &http.Server{
		Handler: timely(p.routes()), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(p.config.Logger.Handler(), slog.LevelDebug),
	}
	p.served = make(chan struct{})
	go func() {
		defer close(p.served)
		_ = p.server.Serve(p.at.secured()) // until close
	}()
	return nil
}

func (p *post) close() {
	if p.server != nil {
		_ = p.server.Close()
		<-p.served
	}
}

func (p *post) routes() http.Handler {
	mux := http.NewServeMux()
	alive := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "standing by; the leader is %s\n", cmp.Or(p.leader(), "not known"))
	}
	mux.HandleFunc("GET /livez", alive)
	well := func(w http.ResponseWriter, r *http.Request) {
		if s := p.standing.Load(); s != nil && s.Err != nil {
			http.Error(w, fmt.Sprintf("standing by, but cannot take over: %v", s.Err), http.StatusServiceUnavailable)
			return
		}
		alive(w, r)
	}
	mux.HandleFunc("GET /healthz", well)
	mux.HandleFunc("GET /readyz", well)
	mux.HandleFunc(artifact.Prefix, func(w http.ResponseWriter, r *http.Request) {
		if b := p.library.find(r.URL.Path); b != nil {
			b.Handler(nil).ServeHTTP(w, r)
			return
		}
		if s := p.standing.Load(); s != nil && sendToOwner(w, r, s.Members) {
			return
		}
		if r.URL.Query().Has(sentQuery) {
			http.NotFound(w, r)
			return
		}
		p.sendOn(w, r)
	})
	mux.HandleFunc("/", p.sendOn)
	return mux
}

// sendOn sends a client to the leader, and says so: what is secret is sent nowhere on
// the word of just any redirect (see api.Client).
func (p *post) sendOn(w http.ResponseWriter, r *http.Request) {
	leader := p.leader()
	if leader == "" {
		http.Error(w, "standing by; the leader has not said yet where it is", http.StatusServiceUnavailable)
		return
	}
	to := *r.URL
	to.Scheme, to.Host, to.User = "", "", nil
	w.Header().Set(api.LeaderHeader, leader)
	http.Redirect(w, r, leader+to.String(), http.StatusTemporaryRedirect)
}

// sentQuery marks a fetcher that was sent on by who knew: it is sent nowhere else.
const sentQuery = "sent"

// sendToOwner sends a fetcher to a scheduler that has the executor that it asks for.
// Fetchers know no certificate of ours: it goes in the clear, and its URI has the
// digest.
func sendToOwner(w http.ResponseWriter, r *http.Request, members []zookeeper.Member) bool {
	if r.URL.Query().Has(sentQuery) {
		return false
	}
	digest, file, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, artifact.Prefix), "/")
	if file != artifact.Name && file != artifact.ArchiveName {
		return false
	}
	for _, m := range members {
		for _, has := range m.Executors {
			u, err := url.Parse(m.URL)
			if has != digest || err != nil || u.Host == "" || u.Host == r.Host {
				continue
			}
			http.Redirect(w, r, "http://"+u.Host+r.URL.Path+"?"+sentQuery, http.StatusTemporaryRedirect)
			return true
		}
	}
	return false
}

// announce tells standbys where this scheduler is and what it has.
func (s *Scheduler) announce() {
	var err error
	switch state := s.store.(type) {
	case *store.Store:
		err = state.Announce(s.url())
	case *store.Remote:
		self := zookeeper.Member{URL: s.url(), Executors: s.binaries.digests()}
		ctx, cancel := context.WithTimeout(context.Background(), announceTime)
		defer cancel()
		err = s.config.term.Announce(ctx, self)
	}
	if err != nil {
		s.log.Warn("standbys cannot send anybody here", "error", err)
	}
}

const announceTime = 5 * time.Second

// url is where clients reach this scheduler.
func (s *Scheduler) url() string {
	if s.config.TLS != nil {
		return "https://" + s.advertised
	}
	return "http://" + s.advertised
}
