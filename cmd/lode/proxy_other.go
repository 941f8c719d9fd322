//go:build !unix

package main

import "lode/pool"

// notifyOnSignal does nothing: there is no SIGUSR1.
func notifyOnSignal(*pool.Proxy) (stop func()) { return func() {} }
