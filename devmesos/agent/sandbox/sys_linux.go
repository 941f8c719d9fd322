package sandbox

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// leader are the attributes of a container's first process: it leads a session of its own, and
// dies with the thread that forked it.
func leader(u *User) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: credential(u)}
}

// member are the attributes of an executor below a launcher.
func member(u *User) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: credential(u)}
}

func credential(u *User) *syscall.Credential {
	if u == nil {
		return nil
	}
	return &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
}

// closeOnExec keeps all files but the standard ones from the programs that this process executes.
func closeOnExec() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for fd := 3; fd < 1024; fd++ { // a kernel before 5.11
		syscall.CloseOnExec(fd)
	}
}
