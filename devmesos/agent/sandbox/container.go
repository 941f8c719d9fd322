package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// StatusCannotExecute is the wait status of a container whose program could not be executed,
// as the containerizer of Mesos 1.11 reports it (recorded, trace 06).
const StatusCannotExecute = 1001 << 8

// destroyWait bounds how long Destroy hunts for processes that do not die.
const destroyWait = 10 * time.Second

// launcherWait is how long a launcher may take to end after its executor was killed.
const launcherWait = 2 * time.Second

// Container is one executor's processes.
type Container struct {
	id   string
	dir  string
	log  *slog.Logger
	done chan struct{}

	mu        sync.Mutex
	cmd       *exec.Cmd
	ended     bool // the leader was reaped; its pid may belong to somebody else
	destroyed bool
	overdue   *time.Timer // kills a launcher that outlives its executor
	status    int32
	lifeline  *os.File // its other end sits in the launcher, which ends everything at EOF
	report    *os.File // the launcher writes the executor's wait status here
}

var errDestroyed = errors.New("container was destroyed before it started")

// Pid is the process id of the container's session leader, 0 before it is started.
func (c *Container) Pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return 0
	}
	return c.cmd.Process.Pid
}

// Done is closed when every process of the container is gone.
func (c *Container) Done() <-chan struct{} { return c.done }

// Status is the executor's raw wait status (exit code in bits 8 to 15, else the signal). It
// is only known once Done is closed.
func (c *Container) Status() int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Signal sends a signal to the executor and to whatever shares its process group, as
// kill(-pid) would.
func (c *Container) Signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.cmd == nil {
		return os.ErrProcessDone
	}
	return syscall.Kill(-c.cmd.Process.Pid, sig)
}

// SignalExecutor sends a signal to the executor's process alone.
func (c *Container) SignalExecutor(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.cmd == nil {
		return os.ErrProcessDone
	}
	pid := c.cmd.Process.Pid
	if c.lifeline != nil { // the launcher leads; the executor is its child
		if child := childOf(pid); child != 0 {
			pid = child
		}
	}
	return syscall.Kill(pid, sig)
}

// Destroy kills every process of the container. It does not wait; see Done.
func (c *Container) Destroy() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.destroyed = true
	if c.cmd == nil || c.ended || c.overdue != nil {
		return
	}
	pid := c.cmd.Process.Pid
	if c.lifeline != nil && killBelow(pid, c.dir) > 0 {
		// The launcher reaps its executor and ends by itself. Killed along with it, it would
		// leave a zombie to init, and there may be an init that does not reap.
		_ = syscall.Kill(pid, syscall.SIGCONT)
		c.overdue = time.AfterFunc(launcherWait, c.destroyLauncher)
		return
	}
	killAll(pid, c.dir)
}

func (c *Container) destroyLauncher() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		killAll(c.cmd.Process.Pid, c.dir)
	}
}

func (c *Container) startDirect(spec Spec, stdout, stderr *os.File) error {
	return c.start(func() *exec.Cmd {
		return &exec.Cmd{
			Path:        resolve(spec.Path, spec.Dir, spec.Env),
			Args:        spec.Args,
			Env:         spec.Env,
			Dir:         spec.Dir,
			Stdout:      stdout,
			Stderr:      stderr,
			SysProcAttr: leader(spec.User),
		}
	}, spec.Path, stderr)
}

// start runs a command, or lets the container end with [StatusCannotExecute].
func (c *Container) start(command func() *exec.Cmd, path string, stderr io.Writer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.destroyed {
		return errDestroyed
	}
	cmd, err := StartWritten(command)
	if err == nil {
		c.cmd = cmd
		return nil
	}
	fmt.Fprintf(stderr, "Failed to execute '%s': %s\n", path, reason(err))
	c.ended, c.status = true, StatusCannotExecute
	return nil
}

// StartWritten starts a program that the cluster's process may just have written. A child
// that this process forked meanwhile has the file open until a moment after its own exec,
// and for as long executing it fails with ETXTBSY (golang/go#22315): that is waited for.
func StartWritten(command func() *exec.Cmd) (*exec.Cmd, error) {
	const patience, pause = 5 * time.Second, 5 * time.Millisecond
	for deadline := time.Now().Add(patience); ; time.Sleep(pause) {
		cmd := command()
		err := cmd.Start()
		if !errors.Is(err, syscall.ETXTBSY) || time.Now().After(deadline) {
			return cmd, err
		}
	}
}

func (c *Container) startLaunched(launcher string, spec Spec, stdout, stderr *os.File) error {
	order, lifeline, err := os.Pipe()
	if err != nil {
		return err
	}
	defer order.Close()
	report, result, err := os.Pipe()
	if err != nil {
		lifeline.Close()
		return err
	}
	defer result.Close()
	command := func() *exec.Cmd {
		return &exec.Cmd{
			Path:        launcher,
			Args:        []string{launcherName, launcherVerb},
			Env:         []string{},
			Dir:         spec.Dir,
			Stdout:      stdout,
			Stderr:      stderr,
			ExtraFiles:  []*os.File{order, result},
			SysProcAttr: leader(nil),
		}
	}
	if err := c.start(command, launcher, stderr); err != nil {
		lifeline.Close()
		report.Close()
		return err
	}
	c.lifeline, c.report = lifeline, report
	if c.cmd != nil {
		if err := json.NewEncoder(lifeline).Encode(spec); err != nil {
			c.log.Warn("launcher took no order", "container", c.id, "error", err) // reap sees how it ended
		}
	}
	return nil
}

// reap waits for the leader, kills what it left behind and collects the status.
func (c *Container) reap() {
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if ended {
		c.closePipes()
		return
	}
	pid := c.cmd.Process.Pid
	// The zombie is kept until all its relatives are dead: as long as it exists,
	// no other process can get its id and be taken for one of the container.
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	deadline := time.Now().Add(destroyWait)
	for pause := time.Millisecond; killAll(pid, c.dir) > 0; pause = min(2*pause, 50*time.Millisecond) {
		if time.Now().After(deadline) {
			c.log.Error("processes of a container do not die", "container", c.id, "leader", pid)
			break
		}
		time.Sleep(pause)
	}
	reported, known := c.readReport()
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.cmd.Wait() // what it says is in ProcessState
	c.ended = true
	if c.overdue != nil {
		c.overdue.Stop()
	}
	switch state, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); {
	case known:
		c.status = reported
	case ok:
		c.status = int32(state)
	default:
		c.status = -1
	}
	c.closePipes()
}

func (c *Container) readReport() (status int32, known bool) {
	if c.report == nil {
		return 0, false
	}
	text, err := io.ReadAll(c.report)
	if err != nil {
		return 0, false
	}
	_, err = fmt.Sscanf(string(text), "%d\n", &status)
	return status, err == nil
}

func (c *Container) closePipes() {
	if c.lifeline != nil {
		c.lifeline.Close()
		c.report.Close()
	}
}

// reason is the operating system's part of an error, in its usual capitals.
func reason(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		if errors.Is(err, exec.ErrNotFound) {
			errno = syscall.ENOENT
		} else {
			return err.Error()
		}
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
