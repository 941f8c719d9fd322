package statedir

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"lode/pool/accounts"
	"lode/pool/journal"
)

// TestSaved: a proxy that is killed has lost a minute of its accounts at most, and five of its
// curves.
func TestSaved(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f, err := Open(dir, time.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(t.Context())
		f.Save(ctx)
		f.Accounts.Worker("w").Share(time.Now(), accounts.Accepted, 7, 8, accounts.Device{})
		f.History.Add(time.Now(), map[string]float64{"hashrate": 1})
		there := func(name string) bool {
			synctest.Wait()
			_, err := os.Stat(filepath.Join(dir, name))
			return err == nil
		}
		if there("accounts.json") || there("history") {
			t.Error("saved at once")
		}
		time.Sleep(saveInterval)
		if !there("accounts.json") || there("history") {
			t.Errorf("after a minute: accounts %v, curves %v", there("accounts.json"), there("history"))
		}
		time.Sleep((historySaves - 1) * saveInterval)
		if !there("history") {
			t.Error("the curves are not saved after five")
		}
		end()
		f.Close()
	})
}

// TestHangingDisk: the end waits for a disk that hangs, but not for ever.
func TestHangingDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f, err := Open(dir, time.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		f.saving = make(chan struct{}) // it never ends
		begin := time.Now()
		f.Close()
		if took := time.Since(begin); took < diskTime || took > 2*diskTime {
			t.Errorf("closed after %v", took)
		}
	})
}

// TestTrouble: a disk that takes nothing is told of, and so is one that hangs, until it is well.
func TestTrouble(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f, err := Open(dir, time.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(t.Context())
		f.Save(ctx)
		begin := time.Now()
		expect := func(what string, trouble bool, saved time.Duration) {
			t.Helper()
			synctest.Wait()
			if err := f.Trouble(); (err != nil) != trouble || f.Saved().Sub(begin).Round(time.Second) != saved {
				t.Errorf("%s: %v, saved after %v", what, err, f.Saved().Sub(begin))
			}
		}
		expect("at first", false, 0)
		time.Sleep(saveInterval)
		expect("saved", false, saveInterval)
		inTheWay := filepath.Join(dir, ".accounts.json.new")
		if err := os.Mkdir(inTheWay, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(saveInterval)
		expect("not saved", true, saveInterval)
		_ = os.Remove(inTheWay)
		time.Sleep(saveInterval)
		expect("saved again", false, 3*saveInterval)
		end()
		synctest.Wait() // Save's goroutine is gone, as if it hung
		time.Sleep(4 * saveInterval)
		expect("hangs", true, 3*saveInterval)
		f.Close()
	})
}

// TestFolderRemoved: somebody removes the folder under a running proxy; a minute later all that
// outlives it is there again.
func TestFolderRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	synctest.Test(t, func(t *testing.T) {
		f, err := Open(dir, time.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Journal.Add(journal.Entry{Hash: "00ff", Height: 7}); err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(t.Context())
		f.Save(ctx)
		f.Accounts.Worker("w").Share(time.Now(), accounts.Accepted, 7, 8, accounts.Device{})
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(saveInterval + time.Second)
		synctest.Wait()
		if err := f.Trouble(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "accounts.json")); err != nil {
			t.Error(err)
		}
		j, err := journal.Open(filepath.Join(dir, "blocks.journal"))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(j.Pending()); n != 1 {
			t.Errorf("%d blocks are in the journal", n)
		}
		_ = j.Close()
		time.Sleep(3 * saveInterval)
		synctest.Wait()
		if err := f.Trouble(); err != nil {
			t.Errorf("minutes later: %v", err)
		}
		end()
		f.Close()
	})
}

// TestFolderOfTwo: somebody removes the folder under a running proxy, and starts another one there.
// If the first has made the folder anew then the second is kept out as ever; else the folder is
// the second one's, whose blocks stay, and the first says that it has none.
func TestFolderOfTwo(t *testing.T) {
	for name, sooner := range map[string]bool{"the first is sooner": true, "the second is sooner": false} {
		dir := filepath.Join(t.TempDir(), "state")
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := slog.New(slog.DiscardHandler)
				first, err := Open(dir, time.Now, log)
				if err != nil {
					t.Fatal(err)
				}
				ctx, end := context.WithCancel(t.Context())
				first.Save(ctx)
				defer first.Close()
				defer end()
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				if sooner {
					time.Sleep(saveInterval + time.Second)
				}
				second, err := Open(dir, time.Now, log)
				if sooner {
					if err == nil {
						second.Close()
						t.Error("both have the folder")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer second.Close()
				if _, err := second.Journal.Add(journal.Entry{Hash: "02", Height: 2}); err != nil {
					t.Fatal(err)
				}
				if _, err := first.Journal.Add(journal.Entry{Hash: "01", Height: 1}); err == nil {
					t.Error("the first one's block counts as written")
				}
				time.Sleep(saveInterval + time.Second)
				synctest.Wait()
				if first.Trouble() == nil {
					t.Error("the first is told nothing")
				}
				j, err := journal.Open(filepath.Join(dir, "blocks.journal"))
				if err != nil {
					t.Fatal(err)
				}
				defer j.Close()
				if list := j.Pending(); len(list) != 1 || list[0].Hash != "02" {
					t.Errorf("in the journal: %+v", list)
				}
			})
		})
	}
}
