package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lode/load"
)

func TestLoad(t *testing.T) {
	_, url := startMinePool(t)
	plot := filepath.Join(t.TempDir(), "load.svg")
	var stdout, stderr bytes.Buffer
	args := []string{"load", "--pool", url, "--user", "me", "--connections", "5", "--ramp", "0s", "--duration", "1s", "--shares", "20", "--garbage", "1", "--storm", "2@300ms"}
	if code := run(t.Context(), append(args, "--json", "--plot", plot), &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, stderr.String(), stdout.String())
	}
	var report struct {
		Connections struct {
			Wanted int `json:"wanted"`
			AtEnd  int `json:"at_end"`
		} `json:"connections"`
		Shares struct {
			Accepted     int64 `json:"accepted"`
			FalseRejects int64 `json:"false_rejects"`
		} `json:"shares"`
		Storms struct {
			Rounds int `json:"rounds"`
		} `json:"storms"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if report.Connections.Wanted != 5 || report.Connections.AtEnd == 0 || report.Shares.Accepted == 0 || report.Shares.FalseRejects != 0 || report.Storms.Rounds == 0 {
		t.Errorf("report %+v", report)
	}
	if content, err := os.ReadFile(plot); err != nil || !strings.Contains(string(content), "<svg") {
		t.Errorf("plot %.40q, %v", content, err)
	}
	if !strings.Contains(stderr.String(), "of 5 mining") {
		t.Errorf("no progress: %s", stderr.String())
	}
}

func TestInterruptedLoadReports(t *testing.T) {
	p, url := startMinePool(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-p.shares
		cancel()
	}()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"load", "--pool", url, "--user", "me", "--connections", "3", "--ramp", "0s", "--duration", "1h", "--shares", "20"}, &stdout, &stderr)
	if code != 130 || !strings.Contains(stdout.String(), "3 of 3 at the end") || !strings.Contains(stdout.String(), "submit") {
		t.Errorf("exit code %d: %s%s", code, stderr.String(), stdout.String())
	}
}

func TestLoadProgressLines(t *testing.T) {
	var out bytes.Buffer
	l := newLoadProgress(&out)
	l.show(load.Progress{Phase: load.Ramping, Mining: 1, Wanted: 3})
	l.show(load.Progress{Phase: load.Ramping, Mining: 2, Wanted: 3}) // too soon for another line
	l.show(load.Progress{Phase: load.Measuring, Mining: 3, Wanted: 3, Accepted: 7})
	l.notice("something")
	l.close()
	got := out.String()
	if strings.Count(got, "\n") != 3 || !strings.Contains(got, "1 of 3 mining") || !strings.Contains(got, "7 accepted") || !strings.HasSuffix(got, "note: something\n") {
		t.Errorf("printed %q", got)
	}
}
