package pool

import (
	"testing"
	"testing/synctest"
	"time"

	"lode/stratum"
)

// TestRefusingPool: a pool that refuses every share for a minute is left for a while.
// A share that it takes, or too few shares to tell, clear it.
func TestRefusingPool(t *testing.T) {
	refused := &stratum.Error{Code: stratum.CodeLowDifficulty, Text: "Low difficulty"}
	for name, c := range map[string]struct {
		shares   int // refused, 10 s apart
		accepted bool
		trusted  bool
	}{
		"ten in 100 s":            {shares: 11},
		"few":                     {shares: 9, trusted: true},
		"one accepted among them": {shares: 11, accepted: true, trusted: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := bench(t, Config{})
				s := &poolSource{p: p, lastGood: time.Now()}
				for i := range c.shares {
					time.Sleep(10 * time.Second)
					var verdict error = refused
					if c.accepted && i == c.shares-2 {
						verdict = nil
					}
					s.answered(&flight{}, verdict)
				}
				if err := s.trusted(); (err == nil) != c.trusted {
					t.Fatalf("after %d shares: %v", c.shares, err)
				}
				if c.trusted {
					return
				}
				if s.over() {
					t.Error("trusted again at once")
				}
				time.Sleep(distrustTime)
				if !s.over() || s.trusted() != nil {
					t.Error("not trusted again")
				}
			})
		})
	}
}
