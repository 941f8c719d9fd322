package accounts_test

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lode/pool/accounts"
)

func TestRates(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	b := accounts.New(func() time.Time { return now })
	w := b.Worker("rig")
	w.Connected()
	// 1 TH/s: a share of difficulty 1000 each 4.295 s.
	const rate = 1e12
	every := 1000 * 0x1p48 / 0xffff / rate
	for range 2000 {
		now = now.Add(time.Duration(every * float64(time.Second)))
		w.Share(now, accounts.Accepted, 1000, 1500, accounts.Device{})
	}
	r := b.Ranking()[0].Report()
	for window, got := range map[string]float64{"1m": r.Hashrate1m, "5m": r.Hashrate5m, "1h": r.Hashrate1h} {
		if math.Abs(got/rate-1) > 0.05 {
			t.Errorf("%s: %.3g H/s, want %.3g", window, got, rate)
		}
	}
	now = now.Add(10 * time.Minute)
	r = b.Ranking()[0].Report()
	if r.Hashrate1m > rate/1000 || r.Hashrate1h < rate/2 {
		t.Errorf("ten minutes later: %.3g %.3g", r.Hashrate1m, r.Hashrate1h)
	}
	// A young worker's rate is not an hour's average.
	young := b.Worker("young")
	for range 20 {
		now = now.Add(time.Duration(every * float64(time.Second)))
		young.Share(now, accounts.Accepted, 1000, 0, accounts.Device{})
	}
	for _, w := range b.Ranking() {
		r := w.Report()
		if r.Worker == "young" && (r.Hashrate5m < rate/2 || r.Hashrate5m > rate*2) {
			t.Errorf("young: %.3g over five minutes", r.Hashrate5m)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	clock := func() time.Time { return now }
	path := filepath.Join(t.TempDir(), "accounts.json")
	b := accounts.New(clock)
	if err := b.Load(path); err != nil {
		t.Fatalf("no file yet: %v", err)
	}
	w := b.Worker("rig")
	w.Share(now, accounts.Accepted, 2, 17, accounts.Device{})
	w.Share(now, accounts.Stale, 3, 0, accounts.Device{})
	w.Block()
	if err := b.Save(path); err != nil {
		t.Fatal(err)
	}
	c := accounts.New(clock)
	if err := c.Load(path); err != nil {
		t.Fatal(err)
	}
	r := c.Ranking()[0].Report()
	if r.Worker != "rig" || r.Tallies["accepted"] != (accounts.Tally{Shares: 1, Difficulty: 2}) ||
		r.Tallies["stale"] != (accounts.Tally{Shares: 1, Difficulty: 3}) || r.BestShare != 17 || r.Blocks != 1 || r.Connections != 0 {
		t.Errorf("%+v", r)
	}
	if got := c.Total().Tallies["accepted"].Shares; got != 1 {
		t.Errorf("total %d", got)
	}
	if d := c.Worker("rig").StartDifficulty(accounts.Device{}); d != 2 {
		t.Errorf("last difficulty %g", d)
	}
	now = now.Add(6 * 24 * time.Hour)
	if err := c.Save(path); err != nil || len(c.Ranking()) != 1 {
		t.Errorf("six days later: %d workers, %v", len(c.Ranking()), err)
	}
	// A week later the worker is forgotten, its shares are not.
	now = now.Add(2 * 24 * time.Hour)
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	if n := len(c.Ranking()); n != 0 || c.Total().Tallies["accepted"].Shares != 1 {
		t.Errorf("%d workers, total %+v", n, c.Total())
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := accounts.New(clock).Load(path); err == nil {
		t.Error("a broken file was taken")
	}
}

// TestRestart: what a worker has to show outlives a restart: its best share, when the last one
// came, and the rate of an hour.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.json")
	now := time.Unix(1_700_000_000, 0)
	clock := func() time.Time { return now }
	b := accounts.New(clock)
	for _, reached := range []float64{5, 70, 6} {
		b.Worker("w").Share(now, accounts.Accepted, 1000, reached, accounts.Device{})
		now = now.Add(20 * time.Minute)
	}
	before := b.Worker("w").Report()
	if err := b.Save(path); err != nil {
		t.Fatal(err)
	}
	again := accounts.New(clock)
	if err := again.Load(path); err != nil {
		t.Fatal(err)
	}
	for _, r := range []accounts.Report{again.Worker("w").Report(), again.Total()} {
		if r.BestShare != 70 || !r.LastShare.Equal(now.Add(-20*time.Minute)) || r.Hashrate1h != before.Hashrate1h || r.Hashrate1h == 0 {
			t.Errorf("%+v, before the restart %+v", r, before)
		}
	}
	now = now.Add(-24 * time.Hour) // the clock was ahead
	again = accounts.New(clock)
	if err := again.Load(path); err != nil {
		t.Fatal(err)
	}
	if r := again.Worker("w").Report(); !r.LastShare.Equal(now) || r.Hashrate1h != 0 {
		t.Errorf("from a clock that was ahead: %+v", r)
	}
}

// TestLoadIsBounded: a file of however many workers, of another program say, leaves no more
// than the book holds.
func TestLoadIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.json")
	text := []byte(`{"version":1,"total":{"shares":{"accepted":{"shares":7}}},"workers":[{"name":"w"}`)
	for i := range 30_000 {
		text = fmt.Appendf(text, `,{"name":"w%d"}`, i)
	}
	if err := os.WriteFile(path, append(text, "]}"...), 0o600); err != nil {
		t.Fatal(err)
	}
	b := accounts.New(time.Now)
	if err := b.Load(path); err != nil {
		t.Fatal(err)
	}
	if n := len(b.Ranking()); n != 20_000 || b.Total().Tallies["accepted"].Shares != 7 {
		t.Errorf("%d workers, %+v", n, b.Total())
	}
}

// TestImpossibleNumbers: a spoilt file that still reads as one is none if its numbers cannot have
// been counted. With infinite ones, which they become, no book can be saved or shown any more.
func TestImpossibleNumbers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.json")
	for text, good := range map[string]bool{
		`"best_share":1e66`:      true,
		`"best_share":1e306`:     false,
		`"best_share":-1`:        false,
		`"rate_1h":1e15`:         true,
		`"rate_1h":1e306`:        false,
		`"rate_1h":-1`:           false,
		`"last_difficulty":1e12`: true,
		`"last_difficulty":-1`:   false,
		`"start_difficulty":-1`:  false,
		`"shares":{"accepted":{"shares":1,"difficulty":1e30}}`: true,
		`"shares":{"stale":{"shares":1,"difficulty":1e307}}`:   false,
		`"shares":{"stale":{"shares":1,"difficulty":-1}}`:      false,
	} {
		for _, book := range []string{`{"version":1,"workers":[{"name":"w",%s}]}`, `{"version":1,"total":{%s}}`} {
			if err := os.WriteFile(path, fmt.Appendf(nil, book, text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := accounts.New(time.Now).Load(path); (err == nil) != good {
				t.Errorf("%s: %v", fmt.Sprintf(book, text), err)
			}
		}
	}
}

// TestRanking: the fastest come first, and of the equally fast the names decide.
func TestRanking(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	b := accounts.New(func() time.Time { return now })
	for name, difficulty := range map[string]float64{"slow": 1, "fast": 100, "b": 10, "a": 10, "c": 10} {
		b.Worker(name).Share(now, accounts.Accepted, difficulty, difficulty, accounts.Device{})
	}
	b.Worker("none").Share(now, accounts.Stale, 1e6, 1e6, accounts.Device{})
	var order []string
	for _, w := range b.Ranking() {
		order = append(order, w.Name())
	}
	if got := strings.Join(order, " "); got != "fast a b c slow none" {
		t.Error(got)
	}
}

// TestConnections: a worker is connected from its first connection to the end of its last one.
func TestConnections(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	b := accounts.New(func() time.Time { return now })
	w := b.Worker("w")
	begin := now
	for i, step := range []struct {
		do    func()
		count int
		since time.Time
	}{
		{func() {}, 0, time.Time{}},
		{w.Connected, 1, begin.Add(time.Minute)},
		{w.Connected, 2, begin.Add(time.Minute)},
		{w.Disconnected, 1, begin.Add(time.Minute)},
		{w.Disconnected, 0, time.Time{}},
		{w.Connected, 1, begin.Add(5 * time.Minute)},
	} {
		step.do()
		for _, r := range []accounts.Report{w.Report(), b.Total()} {
			if r.Connections != step.count || !r.ConnectedSince.Equal(step.since) {
				t.Errorf("step %d: %d connections since %v, want %d since %v", i, r.Connections, r.ConnectedSince, step.count, step.since)
			}
		}
		now = now.Add(time.Minute)
	}
}

func TestManyNames(t *testing.T) {
	b := accounts.New(time.Now)
	for i := range 30_000 {
		b.Worker(fmt.Sprint("w", i)).Share(time.Now(), accounts.Accepted, 1, 1, accounts.Device{})
	}
	if n := len(b.Ranking()); n > 20_001 {
		t.Errorf("%d accounts", n)
	}
	if got := b.Total().Tallies["accepted"].Shares; got != 30_000 {
		t.Errorf("total %d", got)
	}
}

// TestNamesOfStrangers: names without a share, however many, take nobody's account; and an
// account that lost its place gets it back with its next share, and is one.
func TestNamesOfStrangers(t *testing.T) {
	now := time.Now()
	b := accounts.New(time.Now)
	honest := b.Worker("honest")
	honest.Share(now, accounts.Accepted, 1, 1, accounts.Device{})
	early := b.Worker("early")
	early.Connected()
	var lost []*accounts.Worker
	for i := range 10 {
		lost = append(lost, b.Worker(fmt.Sprint("lost", i)))
	}
	strangers := make([]*accounts.Worker, 40_000)
	for i := range strangers {
		strangers[i] = b.Worker(fmt.Sprint("stranger", i))
	}
	find := func(name string) *accounts.Report {
		for _, w := range b.Ranking() {
			if w.Name() == name {
				r := w.Report()
				return &r
			}
		}
		return nil
	}
	if find("honest") == nil {
		t.Error("the honest worker's account is gone")
	}
	for _, w := range lost {
		if w.Share(now, accounts.Accepted, 1, 1, accounts.Device{}); find(w.Name()) == nil {
			t.Errorf("%s has no account after a share", w.Name())
		}
	}
	// The early one has no share yet and may have lost its place. Somebody else logs in
	// with its name, and both count for one account.
	again := b.Worker("early")
	again.Connected()
	for range 3 {
		early.Share(now, accounts.Accepted, 2, 2, accounts.Device{})
		again.Share(now, accounts.Accepted, 2, 2, accounts.Device{})
	}
	early.Disconnected()
	r := find("early")
	if r == nil {
		t.Fatal("a worker with shares has no account")
	}
	// If there were two accounts for a while, shares of that while are in one of them only.
	if got := r.Tallies["accepted"].Shares; got < 5 || r.Connections != 1 {
		t.Errorf("%d shares of 6, %d connections", got, r.Connections)
	}
	// Those who have done more take the places of those who have done less.
	for _, w := range strangers {
		w.Share(now, accounts.Accepted, 1e-6, 1, accounts.Device{})
	}
	if find("honest") == nil || find("early") == nil {
		t.Error("easy shares of strangers took the accounts of others")
	}
	if n := len(b.Ranking()); n > 20_000 {
		t.Errorf("%d accounts", n)
	}
	if got := b.Total().Tallies["accepted"].Shares; got != 1+10+6+40_000 {
		t.Errorf("total of %d shares", got)
	}
}

// TestNamesAreNotSaved: of names that are connected and never had a share accepted nothing is
// written, however many they are; they stay in the book, and whoever has gone does not.
func TestNamesAreNotSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.json")
	b := accounts.New(time.Now)
	b.Worker("honest").Share(time.Now(), accounts.Accepted, 1, 1, accounts.Device{})
	for i := range 1000 {
		w := b.Worker(fmt.Sprint("stranger", i))
		w.Connected()
		w.Share(time.Now(), accounts.LowDifficulty, 1, 1, accounts.Device{})
		if i%2 == 0 {
			w.Disconnected()
		}
	}
	if err := b.Save(path); err != nil {
		t.Fatal(err)
	}
	if n := len(b.Ranking()); n != 501 {
		t.Errorf("%d accounts, want those of the connected and of the honest one", n)
	}
	saved := accounts.New(time.Now)
	if err := saved.Load(path); err != nil {
		t.Fatal(err)
	}
	if list := saved.Ranking(); len(list) != 1 || list[0].Name() != "honest" {
		t.Errorf("%d accounts were saved", len(list))
	}
	if n := saved.Total().Tallies["low_difficulty"].Shares; n != 1000 {
		t.Errorf("total of %d refused shares", n)
	}
}

// TestFullOfWork: where all accounts have work done, new names take none of them.
func TestFullOfWork(t *testing.T) {
	now := time.Now()
	b := accounts.New(time.Now)
	for i := range 20_000 {
		b.Worker(fmt.Sprint("w", i)).Share(now, accounts.Accepted, 1, 1, accounts.Device{})
	}
	for i := range 1000 {
		b.Worker(fmt.Sprint("stranger", i)).Share(now, accounts.LowDifficulty, 1e9, 1e9, accounts.Device{})
	}
	honest := 0
	for _, w := range b.Ranking() {
		if strings.HasPrefix(w.Name(), "w") {
			honest++
		}
	}
	if honest != 20_000 {
		t.Errorf("%d of 20000 accounts with work are left", honest)
	}
}

// TestClockWasSetBack: what a clock of the future wrote is no reason for a rate that never
// decays again.
func TestClockWasSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.json")
	now := time.Unix(1_700_000_000, 0)
	b := accounts.New(func() time.Time { return now })
	for range 60 {
		b.Worker("w").Share(now, accounts.Accepted, 1000, 1000, accounts.Device{})
		now = now.Add(time.Minute)
	}
	if err := b.Save(path); err != nil {
		t.Fatal(err)
	}
	want := b.Worker("w").Report().Hashrate1h
	now = now.Add(-365 * 24 * time.Hour)
	b = accounts.New(func() time.Time { return now })
	if err := b.Load(path); err != nil {
		t.Fatal(err)
	}
	for range 120 {
		b.Worker("w").Share(now, accounts.Accepted, 1000, 1000, accounts.Device{})
		now = now.Add(time.Minute)
	}
	for _, r := range []accounts.Report{b.Worker("w").Report(), b.Total()} {
		if r.Hashrate1h > 1.3*want || r.Hashrate1h < want/1.3 || r.Tallies["accepted"].Shares != 180 || r.LastShare.After(now) {
			t.Errorf("%g H/s, want %g: %+v", r.Hashrate1h, want, r)
		}
	}
}

// TestStart: a worker begins with what it had last at its address. Who uses its name elsewhere
// does not change that, also over a restart.
func TestStart(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	clock := func() time.Time { return now }
	home := accounts.Device{Address: netip.MustParseAddr("192.0.2.1"), Kind: "axe"}
	for _, other := range []accounts.Device{{netip.MustParseAddr("192.0.2.2"), "axe"}, {home.Address, "nerdminer"}, {home.Address, ""}} {
		testStart(t, clock, &now, home, other)
	}
}

func testStart(t *testing.T, clock func() time.Time, now *time.Time, home, other accounts.Device) {
	b := accounts.New(clock)
	w := b.Worker("w")
	expect := func(when string, wantHome, wantOther float64) {
		t.Helper()
		if h, o := w.StartDifficulty(home), w.StartDifficulty(other); h != wantHome || o != wantOther {
			t.Errorf("%s: %g, elsewhere %g; want %g and %g", when, h, o, wantHome, wantOther)
		}
	}
	share := func(difficulty float64, from accounts.Device) {
		w.Share(*now, accounts.Accepted, difficulty, difficulty, from)
	}
	expect("at first", 0, 0)
	share(1000, home)
	share(1e-6, other)
	w.Share(*now, accounts.Stale, 7, 7, home)
	expect("with a stranger", 1000, 0)
	path := filepath.Join(t.TempDir(), "accounts.json")
	if err := b.Save(path); err != nil {
		t.Fatal(err)
	}
	b = accounts.New(clock)
	if err := b.Load(path); err != nil {
		t.Fatal(err)
	}
	w = b.Worker("w")
	expect("after a restart", 1000, 0)
	*now = now.Add(59 * time.Minute)
	share(1e-6, other)
	expect("within the hour", 1000, 0)
	*now = now.Add(time.Minute)
	share(5, other)
	expect("after it", 0, 5)
	if d := w.Report().LastDifficulty; d != 5 {
		t.Errorf("last difficulty %g", d)
	}
}
