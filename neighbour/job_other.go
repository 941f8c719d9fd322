//go:build !linux

package neighbour

import (
	"errors"
	"os/exec"
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

func command(job) (*exec.Cmd, error) { return nil, errLinux }

func endGroup(c *exec.Cmd) { _ = c.Process.Kill() }

func kernelRelease() string { return "" }
