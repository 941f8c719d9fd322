package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func fillIDs(r *selfReport) {
	r.PGID = syscall.Getpgrp()
	r.SID, _ = unix.Getsid(0)
	r.Umask = syscall.Umask(0)
}

// processesOf are the living processes that have a sandbox in their environment.
func processesOf(sandbox string) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		environ, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(environ), "MESOS_SANDBOX="+sandbox) {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			found = append(found, filepath.Base(filepath.Dir(path))+" "+string(cmdline))
		}
	}
	return found
}
