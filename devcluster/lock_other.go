//go:build !unix

package devcluster

import "os"

// lockFolder locks nothing here.
func lockFolder(string) (*os.File, error) { return nil, nil }
