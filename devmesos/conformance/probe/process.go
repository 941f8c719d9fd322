package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"lode/devmesos/conformance/internal/control"
)

// describe reports the process as it is now.
func describe() (*control.Process, error) {
	p := &control.Process{
		Environ: map[string]string{}, Args: os.Args, FDs: map[string]string{}, Files: map[string]uint32{},
		PID: os.Getpid(), PPID: os.Getppid(), PGID: syscall.Getpgrp(), UID: os.Getuid(), GID: os.Getgid(),
	}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		p.Environ[k] = v
	}
	var err error
	if p.Cwd, err = os.Getwd(); err != nil {
		return nil, err
	}
	sid, _, errno := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	if errno != 0 {
		return nil, errno
	}
	p.SID = int(sid)
	p.Umask = syscall.Umask(0o22)
	syscall.Umask(p.Umask)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	for _, f := range fds {
		// What Go's runtime and our own connections opened is close-on-exec; what
		// came from the agent is not.
		info, err := os.ReadFile("/proc/self/fdinfo/" + f.Name())
		if err != nil || closeOnExec(info) {
			continue
		}
		if link, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil {
			p.FDs[f.Name()] = link
		}
	}
	if cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PPID)); err == nil {
		p.ParentCommand = strings.Split(strings.TrimRight(string(cmd), "\x00"), "\x00")
	}
	if err := executable(p); err != nil {
		return nil, err
	}
	if st, err := os.Stat("."); err == nil {
		p.SandboxMode = uint32(st.Mode().Perm())
	}
	return p, filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if st, err := d.Info(); err == nil {
			p.Files[path] = uint32(st.Mode().Perm())
		}
		return nil
	})
}

// closeOnExec looks for O_CLOEXEC (octal 2000000 on Linux) in /proc/PID/fdinfo/N.
func closeOnExec(fdinfo []byte) bool {
	for line := range strings.Lines(string(fdinfo)) {
		if flags, ok := strings.CutPrefix(line, "flags:"); ok {
			var n int64
			_, err := fmt.Sscanf(strings.TrimSpace(flags), "%o", &n)
			return err == nil && n&0o2000000 != 0
		}
	}
	return false
}

func executable(p *control.Process) error {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	p.ExecutableMode = uint32(st.Mode().Perm())
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	p.ExecutableDigest = hex.EncodeToString(h.Sum(nil))
	return nil
}

// spawn starts a copy of this program that only holds on, as the child of a task would.
// It ends by itself if nobody kills it.
func spawn() (int, error) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 120")
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() { _ = cmd.Wait() }()
	return cmd.Process.Pid, nil
}
