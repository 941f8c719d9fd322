//go:build !unix

package main

// notifyOnSignal does nothing: there is no SIGUSR1.
func notifyOnSignal(func()) (stop func()) { return func() {} }
