package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// fakePeer puts a program on PATH that prints what a miner would, and then hangs on
// as one does.
func fakePeer(t *testing.T, name, output string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the fake miner is a shell script")
	}
	folder := t.TempDir()
	script := "#!/bin/sh\ncat <<'E'\n" + output + "\nE\n"
	if err := os.WriteFile(filepath.Join(folder, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+string(os.PathListSeparator)+"/usr/bin:/bin")
}

func TestBenchJSON(t *testing.T) {
	fakePeer(t, "minerd", "[2026-01-01 00:00:00] thread 0: 1000 hashes, 12.50 khash/s\n[2026-01-01 00:00:01] Total: 0.01 khash/s")
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), []string{
		"bench", "--json", "--compare", "--time", "2s", "--threads", "1", "--kernel", "portable", "--kernel", "portable-roll",
	}, &stdout, &stderr)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	// The shape that other programs rely on.
	var got struct {
		CPU     string `json:"cpu"`
		Results []struct {
			Kernel          string  `json:"kernel"`
			Threads         int     `json:"threads"`
			VersionRolling  *bool   `json:"version_rolling"`
			HashesPerSecond float64 `json:"hashes_per_second"`
		} `json:"results"`
		Peers []peerResult `json:"peers"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, &stdout)
	}
	if got.CPU == "" || len(got.Results) != 2 {
		t.Fatalf("%s", &stdout)
	}
	for i, kernel := range []string{"portable", "portable-roll"} {
		r := got.Results[i]
		if r.Kernel != kernel || r.Threads != 1 || r.VersionRolling == nil || *r.VersionRolling != (i == 1) || r.HashesPerSecond <= 0 {
			t.Errorf("result %+v", r)
		}
	}
	if len(got.Peers) != 1 || got.Peers[0].Program != "minerd" || got.Peers[0].HashesPerSecond != 10 || got.Peers[0].Ratio <= 1 {
		t.Errorf("peers %+v", got.Peers)
	}
	if !strings.Contains(stderr.String(), "portable-roll with 1 thread") {
		t.Errorf("no progress on stderr: %s", &stderr)
	}
}

func TestBenchTable(t *testing.T) {
	fakePeer(t, "cpuminer", "[2026-01-01 00:00:00] Total: 1.50 MH/s")
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), []string{"bench", "--compare", "--time", "50ms", "--threads", "1", "--kernel", "portable"}, &stdout, &stderr)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	for _, want := range []string{"cycles/hash", "portable", "cpuminer", "times as fast"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
}

func TestBenchRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"bench", "--kernel", "no-such-kernel"},
		{"bench", "--threads", "0"},
		{"bench", "--time", "1ms"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), args, &stdout, &stderr); code != 2 {
			t.Errorf("%v: exit code %d, %s", args, code, &stderr)
		} else if strings.Count(strings.TrimSpace(stderr.String()), "\n") > 1 {
			t.Errorf("%v: more than a line: %s", args, &stderr)
		}
	}
}

func TestBenchIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	if code := run(ctx, []string{"bench", "--kernel", "portable", "--time", "1h"}, &stdout, &stderr); code != 130 {
		t.Errorf("exit code %d, want 130: %s", code, &stderr)
	}
}

func TestPeerRate(t *testing.T) {
	for _, c := range []struct {
		name, output string
		want         float64
	}{
		{"minerd", "[2026-01-01 00:00:00] 2 miner threads started\n[x] thread 1: 23068672 hashes, 11367.06 khash/s\n" +
			"[x] thread 0: 2097152 hashes, 11000 khash/s\n[x] Total: 22734.12 khash/s\n", 22734.12e3},
		{"threads only", "thread 0: 1 hashes, 1 khash/s\nthread 1: 1 hashes, 2 khash/s\nthread 0: 1 hashes, 3 khash/s\n", 5e3},
		{"cpuminer-opt", "[x] Total: 34.70 Mh/s\n[x] Total: 34.81 Mh/s\n", 34.81e6},
		{"nothing", "unknown option -- a", 0},
	} {
		if got := peerRate([]byte(c.output)); math.Abs(got-c.want) > 1e-6*c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
