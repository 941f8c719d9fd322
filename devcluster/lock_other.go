//go:build !unix

package devcluster

import "os"

// LockFolder locks nothing here.
func LockFolder(dir, flag string) (*os.File, error) { return nil, nil }
