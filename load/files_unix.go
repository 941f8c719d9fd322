//go:build unix

package load

import (
	"fmt"
	"syscall"
)

// raiseFileLimit makes sure that this process may have n files open.
func raiseFileLimit(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if uint64(limit.Cur) >= n {
		return nil
	}
	wanted := limit
	wanted.Cur = asLimit(limit.Cur, n)
	wanted.Max = max(limit.Max, wanted.Cur) // only root may raise it
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &wanted) == nil {
		return nil
	}
	return fmt.Errorf("this load needs %d open files, but this process may have only %d: start it with fewer connections, or after `ulimit -n %d` "+
		"(as root, or with a higher nofile in /etc/security/limits.conf); the pool needs as many", n, limit.Max, n)
}

// asLimit is n in the type that this platform's limits have.
func asLimit[T int64 | uint64](_ T, n uint64) T { return T(n) }
