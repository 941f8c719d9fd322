package neighbour

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bind binds this thread to the job's cpus and starts a program in this one's place, all
// of whose threads are bound.
func bind(j job) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	for _, cpu := range j.CPUs {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("bind to the cpus %v: %w", j.CPUs, err)
	}
	if j.Kind == commandKind {
		shell, err := exec.LookPath("sh")
		if err != nil {
			return err
		}
		return syscall.Exec(shell, []string{"sh", "-c", j.Command}, os.Environ())
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args[:1], append(os.Environ(), boundEnv+"=1"))
}

// lockThread makes sleeps of the calling goroutine exact.
func lockThread() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

// becomeIdle makes the calling thread one of SCHED_IDLE; see sched(7).
func becomeIdle() error {
	const policy = 5
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy}, 0); err != nil {
		return fmt.Errorf("become a thread of SCHED_IDLE: %w", err)
	}
	return nil
}

func clock() time.Duration { return read(unix.CLOCK_MONOTONIC) }

// cpuTime is that of the calling thread.
func cpuTime() time.Duration { return read(unix.CLOCK_THREAD_CPUTIME_ID) }

func read(id int32) time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(id, &t)
	return time.Duration(t.Nano())
}

// sleepUntil sleeps until clock shows at.
func sleepUntil(at time.Duration) {
	t := unix.NsecToTimespec(int64(at))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &t, nil) == unix.EINTR {
	}
}

// command is the program again, to do a job.
func command(j job) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	c := &child{Cmd: exec.Command(self), mark: "LODE_NEIGHBOUR_FAMILY=" + rand.Text(), done: make(chan struct{})}
	c.Env = append(os.Environ(), jobEnv+"="+string(text), c.mark)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return c, nil
}

// start starts the process. The kernel ends it should this program die without a word; that
// it ties to the thread that forked, so one stays with the child until that has ended.
func (c *child) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.Start()
		started <- err
		if err == nil {
			c.err = c.Wait()
			close(c.done)
		}
	}()
	return <-started
}

// end ends the process and all that it started, also what left its group, as a daemon does.
func (c *child) end() {
	select {
	case <-c.done: // its number may be another process' by now
	default:
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	}
	for family := c.family(); len(family) > 0; family = c.family() {
		for _, pid := range family {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
	<-c.done
}

// family lists processes that have the mark in their environment; those that are dead and
// not waited for have none.
func (c *child) family() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if bytes.Contains(environ, []byte(c.mark)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
