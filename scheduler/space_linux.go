package scheduler

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// openFiles is how many files this process may have open.
func openFiles() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return fewFiles
	}
	return int(min(limit.Cur, 1<<30))
}

// freeSpace is what a user may still write where a path is, or would be, in bytes.
func freeSpace(path string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(existing(path), &s); err != nil {
		return 0, fmt.Errorf("look at the space of %s: %w", path, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}
