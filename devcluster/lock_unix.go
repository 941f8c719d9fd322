//go:build unix

package devcluster

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// LockFolder keeps other clusters out of a folder that a flag names; close the file to let
// them in.
func LockFolder(dir, flag string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("development cluster: state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("the state folder %s is in use by another development cluster: end it, or name another folder (%s)", dir, flag)
	}
	return f, nil
}
