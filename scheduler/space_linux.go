package scheduler

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freeSpace is what a user may still write where a path is, or would be, in bytes.
func freeSpace(path string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(existing(path), &s); err != nil {
		return 0, fmt.Errorf("look at the space of %s: %w", path, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}
