package miner

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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
// as long each time, and with serving it serves.
func busy(text string) {
	where, pause, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(where)
	if err != nil {
		panic(err)
	}
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(n)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		panic(err)
	}
	if pause == serving {
		serve()
	}
	piece, _ := time.ParseDuration(pause)
	for x := 1.0; x > 0; {
		begin := time.Now()
		for time.Since(begin) < max(piece, time.Millisecond) {
			x = x*0.999 + 1
		}
		sleepThread(piece)
	}
}

const serving = "serve"

// lateWake is how much later than asked who woke up has the cpu if it had to wait for a tick
// of the kernel's clock, or for a slice of somebody's.
const lateWake = 900 * time.Microsecond

// serve sleeps and computes by turns, half a millisecond each at random, and says of each
// second of that how often it woke up, and how often late.
func serve() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	r := rand.New(rand.NewPCG(1, 2))
	for {
		wakes, late := 0, 0
		for begin := time.Now(); time.Since(begin) < time.Second; {
			asked := time.Duration(r.ExpFloat64() * float64(400*time.Microsecond))
			due := time.Now().Add(asked)
			sleepThread(asked)
			if wakes++; time.Since(due) > lateWake {
				late++
			}
			for begin := time.Now(); time.Since(begin) < 200*time.Microsecond; {
			}
		}
		fmt.Println(wakes, late)
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

// self is the test program once more, which does what a variable of its environment tells it.
func self(variable, value string) *exec.Cmd {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), variable+"="+value)
	return child
}

// startSelf starts what self returned, until the test ends.
func startSelf(t *testing.T, child *exec.Cmd) {
	t.Helper()
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
}

// startBusy starts a process that computes on a cpu.
func startBusy(t *testing.T, cpu string) *exec.Cmd {
	t.Helper()
	child := self(busyEnv, cpu)
	startSelf(t, child)
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
	t.Cleanup(func() { removeGroup(t, folder) })
	return folder
}

// A neighbour that sleeps and wakes up has its cpu at once, most of the time: beside a thread
// that does not yield one wake-up in twenty has to wait for a slice. Other programs make it
// wait, too, so one second in which few wake-ups are late is enough, and who is late as often
// without the thread tells nothing.
func TestServingNeighbourHasTheCPU(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	group := heavyGroup(t) // keeps other programs out of the way
	e, cpu := oneThread(t)
	child := self(busyEnv, strconv.Itoa(cpu)+" "+serving)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	startSelf(t, child)
	if group != "" {
		for file, id := range map[string]int{"tasks": int(e.workers[0].tid.Load()), "cgroup.procs": child.Process.Pid} {
			if err := os.WriteFile(filepath.Join(group, file), fmt.Append(nil, id), 0); err != nil {
				t.Log(err)
			}
		}
	}
	late := func() float64 {
		var wakes, late int
		for range 2 { // the first second may have begun before
			if _, err := fmt.Fscan(out, &wakes, &late); err != nil || wakes == 0 {
				t.Fatalf("the neighbour says nothing: %v", err)
			}
		}
		return float64(late) / float64(wakes)
	}
	const few = 0.02
	var alone []float64
	for range 10 {
		share := late()
		t.Logf("beside the thread %.2f %% of the wake-ups were late", 100*share)
		if share <= few {
			return
		}
		e.SetWork(nil)
		alone = append(alone, late())
		e.SetWork(easyWork(32))
	}
	slices.Sort(alone)
	if quiet := alone[2]; quiet <= few/2 {
		t.Errorf("not once in 10 seconds were few wake-ups late beside the thread, without it often: %.4f", alone)
	} else {
		t.Skipf("other programs keep this machine so busy that the neighbour wakes up late without the thread, too: %.3f of the wake-ups", alone)
	}
}

// heavyGroup makes a control group with much more weight than all else has, until the test
// ends; "": that may not be done.
func heavyGroup(t *testing.T) (folder string) {
	t.Helper()
	folder, err := os.MkdirTemp("/sys/fs/cgroup/cpu", "lode-test-")
	if err != nil {
		return ""
	}
	t.Cleanup(func() { removeGroup(t, folder) })
	if err := os.WriteFile(filepath.Join(folder, "cpu.shares"), fmt.Append(nil, 1<<18), 0); err != nil {
		t.Log(err)
	}
	return folder
}

// removeGroup removes a group. The main thread of this process may be in it: the Go runtime
// lets no locked goroutine end that one.
func removeGroup(t *testing.T, folder string) {
	t.Helper()
	for try := 0; os.Remove(folder) != nil; try++ {
		if try == 100 {
			t.Errorf("the control group %s cannot go", folder)
			return
		}
		time.Sleep(100 * time.Millisecond)
		tasks, _ := os.ReadFile(filepath.Join(folder, "tasks"))
		for _, tid := range strings.Fields(string(tasks)) {
			_ = os.WriteFile(filepath.Join(filepath.Dir(folder), "tasks"), []byte(tid), 0)
		}
	}
}
