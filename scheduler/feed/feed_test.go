package feed

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"lode/scheduler/api"
)

func TestResumption(t *testing.T) {
	f := New(time.UnixMilli(1000))
	for i := range 3 {
		f.Add(api.Event{Type: fmt.Sprint(i)})
	}
	read := func(after string) (types []string) {
		w, err := f.Watch(after, false)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, e := range w.Next(ctx) {
			types = append(types, e.Type)
		}
		return types
	}
	first := f.events[0].ID
	for _, test := range []struct{ name, after, want string }{
		{"from now on", "", "[]"},
		{"everything", "0", "[0 1 2]"},
		{"behind the first", first, "[1 2]"},
		{"behind the last", f.events[2].ID, "[]"},
		{"of a scheduler of before", "abc-2", "[gap 0 1 2]"},
		{"of the future", f.id(99), "[gap 0 1 2]"},
		{"nonsense", "nonsense", "[gap 0 1 2]"},
	} {
		if got := fmt.Sprint(read(test.after)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	for range 3 * size {
		f.Add(api.Event{Type: "x"})
	}
	if got := read(first); len(got) == 0 || got[0] != TypeGap {
		t.Errorf("a watcher that was away for long is told %.3v", got)
	}
	if n := len(f.events); n > 2*size {
		t.Errorf("%d events are kept", n)
	}
}

func TestWatchersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(time.Now())
		w, err := f.Watch("", false)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Second)
			f.Add(api.Event{Type: "late"})
		}()
		if e := w.Next(t.Context()); len(e) != 1 || e[0].Type != "late" {
			t.Errorf("%v", e)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if e := w.Next(ctx); e != nil {
			t.Errorf("%v", e)
		}
		w.Close()
		for range mostWatchers - forOperators {
			if _, err := f.Watch("", false); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.Watch("", false); !errors.Is(err, ErrCrowded) {
			t.Error(err)
		}
		for range forOperators { // however many others watch
			if _, err := f.Watch("", true); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.Watch("", true); !errors.Is(err, ErrCrowded) {
			t.Error(err)
		}
	})
}
