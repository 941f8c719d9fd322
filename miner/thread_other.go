//go:build !linux

package miner

import (
	"errors"
	"time"
)

// placeThread: priorities and pinning of threads are for Linux only.
func (o *Options) placeThread(place) (idle bool) {
	if o.Log != nil && (o.Nice > 0 || o.Idle || o.Pin || o.OneACore) {
		o.Log.Warn("niceness, SCHED_IDLE and pinning of threads are not supported on this system")
	}
	return false
}

func makeCookie() error { return errors.ErrUnsupported }

func copyCookie(int32) error { return errors.ErrUnsupported }

func threadID() int32 { return 0 }

// threadTime: without a clock of the thread, all that a batch takes too long counts as time
// off the cpu.
func threadTime() time.Duration { return 0 }

func timeOfThread(int32) time.Duration { return 0 }

func sleepThread(d time.Duration) { time.Sleep(d) }

func yieldThread() {}
