// Package boundlog keeps a program's log small: a sandbox of Mesos is never
// rotated by default, and an executor may run for months.
//
//	w := boundlog.NewWriter(os.Stderr, 10<<20)
//	log := slog.New(boundlog.NewHandler(slog.NewTextHandler(w, nil), boundlog.Limits{}))
//
// Handler lets each message pass some times a minute and counts the rest; Writer
// ends the log at a number of bytes and replaces secrets.
package boundlog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Limits of a Handler. Zero values are the defaults that the fields name.
type Limits struct {
	Burst  int           // records of one level and message per Window; 0: 10
	Window time.Duration // 0: 1 minute
	Now    func() time.Time
}

// Handler passes at most Burst records of one level and message per Window. The
// first that passes afterwards carries the attribute "suppressed": how many did not.
type Handler struct {
	next   slog.Handler
	shared *shared
}

type shared struct {
	limits Limits

	mu   sync.Mutex
	seen map[key]*window
}

type key struct {
	level   slog.Level
	message string
}

type window struct {
	start      time.Time
	count      int
	suppressed int
}

// maxKeys bounds the memory of a Handler whose messages are not constant.
const maxKeys = 512

// NewHandler limits what reaches next.
func NewHandler(next slog.Handler, limits Limits) *Handler {
	if limits.Burst <= 0 {
		limits.Burst = 10
	}
	if limits.Window <= 0 {
		limits.Window = time.Minute
	}
	if limits.Now == nil {
		limits.Now = time.Now
	}
	return &Handler{next: next, shared: &shared{limits: limits, seen: make(map[key]*window)}}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	pass, suppressed := h.shared.admit(key{r.Level, r.Message})
	if !pass {
		return nil
	}
	if suppressed > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("suppressed", suppressed))
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{next: h.next.WithAttrs(attrs), shared: h.shared}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), shared: h.shared}
}

func (s *shared) admit(k key) (pass bool, suppressed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.limits.Now()
	w := s.seen[k]
	if w == nil {
		if len(s.seen) >= maxKeys {
			clear(s.seen)
		}
		w = &window{start: now}
		s.seen[k] = w
	}
	if now.Sub(w.start) >= s.limits.Window {
		suppressed = w.suppressed
		*w = window{start: now}
	}
	if w.count >= s.limits.Burst {
		w.suppressed++
		return false, 0
	}
	w.count++
	return true, suppressed
}

// Writer passes what is written until a number of bytes is reached; one last line
// says so. Strings given to Hide never pass.
type Writer struct {
	mu     sync.Mutex
	w      io.Writer
	left   int64
	limit  int64
	ended  bool
	hidden [][]byte
}

// NewWriter limits w to about limit bytes.
func NewWriter(w io.Writer, limit int64) *Writer {
	return &Writer{w: w, left: limit, limit: limit}
}

// minSecret is the length from which a string is hidden: replacing "x" everywhere
// would tell more than it hides.
const minSecret = 4

// Hide replaces s by asterisks in all that is written from now on.
func (w *Writer) Hide(s string) {
	if len(s) < minSecret {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.hidden {
		if string(h) == s {
			return
		}
	}
	w.hidden = append(w.hidden, []byte(s))
}

// Redact replaces in text what Hide was told of.
func (w *Writer) Redact(text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.redact([]byte(text)))
}

func (w *Writer) redact(p []byte) []byte {
	for _, h := range w.hidden {
		if bytes.Contains(p, h) {
			p = bytes.ReplaceAll(p, h, []byte("***"))
		}
	}
	return p
}

// Write implements io.Writer. One call is one line, as slog's handlers make them.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return len(p), nil
	}
	if int64(len(p)) > w.left {
		w.ended = true
		fmt.Fprintf(w.w, "log ends here: its limit of %d bytes is reached\n", w.limit)
		return len(p), nil
	}
	w.left -= int64(len(p))
	if _, err := w.w.Write(w.redact(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
