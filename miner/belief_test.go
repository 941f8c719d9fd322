package miner

import (
	"log/slog"
	"path/filepath"
	"testing"

	"lode/miner/internal/scan"
)

// TestMeasuredFourTimes: one measurement may have met a core whose other half was busy all the
// while: kernels are measured at four starts before what was found is left at that.
func TestMeasuredFourTimes(t *testing.T) {
	all := scan.Kernels()
	for runs := range 6 {
		folder := t.TempDir()
		store := func(ground) calibrationStore {
			return calibrationStore{filepath.Join(folder, "kernels.json"), "this"}
		}
		if err := store(ground{}).save(calibration{Plain: "portable", Roll: "portable-roll", Runs: runs}); err != nil {
			t.Fatal(err)
		}
		beliefs, kernels, err := believe(all, []kind{{}}, ground{}, store, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := beliefs[0].settled.Load(), runs >= 4; got != want || kernels[0].roll.Name != "portable-roll" {
			t.Errorf("after %d measurements: no more of them %v, want %v; kernel %s", runs, got, want, kernels[0].roll.Name)
		}
	}
}
