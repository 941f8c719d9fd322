package miner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"lode/miner/internal/scan"
)

// A Kernel is one way to hash. Kernels whose name ends in "-roll" share work
// between the versions of a header and are used for work whose version may be
// rolled; each has a partner without the suffix for work whose version is fixed.
type Kernel struct {
	Name    string `json:"name"`
	Rolling bool   `json:"version_rolling"`
	// Missing says why the kernel cannot run on this machine; empty: it can.
	Missing string `json:"missing"`
}

// Kernels lists all kernels of this platform.
func Kernels() []Kernel {
	var list []Kernel
	for _, k := range scan.Kernels() {
		list = append(list, Kernel{Name: k.Name, Rolling: k.Rolling, Missing: k.Missing})
	}
	return list
}

// elsewhere are the kernels of platforms that this program was not built for: a
// cluster's agents may be of several.
var elsewhere = []string{
	"avx2", "avx2-roll", "avx512", "avx512-roll", "hybrid", "hybrid-avx2", "hybrid-avx2-roll", "hybrid-roll", "shani", "shani-roll", "shani2", // amd64
	"arm64-sha2", "arm64-sha2-roll", // arm64
	"portable", "portable-roll",
}

// KnownKernel says whether a kernel of this name exists on any platform.
func KnownKernel(name string) bool {
	return slices.Contains(elsewhere, name) || slices.ContainsFunc(scan.Kernels(), func(k scan.Kernel) bool { return k.Name == name })
}

// kernelPair is what an engine hashes with.
type kernelPair struct {
	plain *scan.Kernel
	roll  *scan.Kernel // nil: plain is used for all work
}

// of is the kernel for a work: below four versions the rolling one has too little to
// share. Without a work it is what most works take.
func (p kernelPair) of(w *Work) *scan.Kernel {
	if p.roll != nil && (w == nil || w.VersionMask&(w.VersionMask-1) != 0) {
		return p.roll
	}
	return p.plain
}

// kernelSet has a pair for each kind of core.
type kernelSet []kernelPair

// at is the pair for a kind; all kinds have the same one where there is only one.
func (s kernelSet) at(kind int) kernelPair { return s[min(kind, len(s)-1)] }

// nonces is what the threads' shares of a work's nonces are multiples of: powers of two,
// so the greatest of them will do for all kernels.
func (s kernelSet) nonces(w *Work) (n uint64) {
	for _, p := range s {
		n = max(n, uint64(p.of(w).Nonces))
	}
	return n
}

// kernelNamed returns the pair that a forced name stands for: a plain kernel alone,
// or a rolling kernel with its partner.
func kernelNamed(name string, all []scan.Kernel) (kernelPair, error) {
	k, err := usableKernel(name, all)
	if err != nil || !k.Rolling {
		return kernelPair{plain: k}, err
	}
	partner, err := usableKernel(k.Plain(), all)
	return kernelPair{plain: partner, roll: k}, err
}

func usableKernel(name string, all []scan.Kernel) (*scan.Kernel, error) {
	var names []string
	for i := range all {
		if all[i].Name == name {
			return &all[i], all[i].Verify()
		}
		names = append(names, all[i].Name)
	}
	return nil, fmt.Errorf("no kernel is called %q here: there are %s", name, strings.Join(names, ", "))
}

// likelyKernels returns the pair that this machine is fastest with as far as that is known
// without measuring: what earlier calibrations stored, or else the first kernels of the list
// that pass their self-test.
func likelyKernels(all []scan.Kernel, stored calibration) (kernelPair, error) {
	if pair, err := stored.pair(all); err == nil {
		return pair, nil
	}
	var pair kernelPair
	for i := range all {
		best := &pair.plain
		if all[i].Rolling {
			best = &pair.roll
		}
		if *best == nil && all[i].Verify() == nil {
			*best = &all[i]
		}
	}
	if pair.plain == nil || pair.roll == nil {
		return pair, errNoKernel
	}
	return pair, nil
}

// measureKernels calibrates and stores what is known then.
func measureKernels(all []scan.Kernel, known calibration, store calibrationStore, on ground, log *slog.Logger) (kernelPair, calibration, error) {
	_, found, err := calibrate(all, on, log)
	if on.over() {
		return kernelPair{}, found, context.Canceled
	}
	if err != nil {
		return kernelPair{}, found, err
	}
	pair, merged := known.merge(found, all)
	if err := store.save(merged); err != nil {
		log.Debug("kernel calibration not stored", "error", err)
	}
	return pair, merged, nil
}

func (c calibration) pair(all []scan.Kernel) (kernelPair, error) {
	var pair kernelPair
	var err error
	if pair.plain, err = usableKernel(c.Plain, all); err != nil {
		return pair, err
	}
	pair.roll, err = usableKernel(c.Roll, all)
	return pair, err
}

var errNoKernel = errors.New("no kernel passes its self-test on this machine: not even the portable one; the machine or this build is broken")
