//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyOnSignal passes SIGUSR1 on as the notice of a new block, until stop.
func notifyOnSignal(notify func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-signals:
				notify()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
		<-ended
	}
}
