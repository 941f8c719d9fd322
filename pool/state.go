package pool

import (
	"context"
	"errors"
	"fmt"
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
	// diskTime is for how long the end waits for a disk that hangs.
	diskTime = 3 * time.Second
)

func (p *Proxy) openState() error {
	if err := os.MkdirAll(p.config.StateDir, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	lock, err := lockState(p.config.StateDir)
	if err != nil {
		return err
	}
	j, err := journal.Open(filepath.Join(p.config.StateDir, "blocks.journal"))
	if err != nil {
		_ = lock.Close()
		return err
	}
	p.lock, p.journal = lock, j
	p.accounts = accounts.New(p.now)
	if err := p.accounts.Load(p.accountsPath()); err != nil {
		// Statistics are no reason not to mine, but somebody may want to mend the file.
		kept := fmt.Sprintf("%s.damaged-%d", p.accountsPath(), p.now().Unix())
		p.log.Error("accounts begin anew", "error", errors.Join(err, os.Rename(p.accountsPath(), kept)), "kept", kept)
	}
	p.history = history.New()
	if err := p.history.Load(p.historyPath()); err != nil {
		p.log.Warn("the page's history begins anew", "error", err)
	}
	return nil
}

func (p *Proxy) closeState() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = p.journal.Close()
	}()
	p.waitForDisk(closed)
	_ = p.lock.Close()
}

func (p *Proxy) accountsPath() string { return filepath.Join(p.config.StateDir, "accounts.json") }

// saveLoop saves the accounts and the history from time to time, and at the end. Nothing
// else does: a disk that hangs holds up nobody who mines.
func (p *Proxy) saveLoop(ctx context.Context) {
	ticker := time.NewTicker(saveInterval)
	defer ticker.Stop()
	for n := 1; ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		if err := p.accounts.Save(p.accountsPath()); err != nil {
			p.log.Error("accounts not saved", "error", err)
		}
		if n%historySaves == 0 || ctx.Err() != nil {
			p.saveHistory()
		}
	}
}

// waitForDisk waits for what writes to the state folder, for a while.
func (p *Proxy) waitForDisk(done <-chan struct{}) {
	timer := time.NewTimer(diskTime)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		p.log.Error("the disk hangs, what is not written yet is given up", "folder", p.config.StateDir)
	}
}

// awaitBlocks waits until found blocks are where they are to go: on disk, offered to all
// nodes, answered by the pool whose they are. It does so for the time of a drain at most.
func (p *Proxy) awaitBlocks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	ok := p.keeper.Flush(ctx)
	for _, s := range p.sources {
		if pool, isPool := s.(*poolSource); isPool {
			ok = pool.awaitBlocks(ctx) && ok
		}
	}
	if !ok {
		p.log.Error("ending while found blocks are pending: the journal has those that are on disk, and the next start goes on with them")
	}
}
