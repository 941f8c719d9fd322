package executor

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"lode/executor/mining"
	"lode/message"
)

// SelfDigest is the SHA-256 of the file that this process runs, in hex.
func SelfDigest() (string, error) {
	path := "/proc/self/exe" // the file itself, even when its name is gone
	if runtime.GOOS != "linux" {
		var err error
		if path, err = os.Executable(); err != nil {
			return "", err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// minerGCPercent is the garbage that a miner may have, of what lives: Go's default is 100,
// which is 3 MB of 30.
const minerGCPercent = 20

// TuneProcess fits Go's runtime to a task. By itself it would take all cpus of the
// machine for garbage collection, and memory until Mesos kills the container.
func TuneProcess(r Resources, t *message.Task) {
	procs := 1
	if t.GetProxy() != nil {
		procs, _ = mining.Threads(r.CPUsMilli)
	} else {
		// A miner allocates next to nothing, so the garbage that waits is what counts.
		debug.SetGCPercent(minerGCPercent)
	}
	// The engine of a miner adds its threads to this.
	runtime.GOMAXPROCS(procs)
	if r.MemBytes > 0 {
		// The rest is for what Go does not count: stacks of the threads, the file itself.
		debug.SetMemoryLimit(r.MemBytes / 5 * 4)
	}
}
