//go:build !unix

package pool

import (
	"os"
	"path/filepath"
)

// lockState only opens the file: there is no portable lock.
func lockState(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
}
