package miner

import (
	"log/slog"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// schedIdle is SCHED_IDLE of sched(7).
const schedIdle = 5

// placeThread gives the calling thread, which is locked to its goroutine, the
// priority of the options and its cpus. What the system refuses is logged and does
// not stop the hashing. It says whether the thread is of SCHED_IDLE.
func (o *Options) placeThread(p place) (idle bool) {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	tid := unix.Gettid()
	if o.Nice > 0 {
		// On Linux the niceness is one of the thread, whatever POSIX says.
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, o.Nice); err != nil {
			log.Warn("niceness of a hashing thread not set", "nice", o.Nice, "error", err)
		}
	}
	if o.Idle {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedIdle}
		attr.Nice = int32(o.Nice)
		if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
			log.Warn("SCHED_IDLE of a hashing thread not set", "error", err)
		} else {
			idle = true
		}
	}
	if o.Sense {
		// Without this the kernel adds 50 µs to each sleep; see prctl(2).
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	}
	if len(p.cpus) > 0 {
		var set unix.CPUSet
		for _, cpu := range p.cpus {
			set.Set(cpu)
		}
		// It may have been unplugged since: then the kernel chooses.
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			log.Warn("hashing thread not pinned", "cpus", p.cpus, "error", err)
		}
	}
	return idle
}

// makeCookie gives the calling thread a cookie of core scheduling, copyCookie the one of
// another thread; see prctl(2).
func makeCookie() error {
	return unix.Prctl(unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_CREATE, 0, unix.PR_SCHED_CORE_SCOPE_THREAD, 0)
}

func copyCookie(tid int32) error {
	return unix.Prctl(unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_SHARE_FROM, uintptr(tid), unix.PR_SCHED_CORE_SCOPE_THREAD, 0)
}

func threadID() int32 { return int32(unix.Gettid()) }

// threadTime is the cpu time of the calling thread.
func threadTime() time.Duration { return clockTime(unix.CLOCK_THREAD_CPUTIME_ID) }

// timeOfThread is the cpu time of a thread of this process; 0: it is gone.
func timeOfThread(tid int32) time.Duration {
	// CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED of the kernel's posix-timers_types.h: what
	// pthread_getcpuclockid(3) returns.
	return clockTime(^tid<<3 | 4 | 2)
}

func clockTime(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// sleepThread lets the calling thread sleep, which takes less than a sleep of the
// goroutine: nobody else has to wake it up.
func sleepThread(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &t, nil) // a signal ends it early
}

// yieldThread lets whoever waits for the calling thread's cpu have it. Nobody else can have
// this thread's part of the Go runtime meanwhile, as if it had been preempted.
func yieldThread() { _, _, _ = syscall.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
