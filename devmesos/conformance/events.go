package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Event is one event of a stream as it was received.
type Event struct {
	N    int // position in its stream, from 0
	At   time.Time
	Type string
	Doc  Doc // the whole event
}

func (e Event) String() string {
	s := fmt.Sprintf("#%d %s", e.N, e.Type)
	for _, p := range []string{
		"update.status.task_id.value", "update.status.state", "update.status.reason", "update.status.message",
		"error.message", "rescind.offer_id.value", "failure.executor_id.value", "kill.task_id.value", "launch.task.task_id.value",
	} {
		if t := text(e.Doc, p); t != "" {
			s += " " + fmt.Sprintf("%.120q", t)
		}
	}
	return s
}

// eventLog collects the events of one stream. Each event is taken at most once.
type eventLog struct {
	mu      sync.Mutex
	events  []Event
	taken   map[int]bool
	ended   bool
	err     error
	changed chan struct{} // closed and replaced at each change
}

func newEventLog() *eventLog {
	return &eventLog{taken: map[int]bool{}, changed: make(chan struct{})}
}

func (l *eventLog) signal() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *eventLog) push(d Doc) Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := Event{N: len(l.events), At: time.Now(), Type: text(d, "type"), Doc: d}
	l.events = append(l.events, e)
	l.signal()
	return e
}

func (l *eventLog) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended, l.err = true, err
		l.signal()
	}
}

// take waits for the first event not yet taken that match accepts. An ended stream
// is searched once more and then given up.
func (l *eventLog) take(ctx context.Context, match func(Event) bool) (Event, bool) {
	for {
		l.mu.Lock()
		for _, e := range l.events {
			if !l.taken[e.N] && match(e) {
				l.taken[e.N] = true
				l.mu.Unlock()
				return e, true
			}
		}
		ended, changed := l.ended, l.changed
		l.mu.Unlock()
		if ended {
			return Event{}, false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, false
		}
	}
}

// has reports whether an event that match accepts has come, taken or not.
func (l *eventLog) has(match func(Event) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.events, match)
}

// waitEnd waits for the end of the stream.
func (l *eventLog) waitEnd(ctx context.Context) bool {
	for {
		l.mu.Lock()
		ended, changed := l.ended, l.changed
		l.mu.Unlock()
		if ended {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// String lists the last events for a failure message.
func (l *eventLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	from := max(0, len(l.events)-25)
	for _, e := range l.events[from:] {
		mark := " "
		if l.taken[e.N] {
			mark = "✓"
		}
		fmt.Fprintf(&b, "\n\t%s %v", mark, e)
	}
	if l.ended {
		fmt.Fprintf(&b, "\n\t  end of stream (%v)", l.err)
	}
	return b.String()
}

// matchers

func ofType(t string) func(Event) bool { return func(e Event) bool { return e.Type == t } }

// launched matches the LAUNCH of the task.
func launched(task string) func(Event) bool {
	return func(e Event) bool {
		return e.Type == "LAUNCH" && text(e.Doc, "launch.task.task_id.value") == task
	}
}

// update matches an UPDATE of the task in the state ("" = any).
func update(task, state string) func(Event) bool {
	return func(e Event) bool {
		return e.Type == "UPDATE" && text(e.Doc, "update.status.task_id.value") == task &&
			(state == "" || text(e.Doc, "update.status.state") == state)
	}
}

func failure(agent, executor string) func(Event) bool {
	return func(e Event) bool {
		return e.Type == "FAILURE" && text(e.Doc, "failure.agent_id.value") == agent &&
			text(e.Doc, "failure.executor_id.value") == executor
	}
}
