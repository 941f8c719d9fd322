package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

const (
	launcherName = "mesos-containerizer"
	launcherVerb = "launch"
)

// Main turns the process into the small parent of an executor if a [Host] started it as such, and
// does not return then. In any other process it does nothing.
func Main() {
	if len(os.Args) == 2 && os.Args[0] == launcherName && os.Args[1] == launcherVerb {
		os.Exit(launch(os.NewFile(3, "order"), os.NewFile(4, "result")))
	}
}

// launch runs the ordered program as a child in its own session and process group, hands on
// signals, and reports the child's wait status. When the order's other end is closed, because the
// cluster's process is gone however it went, it kills the group, itself included.
func launch(order io.Reader, result io.Writer) (code int) {
	runtime.LockOSThread() // the child's death signal is tied to this thread
	closeOnExec()          // whatever the cluster's own parent left open stays here
	syscall.Umask(0o22)

	var spec Spec
	decoder := json.NewDecoder(order)
	if err := decoder.Decode(&spec); err != nil {
		return 1
	}
	go func() {
		_, _ = io.Copy(io.Discard, order)
		killAll(os.Getpid(), spec.Dir)
		_ = syscall.Kill(-os.Getpid(), syscall.SIGKILL)
	}()

	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	cmd, err := StartWritten(func() *exec.Cmd {
		return &exec.Cmd{
			Path:        resolve(spec.Path, spec.Dir, spec.Env),
			Args:        spec.Args,
			Env:         spec.Env,
			Dir:         spec.Dir,
			Stdout:      os.Stdout,
			Stderr:      os.Stderr,
			SysProcAttr: member(spec.User),
		}
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "Failed to execute '%s': %s\n", spec.Path, reason(err))
		fmt.Fprintf(result, "%d\n", StatusCannotExecute)
		return 1
	}
	go func() {
		for s := range signals {
			if s != syscall.SIGCHLD && s != syscall.SIGURG && s != syscall.SIGPIPE {
				_ = cmd.Process.Signal(s)
			}
		}
	}()
	_ = cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	fmt.Fprintf(result, "%d\n", int(status))
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// resolve finds a program as execvp with the new environment would: without a slash in
// PATH, otherwise relative to the sandbox.
func resolve(path, dir string, env []string) string {
	if strings.Contains(path, "/") {
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	for _, v := range env {
		list, ok := strings.CutPrefix(v, "PATH=")
		if !ok {
			continue
		}
		for _, d := range filepath.SplitList(list) {
			if d == "" || !filepath.IsAbs(d) {
				d = filepath.Join(dir, d)
			}
			candidate := filepath.Join(d, path)
			if info, err := os.Stat(candidate); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
				return candidate
			}
		}
	}
	return filepath.Join(dir, path, "not-found") // gives ENOENT or ENOTDIR
}
