//go:build !linux

package driver

import "os"

// eraseEnv removes a variable from this process' environment.
func eraseEnv(name, _ string) error { return os.Unsetenv(name) }
