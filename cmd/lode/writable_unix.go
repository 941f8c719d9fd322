//go:build unix

package main

import "syscall"

// writable says why no file can be made in a folder; nil: one can.
func writable(folder string) error {
	const write, search = 2, 1
	return syscall.Access(folder, write|search)
}
