package blocks

import (
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// TestBrake: the least interval between blocks, and the bound for one previous block.
func TestBrake(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	one, other := chainhash.Hash{1}, chainhash.Hash{2}
	b := Brake{Interval: 10 * time.Second}
	for i, step := range []struct {
		after time.Duration
		on    chainhash.Hash
		want  bool
	}{{0, one, true}, {9 * time.Second, other, false}, {time.Second, other, true}, {time.Second, other, false}} {
		now = now.Add(step.after)
		if got := b.Allow(now, step.on); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	b = Brake{}
	for i := range perTip + 1 {
		if got := b.Allow(now, one); got != (i < perTip) {
			t.Errorf("block %d on one tip: %v", i+1, got)
		}
	}
	if !b.Allow(now, other) {
		t.Error("the next tip is shut")
	}
	// The node may have refused all of them for something that is mended since: who mines
	// alone waits for a block that nobody else finds.
	for range perTip {
		b.Allow(now, one)
	}
	for range 3 {
		if now = now.Add(tipPatience - 1); b.Allow(now, one) {
			t.Error("one more too soon")
		}
		if now = now.Add(1); !b.Allow(now, one) {
			t.Error("the tip is shut for good")
		}
	}
}
