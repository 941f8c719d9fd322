package miner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain of this package calls busy when the test program is to be a neighbour.
const busyEnv = "LODE_TEST_BUSY_CPU"

// busy computes on one cpu until it is killed; with a duration after the cpu it sleeps for
// as long each time.
func busy(text string) {
	where, pause, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(where)
	if err != nil {
		panic(err)
	}
	piece, _ := time.ParseDuration(pause)
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(n)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		panic(err)
	}
	for x := 1.0; x > 0; {
		begin := time.Now()
		for time.Since(begin) < max(piece, time.Millisecond) {
			x = x*0.999 + 1
		}
		sleepThread(piece)
	}
}

// processTime is the cpu time of another process.
func processTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	return clockTime(^int32(pid)<<3 | 2) // as clock_getcpuclockid(3)
}

// oneThread runs an engine of one pinned thread that senses, and returns its cpu.
func oneThread(t *testing.T) (e *Engine, cpu int) {
	t.Helper()
	o := Options{Threads: 1, Pin: true}
	if err := o.YieldBy("sense"); err != nil {
		t.Fatal(err)
	}
	e = newEngine(o, portablePair(t), allNonces)
	e.SetWork(easyWork(32))
	start(t, e)
	eventually(t, "the thread hashes", func() bool { return e.Stats().Hashes > 0 })
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(int(e.workers[0].tid.Load()), &set); err != nil {
		t.Fatal(err)
	}
	for !set.IsSet(cpu) {
		cpu++
	}
	return e, cpu
}

// startBusy starts a process that computes on a cpu.
func startBusy(t *testing.T, cpu string) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), busyEnv+"="+cpu)
	switch err := child.Start(); {
	case errors.Is(err, syscall.ENOEXEC):
		t.Skip("the tests run under an emulator, which starts no second process of theirs")
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	return child
}

// shares lets both run until the neighbour had enough cpu time, however busy the
// machine is, and returns the neighbour's part of what both had.
func shares(t *testing.T, e *Engine, pid int) float64 {
	t.Helper()
	// The beginning, in which the thread learns what it meets, does not count.
	began := processTime(t, pid)
	eventually(t, "the neighbour begins", func() bool { return processTime(t, pid) > began+300*time.Millisecond })
	neighbour, thread := processTime(t, pid), e.Stats().Yielded.CPU
	eventually(t, "the neighbour runs", func() bool { return processTime(t, pid) > neighbour+time.Second })
	ours, theirs := e.Stats().Yielded.CPU-thread, processTime(t, pid)-neighbour
	t.Logf("the neighbour had %v, the thread %v; %+v", theirs, ours, e.Stats().Yielded)
	return float64(theirs) / float64(theirs+ours)
}

func TestBusyNeighbourHasTheCPU(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of cpu time")
	}
	e, cpu := oneThread(t)
	child := startBusy(t, strconv.Itoa(cpu))
	if share := shares(t, e, child.Process.Pid); share < 0.97 {
		t.Errorf("a busy neighbour has %.1f %% of the cpu", 100*share)
	}
	alive := e.Stats().Hashes
	eventually(t, "the thread does a batch now and then", func() bool { return e.Stats().Hashes > alive })
	if e.Stats().Yielded.Count == 0 {
		t.Error("the thread noticed nobody")
	}
	// And the thread comes back.
	_ = child.Process.Kill()
	_ = child.Wait()
	from := e.Stats().Hashes
	eventually(t, "the thread hashes again", func() bool { return e.Stats().Hashes > from+100_000 })
}

// Between control groups of the same weight the kernel gives each a half, whatever the
// thread's priority: there only its parks help.
func TestBusyNeighbourInAnotherGroupHasTheCPU(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of cpu time")
	}
	mine, theirs := newCPUGroup(t), newCPUGroup(t)
	e, cpu := oneThread(t)
	tasks := filepath.Join(mine, "tasks") // version 1: a thread
	if err := os.WriteFile(tasks, fmt.Append(nil, e.workers[0].tid.Load()), 0); err != nil {
		t.Skipf("this machine lets no thread be moved into a control group: %v", err)
	}
	child := startBusy(t, strconv.Itoa(cpu))
	if err := os.WriteFile(filepath.Join(theirs, "cgroup.procs"), fmt.Append(nil, child.Process.Pid), 0); err != nil {
		t.Skipf("this machine lets no process be moved into a control group: %v", err)
	}
	if share := shares(t, e, child.Process.Pid); share < 0.9 {
		t.Errorf("a busy neighbour has %.1f %% of the cpu", 100*share)
	}
	alive := e.Stats().Hashes
	eventually(t, "the thread does a batch now and then", func() bool { return e.Stats().Hashes > alive })
}

// newCPUGroup makes a control group of the cpu controller, version 1, until the test ends.
func newCPUGroup(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("/sys/fs/cgroup/cpu", "lode-test-")
	if err != nil {
		t.Skipf("this machine has no control groups of version 1 that the test may make: %v", err)
	}
	t.Cleanup(func() {
		// The kernel needs a moment to see that its processes have ended.
		eventually(t, "the control group can go", func() bool { return os.Remove(folder) == nil })
	})
	return folder
}
