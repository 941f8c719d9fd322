package miner

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMain of this package calls confined when the test program is to be one that may do
// next to nothing.
const confinedEnv = "LODE_TEST_CONFINED"

// forbid makes the kernel refuse system calls of this process with EPERM, as the profiles of
// containers do; see seccomp(2).
func forbid(calls ...uint32) error {
	const number = 0 // its place in struct seccomp_data
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number}}
	for _, call := range calls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

const cannotConfine = "cannot confine"

// confined mines for a moment without any of the calls that yielding is made of.
func confined() {
	err := forbid(unix.SYS_SCHED_SETATTR, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_YIELD, unix.SYS_SETPRIORITY, unix.SYS_SCHED_SETAFFINITY)
	if err != nil {
		fmt.Println(cannotConfine, err)
		os.Exit(0)
	}
	o := Options{Threads: 2, Kernel: "portable-roll", Pin: true, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if err := o.YieldBy("sense"); err != nil {
		panic(err)
	}
	e, err := New(o)
	if err != nil {
		panic(err)
	}
	e.SetWork(easyWork(32))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	for begin := time.Now(); e.Stats().Hashes < 1_000_000 && time.Since(begin) < time.Minute; {
		time.Sleep(time.Millisecond)
	}
	cancel()
	fmt.Println("ended:", <-done, "enough:", e.Stats().Hashes >= 1_000_000, "idle:", e.workers[0].idle.Load())
	os.Exit(0)
}

// Where a container allows none of the calls that yielding is made of, a miner says so and
// hashes.
func TestMinerThatMayDoNothing(t *testing.T) {
	child := self(confinedEnv, "1")
	var out, log strings.Builder
	child.Stdout, child.Stderr = &out, &log
	startSelf(t, child)
	err := child.Wait()
	if strings.HasPrefix(out.String(), cannotConfine) {
		t.Skipf("this system has no seccomp for the test: %s", &out)
	}
	if want := "ended: <nil> enough: true idle: false\n"; err != nil || out.String() != want {
		t.Fatalf("%v: %q, want %q\n%s", err, &out, want, &log)
	}
	for _, want := range []string{"niceness of a hashing thread not set", "SCHED_IDLE of a hashing thread not set", "hashing thread not pinned"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &log)
		}
	}
}
