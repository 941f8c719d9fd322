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

// mostShare is the share of the cpu that a busy neighbour is to have of what it and the
// thread had. Who does not yield leaves it a half, on any machine; how much more than this it
// gets depends on what else the machine does, and is logged.
const mostShare = 2.0 / 3

// hasMost lets both run until the neighbour had that share of a second of its cpu time. A
// second in which others disturbed them says nothing, so there are several.
func hasMost(t *testing.T, e *Engine, pid int) {
	t.Helper()
	if processTime(t, pid) == 0 {
		time.Sleep(time.Second)
	}
	if processTime(t, pid) == 0 {
		t.Skip("this machine does not tell the cpu time of another process, or gave it none in a second")
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		neighbour, thread := processTime(t, pid), e.Stats().Yielded.CPU
		for processTime(t, pid) < neighbour+time.Second {
			if time.Now().After(deadline) {
				t.Fatal("not within 2 minutes: a second in which the neighbour has two thirds of the cpu")
			}
			time.Sleep(10 * time.Millisecond)
		}
		ours, theirs := e.Stats().Yielded.CPU-thread, processTime(t, pid)-neighbour
		share := float64(theirs) / float64(theirs+ours)
		t.Logf("the neighbour had %v, %.1f %% of the cpu, the thread %v; %+v", theirs, 100*share, ours, e.Stats().Yielded)
		if share >= mostShare {
			return
		}
	}
}

func TestBusyNeighbourHasTheCPU(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of cpu time")
	}
	e, cpu := oneThread(t)
	child := startBusy(t, strconv.Itoa(cpu))
	hasMost(t, e, child.Process.Pid)
	alive := e.Stats().Hashes
	eventually(t, "the thread does a batch now and then", func() bool { return e.Stats().Hashes > alive })
	if e.Stats().Yielded.Count == 0 {
		t.Error("the thread noticed nobody")
	}
	// And the thread comes back; how fast is for the simulation in package yield.
	_ = child.Process.Kill()
	_ = child.Wait()
	from := e.Stats().Hashes
	eventually(t, "the thread hashes again", func() bool { return e.Stats().Hashes > from })
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
	hasMost(t, e, child.Process.Pid)
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
