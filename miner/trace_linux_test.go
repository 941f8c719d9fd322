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

func release() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:])
}
