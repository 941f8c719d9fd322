// Package feed keeps the newest events of a scheduler for those who watch: each has
// an id, and a watcher that was away goes on where it stopped.
//
//	f := feed.New(time.Now())
//	f.Add(event)
//	w, err := f.Watch(lastID, false)
//	defer w.Close()
//	events := w.Next(ctx)
package feed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"lode/scheduler/api"
)

const (
	// size is how many events are kept.
	size = 10_000
	// mostWatchers bounds those who watch at once; the last places are for operators.
	mostWatchers, forOperators = 256, 64
	// TypeGap is the type of the event that says that events were missed: the watcher
	// was away for too long, or the scheduler was restarted.
	TypeGap = "gap"
)

// ErrCrowded says that too many watch already.
var ErrCrowded = errors.New("too many watch the events already")

// Feed keeps events. A watcher that is slow costs nothing and misses events.
type Feed struct {
	session string

	mu       sync.Mutex // guards the rest
	events   []api.Event
	next     uint64        // number of the next event; the first is 1
	changed  chan struct{} // closed at the next event
	watchers int
}

// New returns a Feed whose ids differ from those of one that began at another time.
func New(begin time.Time) *Feed {
	return &Feed{session: strconv.FormatInt(begin.UnixMilli(), 36), next: 1, changed: make(chan struct{})}
}

// Add gives an event its id and keeps it.
func (f *Feed) Add(e api.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.ID = f.id(f.next)
	f.next++
	if len(f.events) == 2*size { // half is thrown away at once
		f.events = append(f.events[:0:0], f.events[size:]...)
	}
	f.events = append(f.events, e)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *Feed) id(n uint64) string { return fmt.Sprintf("%s-%d", f.session, n) }

// Watcher reads a Feed. It is of one goroutine.
type Watcher struct {
	feed *Feed
	at   uint64 // number of the next event to read
	gap  bool
}

// Watch begins behind the event with the id; "": with the next event, "0": with the
// oldest that is kept.
func (f *Feed) Watch(after string, operator bool) (*Watcher, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	most := mostWatchers
	if !operator {
		most -= forOperators
	}
	if f.watchers >= most {
		return nil, ErrCrowded
	}
	w := &Watcher{feed: f, at: f.next}
	switch after {
	case "":
	case "0":
		w.at = f.first()
	default:
		session, number, _ := strings.Cut(after, "-")
		n, err := strconv.ParseUint(number, 10, 64)
		w.at = f.first()
		if err != nil || session != f.session || n >= f.next {
			w.gap = true
		} else if n+1 < w.at {
			w.gap = true
		} else {
			w.at = n + 1
		}
	}
	f.watchers++
	return w, nil
}

func (f *Feed) first() uint64 { return f.next - uint64(len(f.events)) }

// Close ends the watch.
func (w *Watcher) Close() {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	w.feed.watchers--
}

// most is how many events Next returns at once.
const most = 500

// Next waits for events. It returns none when ctx ends.
func (w *Watcher) Next(ctx context.Context) []api.Event {
	f := w.feed
	for {
		f.mu.Lock()
		var events []api.Event
		if first := f.first(); w.at < first {
			w.at, w.gap = first, true
		}
		if w.gap {
			w.gap = false
			events = append(events, api.Event{
				ID: f.id(w.at - 1), Time: time.Now(), Type: TypeGap, Message: "events before this one were missed",
			})
		}
		begin := int(w.at - f.first())
		end := min(len(f.events), begin+most)
		events = append(events, f.events[begin:end]...)
		w.at += uint64(end - begin)
		changed := f.changed
		f.mu.Unlock()
		if len(events) > 0 {
			return events
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
