package statedir_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
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
			kept, _ := filepath.Glob(path + ".damaged-*")
			if len(kept) != 1 {
				t.Fatalf("kept: %v", kept)
			}
			if got, err := os.ReadFile(kept[0]); err != nil || string(got) != content {
				t.Errorf("kept %q (%v), want %q", got, err, content)
			}
		})
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
	first.Accounts.Worker("w").Share(time.Now(), accounts.Accepted, 7, 8)
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
