package nodesource

import (
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/node"
	"lode/pool/template"
)

// TestLateBlocks: on testnets the bits of a block depend on its time. No share has a time
// for which the bits of its job are wrong.
func TestLateBlocks(t *testing.T) {
	const tip = 1_700_000_000
	const limit = tip + 1200 // the last second of the usual bits
	for name, c := range map[string]struct {
		now, mintime, maxtime uint32
		good, bad             []uint32
		crosses               uint32
	}{
		"young":                {limit - 500, tip - 3000, 0, []uint32{tip - 3000, limit - 500, limit}, []uint32{tip - 3001, limit + 1, limit + 5000}, 501},
		"at the limit":         {limit, tip - 3000, 0, []uint32{limit}, []uint32{limit + 1}, 1},
		"late":                 {limit + 1, tip - 3000, 0, []uint32{limit + 1, limit + 7001}, []uint32{limit, tip, limit + 7002}, 0},
		"late, by mintime":     {limit - 5, limit + 7, 0, []uint32{limit + 7}, []uint32{limit + 6}, 0},
		"maxtime before that":  {limit - 500, tip, limit - 100, []uint32{limit - 100}, []uint32{limit - 99}, 501},
		"maxtime after that":   {limit - 500, tip, limit + 100, []uint32{limit}, []uint32{limit + 1}, 501},
		"late, with a mintime": {limit + 60, limit + 30, 0, []uint32{limit + 30}, []uint32{limit + 29}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			given := &template.Template{Height: 500, Bits: 0x1d00ffff, CurrentTime: c.now, MinTime: c.mintime, MaxTime: c.maxtime}
			before := *given
			bounded, crosses := bound(given, tip)
			if given.MinTime != before.MinTime || given.MaxTime != before.MaxTime {
				t.Error("the template of the node was changed")
			}
			if crosses != c.crosses {
				t.Errorf("crosses in %d s, want %d", crosses, c.crosses)
			}
			w, err := bench(t).work(bounded, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			for _, ntime := range c.good {
				if err := w.TimeError(ntime); err != nil {
					t.Errorf("time %+d of the limit: %v", int64(ntime)-limit, err)
				}
			}
			for _, ntime := range c.bad {
				if w.TimeError(ntime) == nil {
					t.Errorf("time %+d of the limit was taken", int64(ntime)-limit)
				}
			}
		})
	}
}

// TestTipUnknown: where the node does not say when its tip was made, shares have the time of
// the template: it knew what bits are right then.
func TestTipUnknown(t *testing.T) {
	testnet := node.Networks()[1]
	f := &fake{headers: map[string]string{
		chainhash.Hash{1}.String(): `{"confirmations":1,"height":499,"time":1700000000,"mediantime":1,"bits":"1d00ffff"}`,
		chainhash.Hash{3}.String(): `{"confirmations":-1,"bits":"1d00ffff"}`,
	}}
	s, _ := f.source(t, nil)
	s.network = testnet
	defer func() {
		if s.crossing != nil {
			s.crossing.Stop()
		}
	}()
	for tip, fixed := range map[byte]bool{1: false, 2: true, 3: true} {
		given := &template.Template{Height: 500, Bits: 0x1d00ffff, PreviousHash: chainhash.Hash{tip}, CurrentTime: 1_700_000_500, MinTime: 1_699_999_000}
		got := s.boundTime(t.Context(), given)
		if got.FixedTime != fixed || given.FixedTime || (got.MaxTime == 1_700_001_200) == fixed {
			t.Errorf("tip %d: %+v", tip, got)
		}
	}
}

func TestEasyWhenLate(t *testing.T) {
	want := map[string]bool{"mainnet": false, "testnet3": true, "testnet4": true, "signet": false, "simnet": true, "regtest": false}
	for _, cousin := range []string{"bitcoincash-testnet3", "bitcoincash-testnet4", "ecash-testnet3"} {
		want[cousin] = true
	}
	for _, n := range node.Networks() {
		// Bitcoin has usual bits at a retarget; its cousins do not know any.
		if n.EasyWhenLate(500) != want[n.Name] || n.EasyWhenLate(2016) != (want[n.Name] && strings.Contains(n.Name, "-")) {
			t.Errorf("%s: %v at height 500, %v at a retarget", n.Name, n.EasyWhenLate(500), n.EasyWhenLate(2016))
		}
	}
}
