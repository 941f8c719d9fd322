package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lode/scheduler/api"
)

// An upgrade to an executor that does not start costs one miner, and that one comes
// back with the executor of before. So it does at a start with --upgrade.
func TestUpgradeThatCannotStart(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	program := filepath.Join(t.TempDir(), "lode-executor")
	good, err := os.ReadFile(executor())
	if err != nil {
		t.Fatal(err)
	}
	install := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(program+".new", content, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	install(good)
	w := newWorld(t, options{agents: 4, executor: program})
	before := w.mining(4)
	install([]byte("#!/bin/sh\nexit 7\n"))
	response, err := http.Post(w.url+api.UpgradePath, "application/json", strings.NewReader(`{"action":"start"}`))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("start an upgrade: %v, %v", response, err)
	}
	response.Body.Close()
	stopped := func(s api.Status) bool {
		return s.Artifact.Digest == before.Artifact.Digest &&
			slices.ContainsFunc(s.Problems, func(p api.Problem) bool { return strings.Contains(p.Text, "replacing tasks stopped") })
	}
	w.until("the upgrade stops and goes back", stopped)
	eventually(t, "the log says so", func() bool {
		return strings.Contains(w.scheduler.output(), "replacing tasks stops: the new ones do not work")
	}, w.scheduler.output)
	after := w.mining(4)
	w.kept(before, after, 3)

	w.scheduler.stop(t)
	w.args = append(w.args, "--upgrade")
	w.startScheduler()
	w.until("a start does not try it again", stopped)
	w.kept(after, w.mining(4), 4)
	w.moreBlocks(1)
	w.noOrphans()
}

// kept checks that at least n miners went on.
func (w *world) kept(before, after api.Status, n int) {
	w.t.Helper()
	same := 0
	for _, id := range ids(tasks(after, "miner")) {
		if slices.Contains(ids(tasks(before, "miner")), id) {
			same++
		}
	}
	if same < n {
		w.t.Errorf("%d miners went on, want %d: before %v, after %v", same, n, ids(tasks(before, "miner")), ids(tasks(after, "miner")))
	}
}
