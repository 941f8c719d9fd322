//go:build unix

package devcluster

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockFolder keeps other clusters out of a state folder; close the file to let them in.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("development cluster: state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("the state folder %s is in use by another development cluster: end it, or name another folder (--state-dir)", dir)
	}
	return f, nil
}
