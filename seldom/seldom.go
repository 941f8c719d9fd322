// Package seldom keeps a log readable when something bad happens again and again: of
// the warnings and errors with the same message only the first few a minute are
// written, and the next one that is says how many were left out.
//
//	log := slog.New(seldom.Handler(handler))
//
// Messages are constant by the rules of this project, so their number is bounded. Less
// severe records pass as they are.
package seldom

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// most is how many records with the same message are written in a window.
	most   = 10
	window = time.Minute
	// mostMessages bounds the memory should messages not be constant after all.
	mostMessages = 1000
)

// Handler returns a handler that hands on to next what is not too much.
func Handler(next slog.Handler) slog.Handler {
	return handler{next: next, seen: &seen{messages: make(map[string]*count)}}
}

type handler struct {
	next slog.Handler
	seen *seen // shared by those that With makes
}

type seen struct {
	mu       sync.Mutex
	messages map[string]*count
}

type count struct {
	since            time.Time
	written, leftOut int
}

func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.next.WithAttrs(attrs), h.seen}
}

func (h handler) WithGroup(name string) slog.Handler { return handler{h.next.WithGroup(name), h.seen} }

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return h.next.Handle(ctx, r)
	}
	leftOut, write := h.seen.count(r.Message, r.Time)
	if !write {
		return nil
	}
	if leftOut > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("left_out_before", leftOut))
	}
	return h.next.Handle(ctx, r)
}

func (s *seen) count(message string, now time.Time) (leftOut int, write bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.messages[message]
	if c == nil {
		if len(s.messages) >= mostMessages {
			clear(s.messages)
		}
		c = &count{since: now}
		s.messages[message] = c
	}
	if d := now.Sub(c.since); d >= window || d < 0 {
		leftOut = c.leftOut
		*c = count{since: now}
	}
	if c.written >= most {
		c.leftOut++
		return 0, false
	}
	c.written++
	return leftOut, true
}
