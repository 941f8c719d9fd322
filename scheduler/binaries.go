package scheduler

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"lode/scheduler/api"
	"lode/scheduler/artifact"
	"lode/scheduler/core"
)

// binaries are the executors that agents may fetch: the one that new tasks get, and
// the one before, for a rollback. They are kept in the state folder.
type binaries struct {
	dir       string
	advertise string
	copies    string // where agents fetch the newest, with digestMark; "": from us
	log       *slog.Logger

	mu       sync.Mutex // guards the rest
	current  *artifact.Binary
	previous *artifact.Binary // nil: there is none
}

const executorsDir = "executors"

// digestMark in the URL of a copy stands for the executor's digest.
const digestMark = "{digest}"

// checkCopies refuses what Mesos' fetcher cannot fetch, or what would be shown to all.
func checkCopies(copies string) error {
	u, err := url.Parse(strings.ReplaceAll(copies, digestMark, "0"))
	switch {
	case err != nil:
		return fmt.Errorf("executor URL: %w (--executor-url)", err)
	case u.User != nil:
		return errors.New("the executor's URL has a password in it, which Mesos shows to everybody (--executor-url)")
	case u.Scheme == "" && !strings.HasPrefix(copies, "/"), u.Scheme != "" && u.Host == "" && u.Path == "", strings.ContainsAny(copies, `\' `):
		return fmt.Errorf("executor URL %q: want one such as https://host/{digest}/lode-executor, or a path on the agents (--executor-url)", copies)
	}
	return nil
}

// openBinaries begins with the newest binary or, if an operator went back to another
// one, with that. bad is the digest of one that turned out not to run; "": there is none.
// Others of a library may be the one before, too.
func openBinaries(c Config, advertise string, newest *artifact.Binary, pinned, bad string, log *slog.Logger) *binaries {
	b := &binaries{advertise: advertise, copies: c.ExecutorURL, log: log, current: newest}
	var names []string
	if c.StateDir != "" {
		b.dir = filepath.Join(c.StateDir, executorsDir)
		names, _ = filepath.Glob(filepath.Join(b.dir, "*"))
	}
	var kept *artifact.Binary // the last one of before that ran
	better := func(one *artifact.Binary) bool {
		switch {
		case kept == nil || one.Digest() == pinned:
			return true
		case kept.Digest() == pinned || one.Digest() == bad:
			return false
		}
		return kept.Digest() == bad || b.modified(one) > b.modified(kept)
	}
	if c.library != nil {
		for _, other := range c.library.all() {
			if other.Digest() != newest.Digest() && better(other) {
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
		if better(old) {
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

// modified is when a binary was put into the folder; 0: it is not there.
func (b *binaries) modified(one *artifact.Binary) int64 {
	if b.dir == "" {
		return 0
	}
	info, err := os.Stat(filepath.Join(b.dir, one.Digest()))
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

// use makes a binary the one that new tasks get; former is the digest of what they got
// so far, which is kept.
func (b *binaries) use(one *artifact.Binary, former string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if one.Digest() == b.current.Digest() {
		return
	}
	before := b.current
	if b.previous != nil && b.previous.Digest() == former && former != one.Digest() {
		before = b.previous
	}
	b.current, b.previous = one, before
	b.keep()
}

// of describes a binary to the core. Of the newest there may be a copy elsewhere; one of
// before is there too if each has a URL of its own.
func (b *binaries) of(one *artifact.Binary, newest bool) core.Artifact {
	a := core.Artifact{URL: one.URL(b.advertise), Digest: one.Digest(), Archive: one.ArchiveURL(b.advertise)}
	if b.copies != "" && (newest || strings.Contains(b.copies, digestMark)) {
		a.URL, a.Archive = strings.ReplaceAll(b.copies, digestMark, a.Digest), ""
	}
	return a
}

// info is what is told of the executor that new tasks get.
func (b *binaries) info(a core.Artifact) api.Artifact {
	d := api.Artifact{URL: a.URL, Archive: a.Archive, Digest: a.Digest}
	current, previous := b.get()
	for _, one := range []*artifact.Binary{current, previous} {
		if one != nil && one.Digest() == a.Digest {
			d.Size = one.Size()
		}
	}
	return d
}
