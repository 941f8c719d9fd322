//go:build !linux

package miner

import "time"

// cgroupQuota: there are no control groups here.
func cgroupQuota(string) float64 { return 0 }

func cgroupThrottling(string) (periods, throttled uint64, ok bool) { return 0, 0, false }

func cpuPressure(string) (machine, own time.Duration, ok bool) { return 0, 0, false }

func describeGroup(string) Host { return Host{} }
