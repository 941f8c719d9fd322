package miner

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lode/miner/internal/scan"
)

// TestRecordTraces writes what batches of hashes take on this machine into the folder
// that LODE_RECORD_TRACES names, for the tests of package yield: alone, beside a process
// that computes on the same cpu, and beside one that works for 1 ms of each 2.
func TestRecordTraces(t *testing.T) {
	folder := os.Getenv("LODE_RECORD_TRACES")
	if folder == "" {
		t.Skip("LODE_RECORD_TRACES names no folder to record into")
	}
	for _, name := range []string{"alone", "computing", "serving"} {
		done := make(chan string)
		go func() { done <- record(t, name) }()
		if err := os.WriteFile(filepath.Join(folder, name+".trace"), []byte(<-done), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// record returns lines of wall and cpu time of a batch in nanoseconds, and its hashes.
func record(t *testing.T, neighbour string) string {
	runtime.LockOSThread() // for good
	var o Options
	cpu := allowedCPUs()[len(allowedCPUs())-1]
	o.placeThread(place{cpus: []int{cpu}})
	switch neighbour {
	case "computing":
		startBusy(t, fmt.Sprint(cpu))
	case "serving":
		startBusy(t, fmt.Sprint(cpu, " ", time.Millisecond))
	}
	time.Sleep(300 * time.Millisecond)
	pair, _, err := measureKernels(scan.Kernels(), calibration{}, calibrationStore{}, ground{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Error(err)
		return ""
	}
	e := newEngine(Options{Threads: 1}, pair, allNonces)
	w := e.workers[0]
	work := easyWork(32)
	w.begin(e.assignment(work))
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, %s, Linux %s, %s\n", neighbour, cpuName(), release(), w.kernel.Name)
	wall, used := clockTime(unix.CLOCK_MONOTONIC), threadTime()
	for range 3000 {
		hashes := w.batch()
		now, cpuNow := clockTime(unix.CLOCK_MONOTONIC), threadTime()
		fmt.Fprintln(&b, int64(now-wall), int64(cpuNow-used), hashes)
		wall, used = now, cpuNow
	}
	return b.String()
}

// TestRecordPressure writes what the kernel tells of waiting, once a second, while an engine that
// takes no notice of it hashes on all cpus in control groups of its own: beside others who wait for
// each other on each cpu, beside one who computes on each cpu, and with a quota of half of a cpu.
func TestRecordPressure(t *testing.T) {
	folder := os.Getenv("LODE_RECORD_TRACES")
	if folder == "" {
		t.Skip("LODE_RECORD_TRACES names no folder to record into")
	}
	for _, name := range []string{"waiting", "computing", "quota"} {
		t.Run(name, func(t *testing.T) {
			text := recordPressure(t, name)
			if err := os.WriteFile(filepath.Join(folder, name+".pressure"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// recordPressure returns lines of time, waiting of the machine and of the group in nanoseconds, how
// often others were met, and the periods and stops of the group's quota.
func recordPressure(t *testing.T, name string) string {
	for i := range 2 * runtime.NumCPU() {
		if name == "waiting" || name == "computing" && i < runtime.NumCPU() {
			startBusy(t, fmt.Sprint(i%runtime.NumCPU()))
		}
	}
	joinGroup(t, "/sys/fs/cgroup/unified", "")
	if name == "quota" {
		joinGroup(t, "/sys/fs/cgroup/cpu", "50000")
	}
	var o Options
	if err := o.YieldBy("sense"); err != nil {
		t.Fatal(err)
	}
	e := newEngine(Options{Threads: runtime.NumCPU(), Nice: o.Nice, Idle: o.Idle, Sense: o.Sense}, portablePair(t), allNonces)
	e.system.pressure = func() (machine, own time.Duration, ok bool) { return 0, 0, false }
	e.system.throttling = func() (periods, throttled uint64, ok bool) { return 0, 0, false }
	e.SetWork(easyWork(32))
	start(t, e)
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, %d cpus of %s, Linux %s\n", name, runtime.NumCPU(), cpuName(), release())
	for range 45 {
		time.Sleep(time.Second)
		machine, own, ok := cpuPressure("/")
		if !ok {
			t.Fatal("this machine does not tell for how long its tasks wait, or no control group of version 2 is at hand")
		}
		periods, throttled, _ := cgroupThrottling("/")
		fmt.Fprintln(&b, int64(e.clock()), int64(machine), int64(own), e.met(), periods, throttled)
	}
	return b.String()
}

// joinGroup makes a control group below a folder, with a quota in microseconds each 100 ms of
// version 1 if one is given, that this process is in until the test ends.
func joinGroup(t *testing.T, parent, quota string) {
	t.Helper()
	folder, err := os.MkdirTemp(parent, "lode-test-")
	if err != nil {
		t.Fatal(err)
	}
	if quota != "" {
		if err := os.WriteFile(filepath.Join(folder, "cpu.cfs_quota_us"), []byte(quota), 0); err != nil {
			t.Fatal(err)
		}
	}
	move := func(to string) {
		if err := os.WriteFile(filepath.Join(to, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0); err != nil {
			t.Error(err)
		}
	}
	move(folder)
	t.Cleanup(func() {
		move(parent)
		eventually(t, "the control group can go", func() bool { return os.Remove(folder) == nil })
	})
}

func release() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:])
}
