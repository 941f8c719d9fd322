//go:build !linux

package miner

const busyEnv = "LODE_TEST_BUSY_CPU"

func busy(string) {}
