package miner

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lode/miner/internal/scan"
)

func portablePair(t testing.TB) kernelPair {
	t.Helper()
	pair, err := kernelNamed("portable-roll", scan.Kernels())
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// liar is a scanner that finds nothing.
type liar struct{}

func (liar) Reset(*scan.Job)                   {}
func (liar) Scan(uint32, int) []scan.Candidate { return nil }

// withLiars adds two kernels that are very fast and wrong.
func withLiars() []scan.Kernel {
	newLiar := func() scan.Scanner { return liar{} }
	return append([]scan.Kernel{
		{Name: "liar", Nonces: 1, States: 1, Batch: 64, New: newLiar},
		{Name: "liar-roll", Rolling: true, Nonces: 1, States: 8, Batch: 64, New: newLiar},
		{Name: "absent", Nonces: 1, States: 1, Batch: 64, Missing: "no such thing", New: newLiar},
	}, scan.Kernels()...)
}

func TestWrongKernelIsNeverUsed(t *testing.T) {
	var log bytes.Buffer
	pair, found, err := calibrate(withLiars(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(pair.plain.Name+pair.roll.Name, "liar") {
		t.Errorf("calibration chose %s and %s", pair.plain.Name, pair.roll.Name)
	}
	if strings.Count(log.String(), "kernel failed its self-test") != 2 {
		t.Errorf("the log does not say so:\n%s", &log)
	}
	if found.Plain != pair.plain.Name || found.Roll != pair.roll.Name || len(found.NanosecondsPerHash) == 0 {
		t.Errorf("calibration %+v", found)
	}
	for _, name := range []string{"liar", "liar-roll", "absent", "no-such-kernel"} {
		if _, err := kernelNamed(name, withLiars()); err == nil {
			t.Errorf("kernel %s was accepted", name)
		} else {
			t.Log(err)
		}
	}
	// Nor when an earlier calibration says so.
	store := calibrationStore{filepath.Join(t.TempDir(), "kernels.json")}
	if err := store.save(calibration{Plain: "liar", Roll: "liar-roll"}); err != nil {
		t.Fatal(err)
	}
	pair, err = fastestKernels(withLiars(), store, slog.New(slog.DiscardHandler))
	if err != nil || pair.plain.Name == "liar" || pair.roll.Name == "liar-roll" {
		t.Errorf("stored calibration: %v, %s and %s", err, pair.plain.Name, pair.roll.Name)
	}
}

func TestNoKernelAtAll(t *testing.T) {
	if _, _, err := calibrate(withLiars()[:3], slog.New(slog.DiscardHandler)); err == nil {
		t.Error("calibration accepted kernels that are wrong")
	}
}

func TestCalibrationIsStored(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", folder)
	t.Setenv("HOME", folder)
	all := scan.Kernels()
	store := userCalibrations(all)
	if _, ok := store.load(); ok {
		t.Fatal("an empty folder has a calibration")
	}
	log := slog.New(slog.DiscardHandler)
	first, err := fastestKernels(all, store, log)
	if err != nil {
		t.Fatal(err)
	}
	stored, ok := store.load()
	if !ok || stored.Plain != first.plain.Name || stored.Roll != first.roll.Name {
		t.Fatalf("stored: %v %+v", ok, stored)
	}
	// What is stored is what is used, fastest or not.
	if err := store.save(calibration{Plain: "portable", Roll: "portable-roll"}); err != nil {
		t.Fatal(err)
	}
	e, err := New(Options{Threads: 1})
	if err != nil || e.Stats().Kernel != "portable-roll" {
		t.Errorf("New: %v, kernel %s", err, e.Stats().Kernel)
	}
	// Kernels of another revision are another machine, as it were.
	all[0].Revision++
	if other := userCalibrations(all); other.path == store.path {
		t.Error("a new revision of a kernel does not change the file")
	}
	// Rubbish is no calibration.
	if err := os.WriteFile(store.path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Threads: 1}); err != nil {
		t.Error(err)
	}
}

func TestNoPlaceForCalibrations(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, home := range []string{"", file} { // none; not a folder
		t.Setenv("HOME", home)
		t.Setenv("XDG_CACHE_HOME", home)
		if _, err := New(Options{Threads: 1}); err != nil {
			t.Errorf("HOME=%q: %v", home, err)
		}
	}
}

func TestForcedKernel(t *testing.T) {
	for _, k := range scan.Kernels() {
		e, err := New(Options{Threads: 1, Kernel: k.Name})
		if (err == nil) != (k.Missing == "") {
			t.Errorf("kernel %s, missing %q: %v", k.Name, k.Missing, err)
		}
		if err != nil {
			continue
		}
		if got := e.Stats().Kernel; got != k.Name {
			t.Errorf("kernel %s was forced, %s is used", k.Name, got)
		}
		w := easyWork(12)
		w.VersionMask = 0
		e.SetWork(w)
		if got, plain := e.Stats().Kernel, k.Plain(); got != plain {
			t.Errorf("kernel %s was forced, %s is used for a fixed version", k.Name, got)
		}
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	for _, o := range []Options{{Threads: -1}, {Nice: 20}, {Nice: -1}, {Duty: 1.5}, {Duty: -1}, {HitBuffer: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("options %+v were accepted", o)
		}
	}
}
