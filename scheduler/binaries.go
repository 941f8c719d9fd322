package scheduler

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"lode/scheduler/api"
	"lode/scheduler/artifact"
)

// binaries are the executors that agents may fetch: the one that new tasks get, and
// the one before, for a rollback. They are kept in the state folder.
type binaries struct {
	dir       string
	advertise string
	log       *slog.Logger

	mu       sync.Mutex // guards the rest
	current  *artifact.Binary
	previous *artifact.Binary // nil: there is none
}

const executorsDir = "executors"

// openBinaries begins with the newest binary or, if an operator went back to another
// one, with that.
// Others that a library has may be the one before, too; nil: there is none.
func openBinaries(stateDir, advertise string, newest *artifact.Binary, others *library, pinned string, log *slog.Logger) *binaries {
	b := &binaries{advertise: advertise, log: log, current: newest}
	var names []string
	if stateDir != "" {
		b.dir = filepath.Join(stateDir, executorsDir)
		names, _ = filepath.Glob(filepath.Join(b.dir, "*"))
	}
	var kept *artifact.Binary // the last one of before
	if others != nil {
		for _, other := range others.all() {
			if other.Digest() != newest.Digest() && (kept == nil || other.Digest() == pinned) {
				kept = other
			}
		}
	}
	for _, name := range names {
		old, err := artifact.Load(name)
		if err != nil || old.Digest() != filepath.Base(name) {
			_ = os.Remove(name) // half written, or not what its name says
			continue
		}
		if old.Digest() == newest.Digest() {
			continue
		}
		if kept == nil || old.Digest() == pinned || modified(name) > modified(filepath.Join(b.dir, kept.Digest())) && kept.Digest() != pinned {
			kept = old
		}
	}
	b.previous = kept
	if pinned != "" && pinned != newest.Digest() {
		if kept != nil && kept.Digest() == pinned {
			b.current, b.previous = kept, newest
		} else {
			log.Warn("the executor that an operator went back to is gone; the newest is used", "digest", pinned)
		}
	}
	b.keep()
	return b
}

func modified(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}

// keep writes both to the folder and deletes others. It wants mu, or nobody else.
func (b *binaries) keep() {
	if b.dir == "" {
		return
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		b.log.Warn("executors cannot be kept for a rollback", "error", err)
		return
	}
	want := map[string]bool{}
	for _, one := range []*artifact.Binary{b.previous, b.current} {
		if one == nil {
			continue
		}
		want[one.Digest()] = true
		if err := one.Save(filepath.Join(b.dir, one.Digest())); err != nil {
			b.log.Warn("executor cannot be kept for a rollback", "digest", one.Digest(), "error", err)
		}
	}
	names, _ := filepath.Glob(filepath.Join(b.dir, "*"))
	for _, name := range names {
		if !want[filepath.Base(name)] {
			_ = os.Remove(name)
		}
	}
}

// digests are those of what is served, the current one first.
func (b *binaries) digests() []string {
	current, previous := b.get()
	digests := []string{current.Digest()}
	if previous != nil {
		digests = append(digests, previous.Digest())
	}
	return digests
}

func (b *binaries) get() (current, previous *artifact.Binary) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current, b.previous
}

// use makes a binary the one that new tasks get.
func (b *binaries) use(one *artifact.Binary) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if one.Digest() == b.current.Digest() {
		return
	}
	b.current, b.previous = one, b.current
	b.keep()
}

func (b *binaries) info() api.Artifact {
	current, _ := b.get()
	return api.Artifact{URL: current.URL(b.advertise), Digest: current.Digest(), Size: current.Size()}
}
