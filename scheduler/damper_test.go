package scheduler

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"lode/scheduler/rule"
)

func TestDamper(t *testing.T) {
	const yes, no, unknown = rule.True, rule.False, rule.Unknown
	type look struct {
		after time.Duration // of the one before
		truth rule.Truth
		pause bool
	}
	for name, looks := range map[string][]look{
		"a pause begins and ends at once": {{0, no, false}, {time.Hour, yes, true}, {time.Second, no, false}},
		"what is not known changes nothing": {
			{0, unknown, false},
			{time.Second, yes, true},
			{time.Hour, unknown, true},
			{time.Second, no, false},
			{time.Hour, unknown, false},
		},
		"the second pause in a minute lasts": {
			{0, yes, true},
			{time.Second, no, false},
			{30 * time.Second, yes, true},
			{time.Second, no, true},
			{time.Second, no, true},
			{time.Second, no, false},
		},
		"a rule that holds again meanwhile": {
			{0, yes, true},
			{time.Second, no, false},
			{time.Second, yes, true},
			{time.Second, no, true},
			{time.Second, yes, true},
			{time.Second, no, true},
			{time.Second, no, true},
			{time.Second, no, false},
		},
		"it is forgotten": {
			{0, yes, true},
			{time.Second, no, false},
			{time.Second, yes, true},
			{time.Second, no, true},
			{dampFirst, no, false},
			{dampForget, yes, true},
			{time.Second, no, false},
		},
		"but not soon": {
			{0, yes, true},
			{time.Second, no, false},
			{time.Second, yes, true},
			{time.Second, no, true},
			{dampFirst, no, false},
			{dampForget - time.Second, yes, true},
			{time.Second, no, true},
			{dampFirst, no, false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var d damper
			now := time.Unix(1e9, 0)
			for i, l := range looks {
				now = now.Add(l.after)
				if got := d.see(now, l.truth); got != l.pause {
					t.Fatalf("look %d: %v", i, got)
				}
			}
		})
	}
}

// However a rule goes to and fro, a cluster changes a few times and then each two minutes at
// most, and it is always paused while the rule holds.
func TestDamperBoundsChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d damper
		now, was, changes := time.Unix(1e9, 0), false, 0
		const looks = 5 * 3600
		period := rapid.IntRange(1, 300).Draw(t, "period")
		for i := range looks { // five a second, for an hour
			now = now.Add(200 * time.Millisecond)
			truth := rule.False
			if i/period%2 == 0 {
				truth = rule.True
			}
			got := d.see(now, truth)
			if truth == rule.True && !got {
				t.Fatal("it hashes while the rule holds")
			}
			if got != was {
				changes++
				was = got
			}
		}
		if limit := 2*(3600/120) + 20; changes > limit {
			t.Errorf("%d changes in an hour by a rule that changes each %d looks", changes, period)
		}
	})
}
