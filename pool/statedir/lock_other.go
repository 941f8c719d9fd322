//go:build !unix

package statedir

import (
	"os"
	"path/filepath"
)

// lock only opens the file: there is no portable lock.
func lock(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
}
