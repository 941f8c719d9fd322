package statedir_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lode/pool/accounts"
	"lode/pool/statedir"
)

func open(t *testing.T, dir string) *statedir.Folder {
	t.Helper()
	f, err := statedir.Open(dir, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestDamagedAccounts: what cannot be read is kept, over the next save too.
func TestDamagedAccounts(t *testing.T) {
	for name, content := range map[string]string{"cut": `{"version":1,"workers":[{"na`, "another version": `{"version":2}`, "empty": ""} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "accounts.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				f := open(t, dir)
				ctx, end := context.WithCancel(t.Context())
				f.Save(ctx)
				end()
				f.Close()
			}
			kept, _ := filepath.Glob(path + ".damaged*")
			if len(kept) != 1 {
				t.Fatalf("kept: %v", kept)
			}
			if got, err := os.ReadFile(kept[0]); err != nil || string(got) != content {
				t.Errorf("kept %q (%v), want %q", got, err, content)
			}
		})
	}
}

// TestDamagedAgain: of files that are spoilt again and again some are kept, the first ones and
// the last, and no more.
func TestDamagedAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "accounts.json")
	const last = 30
	for n := range last + 1 {
		if err := os.WriteFile(path, fmt.Appendf(nil, "garbage %d", n), 0o600); err != nil {
			t.Fatal(err)
		}
		now := func() time.Time { return time.Now().Add(time.Duration(n) * time.Hour) }
		f, err := statedir.Open(dir, now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	var kept []string
	paths, _ := filepath.Glob(path + ".damaged*")
	for _, path := range paths {
		content, _ := os.ReadFile(path)
		kept = append(kept, string(content))
	}
	if len(kept) > 9 || !slices.Contains(kept, "garbage 0") || !slices.Contains(kept, fmt.Sprint("garbage ", last)) {
		t.Errorf("%d files are kept: %q", len(kept), kept)
	}
}

// TestOneAtATime: a folder is one proxy's, until that closes it; what was counted is there
// for the next.
func TestOneAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "anew")
	first := open(t, dir)
	if _, err := statedir.Open(dir, time.Now, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another proxy") {
		t.Errorf("a second one got in: %v", err)
	}
	first.Accounts.Worker("w").Share(time.Now(), accounts.Accepted, 7, 8, accounts.Device{})
	first.History.Add(time.Now(), map[string]float64{"hashrate": 1})
	ctx, end := context.WithCancel(t.Context())
	first.Save(ctx)
	end()
	first.Close()
	second := open(t, dir)
	defer second.Close()
	if total := second.Accounts.Total(); total.Tallies["accepted"].Difficulty != 7 || total.BestShare != 8 {
		t.Errorf("the accounts were lost: %+v", total)
	}
	if _, err := os.Stat(filepath.Join(dir, "history")); err != nil {
		t.Error(err)
	}
}

// TestDamageIsTold: what cannot be read is put aside, with a line that says where, and the
// proxy mines.
func TestDamageIsTold(t *testing.T) {
	for file, want := range map[string]string{
		"accounts.json": "accounts begin anew", "history": "history begins anew", "blocks.journal": "block journal was damaged",
	} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, file), []byte("what is this? nobody can read it"), 0o600); err != nil {
				t.Fatal(err)
			}
			log := new(strings.Builder)
			f, err := statedir.Open(dir, time.Now, slog.New(slog.NewTextHandler(log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			kept, _ := filepath.Glob(filepath.Join(dir, file+".damaged*"))
			if len(kept) != 1 || !strings.Contains(log.String(), want) || !strings.Contains(log.String(), kept[0]) {
				t.Errorf("kept %v, told %s", kept, log)
			}
		})
	}
}

// TestNoLeftovers: a proxy that is killed while it saves, again and again, leaves no more
// than one file of that.
func TestNoLeftovers(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	f.Accounts.Worker("w").Share(time.Now(), accounts.Accepted, 7, 8, accounts.Device{})
	for _, name := range []string{".accounts.json.new", ".history.new"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("a longer text than there is to write ", 20_000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, end := context.WithCancel(t.Context())
	f.Save(ctx)
	end()
	f.Close()
	left, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if total := open(t, dir).Accounts.Total(); total.Tallies["accepted"].Difficulty != 7 {
		t.Errorf("%+v", total)
	}
}
