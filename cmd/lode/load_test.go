package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

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

// A terminal has one line, drawn anew, that never wraps.
func TestLoadProgressOnTerminal(t *testing.T) {
	screen, tty, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer screen.Close()
	if err := pty.Setsize(screen, &pty.Winsize{Rows: 24, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	l := newLoadProgress(tty)
	l.show(load.Progress{Phase: load.Ramping, Mining: 1, Wanted: 4})
	l.show(load.Progress{Phase: load.Measuring, Done: 3 * time.Second, Of: 6 * time.Second, Mining: 4, Wanted: 4, Accepted: 7})
	l.notice("something")
	l.show(load.Progress{Phase: load.Measuring, Done: 6 * time.Second, Of: 6 * time.Second, Mining: 4, Wanted: 4, Accepted: 9})
	l.close()
	tty.Close()
	drawn, _ := io.ReadAll(screen) // ends with an error when the other side is closed
	lines := strings.FieldsFunc(strings.ReplaceAll(string(drawn), "\x1b[K", ""), func(r rune) bool { return r == '\r' || r == '\n' })
	if len(lines) != 4 || strings.Count(string(drawn), "\n") != 1 || !strings.HasPrefix(lines[0], " 25%") ||
		!strings.HasPrefix(lines[1], " 50%") || lines[2] != "note: something" || !strings.HasPrefix(lines[3], "100%") {
		t.Errorf("drawn %q", drawn)
	}
	for _, line := range lines {
		if utf8.RuneCountInString(line) > 40 {
			t.Errorf("%q is wider than the terminal", line)
		}
	}
	if !strings.HasSuffix(string(drawn), "\r\x1b[K") {
		t.Errorf("the line stays: %q", drawn)
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
