// Package statedir is a proxy's folder: what outlives it. One proxy has it at a time.
package statedir

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

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
	lock   *os.File
	saving chan struct{} // closed when Save's goroutine has ended; nil: there was none
}

// Open makes the folder if it is missing, and reads what is in it. Accounts and history that
// cannot be read begin anew: statistics are no reason not to mine.
func Open(dir string, now func() time.Time, log *slog.Logger) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	held, err := lock(dir)
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(filepath.Join(dir, "blocks.journal"))
	if err != nil {
		_ = held.Close()
		return nil, err
	}
	f := &Folder{Journal: j, Accounts: accounts.New(now), History: history.New(), dir: dir, log: log, lock: held}
	if err := f.Accounts.Load(f.accounts()); err != nil {
		// Somebody may want to mend the file.
		kept := fmt.Sprintf("%s.damaged-%d", f.accounts(), now().Unix())
		log.Error("accounts begin anew", "error", errors.Join(err, os.Rename(f.accounts(), kept)), "kept", kept)
	}
	if err := f.History.Load(f.history()); err != nil {
		log.Warn("the page's history begins anew", "error", err)
	}
	return f, nil
}

func (f *Folder) accounts() string { return filepath.Join(f.dir, "accounts.json") }
func (f *Folder) history() string  { return filepath.Join(f.dir, "history") }

// Save begins to save accounts and history from time to time, and when ctx ends. Nothing
// else does: a disk that hangs holds up nobody who mines.
func (f *Folder) Save(ctx context.Context) {
	f.saving = make(chan struct{})
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

func (f *Folder) save(all bool) {
	if err := f.Accounts.Save(f.accounts()); err != nil {
		f.log.Error("accounts not saved", "error", err)
	}
	if !all {
		return
	}
	if err := f.History.Save(f.history()); err != nil {
		f.log.Error("the page's history is not on disk", "error", err)
	}
}

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
	_ = f.lock.Close()
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
