//go:build !linux

package miner

const busyEnv, confinedEnv = "LODE_TEST_BUSY_CPU", "LODE_TEST_CONFINED"

func busy(string) {}

func confined() {}
