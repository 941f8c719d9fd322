//go:build !linux

package miner

// cgroupQuota: there are no control groups here.
func cgroupQuota(string) float64 { return 0 }
