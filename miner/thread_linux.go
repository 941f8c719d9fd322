package miner

import (
	"log/slog"

	"golang.org/x/sys/unix"
)

// schedIdle is SCHED_IDLE of sched(7).
const schedIdle = 5

// placeThread gives the calling thread, which is locked to its goroutine, the
// priority and the cpu of the options. What the system refuses is logged and does
// not stop the hashing.
func (o *Options) placeThread(index int) {
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
		}
	}
	if o.Pin {
		if err := pinThread(index); err != nil {
			log.Warn("hashing thread not pinned", "error", err)
		}
	}
}

// pinThread binds the calling thread to the index-th cpu that it may use.
func pinThread(index int) error {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	index %= allowed.Count()
	for cpu := 0; ; cpu++ {
		if !allowed.IsSet(cpu) {
			continue
		}
		if index == 0 {
			var one unix.CPUSet
			one.Set(cpu)
			return unix.SchedSetaffinity(0, &one)
		}
		index--
	}
}
