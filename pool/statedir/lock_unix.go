//go:build unix

package statedir

import (
	"fmt"
	"os"
	"syscall"
)

// lock keeps other proxies out of the state folder; close the file to let them in.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(lockPath(dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("state folder %s is in use by another proxy: give each its own --state-dir (%w)", dir, err)
	}
	return f, nil
}
