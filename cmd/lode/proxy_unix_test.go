//go:build unix

package main

import (
	"syscall"
	"testing"
	"time"
)

// TestNotifyOnSignal: SIGUSR1 is the notice of a new block.
func TestNotifyOnSignal(t *testing.T) {
	told := make(chan struct{}, 10)
	stop := notifyOnSignal(func() { told <- struct{}{} })
	defer stop()
	for range 2 {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		select {
		case <-told:
		case <-time.After(20 * time.Second):
			t.Fatal("the signal is not passed on")
		}
	}
}
