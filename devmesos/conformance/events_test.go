package conformance

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestEventLogTakesEachEventOnce(t *testing.T) {
	l := newEventLog()
	l.push(Doc{"type": "A"})
	l.push(Doc{"type": "B"})
	l.push(Doc{"type": "A"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	for _, want := range []int{0, 2} {
		if e, ok := l.take(ctx, ofType("A")); !ok || e.N != want {
			t.Errorf("got %v %v, expected event %d", e, ok, want)
		}
	}
	if e, ok := l.take(ctx, ofType("A")); ok {
		t.Errorf("a third A: %v", e)
	}
	if e, ok := l.take(t.Context(), ofType("B")); !ok || e.N != 1 {
		t.Errorf("B, out of order: %v %v", e, ok)
	}
}

func TestEventLogWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newEventLog()
		go func() {
			time.Sleep(time.Hour)
			l.push(Doc{"type": "UPDATE", "update": Doc{"status": Doc{"task_id": value("t"), "state": "TASK_RUNNING"}}})
			l.end(nil)
		}()
		start := time.Now()
		if _, ok := l.take(t.Context(), update("t", "TASK_RUNNING")); !ok || time.Since(start) != time.Hour {
			t.Errorf("taken: %v, after %v", ok, time.Since(start))
		}
		if _, ok := l.take(t.Context(), update("t", "")); ok {
			t.Error("an event after the end of the stream")
		}
		if !l.waitEnd(t.Context()) {
			t.Error("the end is not seen")
		}
	})
}

func TestDocumentPaths(t *testing.T) {
	d := Doc{"a": Doc{"b": list(Doc{"c": "x"}, Doc{"c": 2.0})}}
	if got := text(d, "a.b.0.c"); got != "x" {
		t.Errorf("text %q", got)
	}
	if got := number(d, "a.b.1.c"); got != 2 {
		t.Errorf("number %v", got)
	}
	for _, path := range []string{"", "x", "a.b.2", "a.b.-1", "a.b.x", "a.b.0.c.d"} {
		if has(d, path) {
			t.Errorf("%q is there", path)
		}
	}
	copied := transform(d, func(s string) string { return s + s })
	if text(copied, "a.b.0.c") != "xx" || text(d, "a.b.0.c") != "x" {
		t.Error("transform changed its argument, or nothing")
	}
	if r := list(scalar("cpus", 0.1), scalar("cpus", 0.2), merge(scalar("cpus", 4), Doc{"revocable": Doc{}})); amount(r, "cpus") != 300 {
		t.Errorf("amount %d", amount(r, "cpus"))
	}
}
