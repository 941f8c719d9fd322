package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"lode/scheduler/store"
)

// standbyLook is the time between two looks whether the state folder is free.
const standbyLook = 500 * time.Millisecond

// Standby waits until no other scheduler uses the state folder, or ctx ends (its
// error). Meanwhile it answers /healthz and /livez on config.Listen and sends all else
// to the scheduler that leads. When it returns nil, New may still find that another one
// was quicker: ErrLocked, and Standby can be called again.
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
	var leads atomic.Pointer[string]
	leads.Store(&leader)
	if l, err := config.ListenFunc("tcp", config.Listen); err != nil {
		// Perhaps it is the leader who has it, on the same machine.
		config.Logger.Warn("nothing is answered while standing by", "error", err)
	} else {
		server := &http.Server{
			Handler: standbyHandler(&leads), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(config.Logger.Handler(), slog.LevelDebug),
		}
		s := &Scheduler{config: config, listener: l}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = server.Serve(s.secured()) // until Close
		}()
		defer func() {
			_ = server.Close()
			<-served
		}()
	}
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
			leads.Store(&leader)
		}
	}
}

func standbyHandler(leads *atomic.Pointer[string]) http.Handler {
	mux := http.NewServeMux()
	alive := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "standing by; the leader is %s\n", *leads.Load())
	}
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /livez", alive)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		to, err := url.Parse(*leads.Load())
		if err != nil || to.Host == "" || (to.Scheme != "http" && to.Scheme != "https") {
			http.Error(w, "standing by; the leader has not said yet where it is", http.StatusServiceUnavailable)
			return
		}
		to.Path, to.RawPath, to.RawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
		http.Redirect(w, r, to.String(), http.StatusTemporaryRedirect)
	})
	return mux
}

// announce tells standbys where this scheduler is.
func (s *Scheduler) announce(advertise string) {
	folder, ok := s.store.(*store.Store)
	if !ok {
		return
	}
	scheme := "http"
	if s.config.TLS != nil {
		scheme = "https"
	}
	if err := folder.Announce(scheme + "://" + advertise); err != nil {
		s.log.Warn("standbys cannot send anybody here", "error", err)
	}
}
