package nodesource

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"lode/pool/node"
	"lode/pool/template"
)

// TestFastClock: a node whose clock is far ahead takes blocks of its time, and nobody else
// does. Jobs have an earlier one, but none before mintime, and people hear of it once.
func TestFastClock(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	const base = 1_700_000_000
	mainnet, testnet := node.Networks()[0], node.Networks()[1]
	for name, c := range map[string]struct {
		network          node.Network
		current, mintime uint32
		fixed            bool
		want             uint32
		warned           bool
	}{
		"right":              {mainnet, base + 3, base - 3000, false, base + 3, false},
		"a bit ahead":        {mainnet, base + 3600, base - 3000, false, base + 3600, false},
		"far ahead":          {mainnet, base + 10_000, base - 3000, false, base + 3600, true},
		"ours is behind":     {mainnet, base + 10_000, base + 7000, false, base + 7000, true},
		"the chain is ahead": {testnet, base + 5000, base + 5000, false, base + 5000, false},
		"no other time":      {mainnet, base + 10_000, base - 3000, true, base + 10_000, true},
		"late, on a testnet": {testnet, base + 10_000, base + 5001, false, base + 5001, true}, // the rule's bound
		"long ago":           {mainnet, base - 10_000, base - 13_000, false, base - 10_000, false},
		"the last of 32 bit": {mainnet, 1<<32 - 1, base - 3000, false, base + 3600, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			s, _ := f.source(t, nil)
			var log strings.Builder
			s.log, s.network = slog.New(slog.NewTextHandler(&log, nil)), c.network
			given := &template.Template{Height: 500, Bits: 0x1d00ffff, CurrentTime: c.current, MinTime: c.mintime, FixedTime: c.fixed}
			for range 3 {
				if got := s.boundClock(given, now); max(got.CurrentTime, got.MinTime) != c.want || given.CurrentTime != c.current {
					t.Errorf("time %+d, want %+d", int64(got.CurrentTime)-base, int64(c.want)-base)
				}
			}
			want := 0
			if c.warned {
				want = 1
			}
			if n := strings.Count(log.String(), "check the clocks"); n != want {
				t.Errorf("warned %d times, want %d: %s", n, want, &log)
			}
		})
	}
}

// TestOthersTime: work that other nodes would refuse for its time is not begun.
func TestOthersTime(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	const base = 1_700_000_000
	for name, c := range map[string]struct {
		current, mintime uint32
		fixed, ok        bool
	}{
		"any time that is right":   {base + 10_000, base - 3000, false, true},
		"one that is too late":     {base + 10_000, base - 3000, true, false},
		"one that is right":        {base + 7000, base - 3000, true, true},
		"the least is too late":    {base, base + 7201, false, false},
		"the least is just right":  {base, base + 7200, false, true},
		"one, of 1970, before all": {0, base - 3000, true, true},
	} {
		err := checkTime(&template.Template{CurrentTime: c.current, MinTime: c.mintime, FixedTime: c.fixed}, now)
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "check the clocks") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
