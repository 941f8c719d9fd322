//go:build !linux

package miner

// placeThread: priorities and pinning of threads are for Linux only.
func (o *Options) placeThread(int) {
	if o.Log != nil && (o.Nice > 0 || o.Idle || o.Pin) {
		o.Log.Warn("niceness, SCHED_IDLE and pinning of threads are not supported on this system")
	}
}
