//go:build !linux

package miner

// Without a way to ask, all cpus are cores of their own.

func allowedCPUs() []int { return nil }

func usableCores() cores { return nil }

func usableKinds() []kind { return []kind{{}} }

type claims struct{}

func (*claims) take(int) bool { return true }

func (*claims) leave() {}

// SocketOf: there is no way to ask.
func SocketOf(int) []int { return nil }
