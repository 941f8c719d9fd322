package agent

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func fillIDs(r *selfReport) {
	r.PGID = syscall.Getpgrp()
	r.SID, _ = unix.Getsid(0)
	r.Umask = syscall.Umask(0)
}
