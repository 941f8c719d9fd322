//go:build !linux

package neighbour

import (
	"errors"
	"time"
)

var errLinux = errors.New("binding processes to cpus is for Linux only")

func bind(job) error { return errLinux }

func lockThread() {}

func becomeIdle() error { return errLinux }

var epoch = time.Now()

func clock() time.Duration { return time.Since(epoch) }

func cpuTime() time.Duration { return clock() }

func sleepUntil(at time.Duration) { time.Sleep(at - clock()) }

func command(job) (*child, error) { return nil, errLinux }

func (c *child) start() error { return errLinux }

func (c *child) end() {}

func kernelRelease() string { return "" }
