package sandbox

import "syscall"

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
