package miner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/klauspost/cpuid/v2"

	"lode/miner/internal/scan"
)

// A calibration is the outcome of timing the kernels on one machine.
type calibration struct {
	Plain string `json:"plain"`
	Roll  string `json:"roll"`
	// NanosecondsPerHash of the kernels that were timed, for the curious.
	NanosecondsPerHash map[string]float64 `json:"nanoseconds_per_hash"`
}

// Time spent on one candidate: the best of rounds, each as long as sample. Short,
// since each start of a miner on a new machine waits for it.
const (
	calibrationRounds = 3
	calibrationSample = time.Millisecond
)

// calibrate times all kernels that pass their self-test. The portable kernels are
// timed only when there is no other.
func calibrate(all []scan.Kernel, log *slog.Logger) (kernelPair, calibration, error) {
	var trials []*trial
	have := make(map[bool]bool) // by Rolling
	for i := range all {
		k := &all[i]
		if k.Missing != "" || have[k.Rolling] && k.Fallback {
			continue
		}
		if err := k.Verify(); err != nil {
			log.Error("kernel failed its self-test", "kernel", k.Name, "error", err)
			continue
		}
		have[k.Rolling] = true
		trials = append(trials, newTrial(k))
	}
	if !have[false] || !have[true] {
		return kernelPair{}, calibration{}, errNoKernel
	}
	// All in turn, several times: what else runs on the machine may hold up one kernel
	// for some milliseconds, and the choice is kept for a long time.
	for range calibrationRounds {
		for _, t := range trials {
			t.run()
		}
	}
	found := calibration{NanosecondsPerHash: make(map[string]float64)}
	var pair kernelPair
	for _, t := range trials {
		found.NanosecondsPerHash[t.kernel.Name] = t.nanoseconds
		best := &pair.plain
		if t.kernel.Rolling {
			best = &pair.roll
		}
		if *best == nil || t.nanoseconds < found.NanosecondsPerHash[(*best).Name] {
			*best = t.kernel
		}
	}
	found.Plain, found.Roll = pair.plain.Name, pair.roll.Name
	return pair, found, nil
}

// trial is the timing of one kernel.
type trial struct {
	kernel      *scan.Kernel
	scanner     scan.Scanner
	nonce       uint32
	nanoseconds float64 // least a hash, 0: not run yet
}

func newTrial(k *scan.Kernel) *trial {
	t := &trial{kernel: k, scanner: k.New()}
	t.scanner.Reset(&scan.Job{States: make([]scan.State, k.States), Mask: ^uint32(0)})
	return t
}

func (t *trial) run() {
	count := t.kernel.Batch / t.kernel.States
	hashes := 0
	begin := time.Now()
	for time.Since(begin) < calibrationSample {
		t.scanner.Scan(t.nonce, count)
		t.nonce += uint32(count)
		hashes += count * t.kernel.States
	}
	if ns := float64(time.Since(begin)) / float64(hashes); t.nanoseconds == 0 || ns < t.nanoseconds {
		t.nanoseconds = ns
	}
}

// calibrationStore keeps one calibration in a file that stands for this kind of
// processor and these kernels. An empty path keeps nothing.
type calibrationStore struct{ path string }

// userCalibrations is the store in the user's cache folder; where there is no such
// folder (no HOME, as in a bare container) nothing is kept.
func userCalibrations(all []scan.Kernel) calibrationStore {
	folder, err := os.UserCacheDir()
	if err != nil {
		return calibrationStore{}
	}
	id := sha256.New()
	c := &cpuid.CPU
	fmt.Fprintln(id, runtime.GOARCH, c.VendorString, c.BrandName, c.Family, c.Model, c.Stepping, c.FeatureSet())
	for _, k := range all {
		fmt.Fprintln(id, k.Name, k.Revision, k.Missing)
	}
	name := "kernels-" + hex.EncodeToString(id.Sum(nil)[:8]) + ".json"
	return calibrationStore{filepath.Join(folder, "lode", name)}
}

func (s calibrationStore) load() (c calibration, ok bool) {
	if s.path == "" {
		return c, false
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return c, false
	}
	return c, json.Unmarshal(text, &c) == nil
}

func (s calibrationStore) save(c calibration) error {
	if s.path == "" {
		return nil
	}
	text, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return err
	}
	// A rename makes it whole for others; there is no need to survive a crash.
	file, err := os.CreateTemp(filepath.Dir(s.path), ".kernels-*")
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), s.path)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}
