package scheduler

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lode/scheduler/artifact"
	"lode/zookeeper"
)

// library has the executors that one of several schedulers can serve: its own, those in
// its folder, and copies of the leader's, so that a rollback, or a task that was just
// launched, does not depend on a leader that is gone. What a copy is to be is known by
// its digest.
type library struct {
	log    *slog.Logger
	client *http.Client
	ctx    context.Context
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex         // guards the rest
	own    []*artifact.Binary // our newest one first
	copies map[string]*artifact.Binary
	busy   bool
}

const (
	// mostMirrored is how many executors of a leader are copied, and maxExecutor
	// bounds one of them, in bytes.
	mostMirrored = 2
	maxExecutor  = 256 << 20
	mirrorTime   = 5 * time.Minute
)

// newLibrary begins with a scheduler's own binary and what is in its folder; dir "":
// there is none.
func newLibrary(own *artifact.Binary, dir string, log *slog.Logger) *library {
	l := &library{log: log, own: []*artifact.Binary{own}, copies: make(map[string]*artifact.Binary), client: &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}, Timeout: mirrorTime,
	}}
	l.ctx, l.stop = context.WithCancel(context.Background())
	if dir != "" {
		names, _ := filepath.Glob(filepath.Join(dir, executorsDir, "*"))
		for _, name := range names {
			if b, err := artifact.Load(name); err == nil && b.Digest() == filepath.Base(name) && b.Digest() != own.Digest() {
				l.own = append(l.own, b)
			}
		}
	}
	return l
}

// find returns the binary that is served under a path; nil: it is not here.
func (l *library) find(path string) *artifact.Binary {
	if l == nil {
		return nil
	}
	for _, b := range l.all() {
		if b.Has(path) {
			return b
		}
	}
	return nil
}

func (l *library) all() []*artifact.Binary {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.own)
	for _, digest := range slices.Sorted(maps.Keys(l.copies)) {
		all = append(all, l.copies[digest])
	}
	return all
}

func (l *library) digests() (digests []string) {
	for _, b := range l.all() {
		digests = append(digests, b.Digest())
	}
	return digests
}

// mirror copies what the leader has and we have not, in the background. What it has no
// more is dropped.
func (l *library) mirror(leader zookeeper.Member) {
	wanted := leader.Executors[:min(len(leader.Executors), mostMirrored)]
	u, err := url.Parse(leader.URL)
	if err != nil || u.Host == "" || len(wanted) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := make(map[string]*artifact.Binary)
	var missing []string
	for _, digest := range wanted {
		b := l.copies[digest]
		switch {
		case b != nil:
			keep[digest] = b
		case !slices.ContainsFunc(l.own, func(b *artifact.Binary) bool { return b.Digest() == digest }):
			missing = append(missing, digest)
		}
	}
	l.copies = keep
	if l.busy || len(missing) == 0 || l.ctx.Err() != nil {
		return
	}
	l.busy = true
	l.wg.Go(func() {
		for _, digest := range missing {
			if err := l.fetch("http://"+u.Host, digest); err != nil && l.ctx.Err() == nil {
				l.log.Warn("the leader's executor is not copied", "leader", leader.URL, "error", err)
			}
		}
		l.mu.Lock()
		l.busy = false
		l.mu.Unlock()
	})
}

func (l *library) fetch(from, digest string) error {
	r, err := http.NewRequestWithContext(l.ctx, http.MethodGet, from+artifact.PathOf(digest), nil)
	if err != nil {
		return err
	}
	resp, err := l.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", r.URL, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxExecutor+1))
	if err != nil {
		return err
	}
	b := artifact.New(data)
	if b.Digest() != digest {
		return fmt.Errorf("%s: what came has the digest %s", r.URL, b.Digest())
	}
	l.mu.Lock()
	l.copies[digest] = b
	l.mu.Unlock()
	return nil
}

// close ends what is copied.
func (l *library) close() {
	l.stop()
	l.wg.Wait()
}
