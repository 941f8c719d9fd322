//go:build !unix

package statedir

import (
	"os"
)

// lock only opens the file: there is no portable lock.
func lock(dir string) (*os.File, error) {
	return os.OpenFile(lockPath(dir), os.O_RDWR|os.O_CREATE, 0o600)
}
