package miner

import "runtime"

// AvailableCPUs is the number of hashing threads that fill what this process may
// use: the cpus of its affinity mask, or the cpu quota of its control groups
// (rounded up) if that is less.
func AvailableCPUs() int {
	n := runtime.NumCPU()
	if quota := cgroupQuota("/"); quota > 0 && quota < float64(n) {
		n = int(quota)
		if float64(n) < quota {
			n++
		}
	}
	return max(n, 1)
}
