//go:build !linux

package miner

// readCounters: nobody tells here.
func readCounters(string) counters { return counters{} }
