// Package statedir is a proxy's folder: what outlives it. One proxy has it at a time.
package statedir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"lode/disk"
	"lode/history"
	"lode/pool/accounts"
	"lode/pool/journal"
)

const (
	saveInterval = time.Minute
	// historySaves is how many savings of the accounts there are to one of the history.
	historySaves = 5
	// diskTime is for how long the end waits for a disk that hangs, twice at most.
	diskTime = 3 * time.Second
)

// Folder is an open one.
type Folder struct {
	Journal  *journal.Journal
	Accounts *accounts.Book
	History  *history.Recorder

	dir    string
	log    *slog.Logger
	began  time.Time
	saved  atomic.Int64          // when the accounts were, nanoseconds after began; 0: Save was not called
	failed atomic.Pointer[error] // of the last saving; nil: it was none
	saving chan struct{}         // closed when Save's goroutine has ended; nil: there was none

	mu   sync.Mutex // guards the rest
	lock *os.File
}

// Open makes the folder if it is missing, and reads what is in it. Accounts and history that
// cannot be read begin anew: statistics are no reason not to mine. The files are kept aside.
func Open(dir string, now func() time.Time, log *slog.Logger) (*Folder, error) {
	if err := disk.OS.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	// Who made it may not have seen to it that it outlives a crash. Not everybody may try.
	_ = disk.OS.SyncDir(filepath.Dir(dir))
	held, err := lock(dir)
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(filepath.Join(dir, "blocks.journal"))
	if err != nil {
		_ = held.Close()
		return nil, err
	}
	f := &Folder{Journal: j, Accounts: accounts.New(now), History: history.New(), dir: dir, log: log, lock: held, began: time.Now()}
	j.Own = f.own
	f.tellSpoilt()
	if err := f.Accounts.Load(f.accounts()); err != nil {
		kept, failure := putAside(f.accounts())
		log.Error("accounts begin anew", "error", errors.Join(err, failure), "kept", kept)
	}
	if err := f.History.Load(f.history()); err != nil {
		kept, failure := putAside(f.history())
		log.Warn("the page's history begins anew", "error", errors.Join(err, failure), "kept", kept)
	}
	return f, nil
}

// mostKept bounds the files that are put aside: the disk that spoils one spoils more.
const mostKept = 9

// putAside renames a file that somebody may want to mend. The first ones are kept, and the
// last one.
func putAside(path string) (kept string, err error) {
	for n := range mostKept {
		if kept = path + ".damaged"; n > 0 {
			kept += fmt.Sprintf("-%d", n+1)
		}
		if _, err := os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return kept, os.Rename(path, kept)
}

// tellSpoilt says what was wrong with the journal.
func (f *Folder) tellSpoilt() {
	what := f.Journal.Spoilt()
	if what == nil {
		return
	}
	level, text := slog.LevelError, "the block journal was damaged; what can be read of it is in use"
	if what.Tail {
		level, text = slog.LevelWarn, "the end of the block journal was not whole, as after a crash; it is cut off"
	}
	args := []any{"kept", what.Kept, "pending", len(f.Journal.Pending())}
	if what.Err != nil {
		args = append(args, "error", what.Err)
	}
	f.log.Log(context.Background(), level, text, args...)
}

func (f *Folder) accounts() string { return filepath.Join(f.dir, "accounts.json") }
func (f *Folder) history() string  { return filepath.Join(f.dir, "history") }

// Save begins to save accounts and history from time to time, and when ctx ends. Nothing
// else does: a disk that hangs holds up nobody who mines.
func (f *Folder) Save(ctx context.Context) {
	f.saving = make(chan struct{})
	f.saved.Store(max(int64(time.Since(f.began)), 1)) // they are as they were read
	go func() {
		defer close(f.saving)
		ticker := time.NewTicker(saveInterval)
		defer ticker.Stop()
		for n := 1; ; n++ {
			select {
			case <-ctx.Done():
				f.save(true)
				return
			case <-ticker.C:
				f.save(n%historySaves == 0)
			}
		}
	}()
}

// own sees to it that the folder is there, and this proxy's: whoever removed it took the lock
// along, and may have started another proxy.
func (f *Folder) own() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if disk.Leads(lockPath(f.dir), f.lock) {
		return nil
	}
	if err := disk.OS.MakeDir(f.dir); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	held, err := lock(f.dir)
	if err != nil {
		return err
	}
	_ = f.lock.Close()
	f.lock = held
	return nil
}

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

func (f *Folder) save(all bool) {
	if err := f.own(); err != nil {
		f.log.Error("accounts and history are not saved", "error", err)
		f.failed.Store(&err)
		return
	}
	if err := f.Journal.Keep(); err != nil {
		f.log.Error("the block journal is gone, and cannot be written anew", "error", err)
	}
	if err := f.Accounts.Save(f.accounts()); err != nil {
		f.log.Error("accounts not saved", "error", err)
		f.failed.Store(&err)
	} else {
		f.failed.Store(nil)
		f.saved.Store(int64(time.Since(f.began)))
	}
	if !all {
		return
	}
	if err := f.History.Save(f.history()); err != nil {
		f.log.Error("the page's history is not on disk", "error", err)
	}
}

// Saved is when the accounts were on disk last. They are so when Save begins.
func (f *Folder) Saved() time.Time { return f.began.Add(time.Duration(f.saved.Load())) }

// Trouble is why the accounts are not on disk; nil: they are, as far as they should be.
func (f *Folder) Trouble() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	if f.saved.Load() > 0 && time.Since(f.Saved()) > 3*saveInterval {
		return errHangs
	}
	return nil
}

var errHangs = errors.New("accounts are being saved for minutes: the disk hangs")

// Close lets another proxy in. The context of Save must have ended.
func (f *Folder) Close() {
	if f.saving != nil {
		f.wait(f.saving)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = f.Journal.Close()
	}()
	f.wait(closed)
	if f.mu.TryLock() { // else the disk hangs, and the end of the process opens the lock
		_ = f.lock.Close()
		f.mu.Unlock()
	}
}

// wait waits for what writes to the folder, for a while.
func (f *Folder) wait(done <-chan struct{}) {
	timer := time.NewTimer(diskTime)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		f.log.Error("the disk hangs, what is not written yet is given up", "folder", f.dir)
	}
}
