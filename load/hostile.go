package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"lode/internal/sleep"
)

// Hostile is the report of slow readers or garbage connections.
type Hostile struct {
	Wanted  int     `json:"wanted"`
	Opened  int64   `json:"opened"`  // connections, those after a cut included
	CutOff  int64   `json:"cut_off"` // by the pool
	Refused int64   `json:"refused"` // could not be opened, or not log in
	Open    int64   `json:"open"`    // at the end
	After   Latency `json:"after"`   // from the first misdeed to the cut
}

// hostile counts one kind of hostile connections.
type hostile struct {
	wanted                        int
	opened, cutOff, refused, open atomic.Int64
	after                         histogram
	crowd                         atomic.Pointer[run] // that does the work; nil: there is none
}

func (h *hostile) report() *Hostile {
	if h.wanted == 0 {
		return nil
	}
	if c := h.crowd.Load(); c != nil {
		return &Hostile{Wanted: h.wanted, Opened: c.connected.count.Load(), CutOff: c.lost.Load(), Refused: c.failed.Load(), Open: c.mining.Load()}
	}
	return &Hostile{h.wanted, h.opened.Load(), h.cutOff.Load(), h.refused.Load(), h.open.Load(), h.after.latency()}
}

// start keeps the wanted number of connections open until ctx ends. misbehave
// returns when the pool has cut the connection.
func (h *hostile) start(ctx context.Context, wg *sync.WaitGroup, r *run, kind int, misbehave func(ctx context.Context, conn net.Conn, i int) error) {
	wg.Go(func() { h.run(ctx, r, kind, 0, misbehave) })
}

// run is start that returns when all have ended. They come one after the other in the time of
// pace, and each comes again no sooner than that after it was cut off.
func (h *hostile) run(ctx context.Context, r *run, kind int, pace time.Duration, misbehave func(ctx context.Context, conn net.Conn, i int) error) {
	h.each(ctx, func(i int) {
		_ = sleep.For(ctx, rand.N(pace+1))
		for ctx.Err() == nil {
			h.one(ctx, r, kind, i, misbehave)
			// A pool may have to bear many of them, but not each many times a second.
			_ = sleep.For(ctx, max(pace, time.Second)+rand.N(time.Second))
		}
	})
}

// each runs f for all of them and waits.
func (h *hostile) each(ctx context.Context, f func(i int)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range h.wanted {
		if ctx.Err() != nil {
			return
		}
		wg.Go(func() { f(i) })
	}
}

func (h *hostile) one(ctx context.Context, r *run, kind, i int, misbehave func(context.Context, net.Conn, int) error) {
	conn, err := r.dialer.connect(ctx, kind, i)
	if err != nil {
		if ctx.Err() == nil {
			h.refused.Add(1)
		}
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	h.opened.Add(1)
	h.open.Add(1)
	begin := time.Now()
	err = misbehave(ctx, conn, i)
	switch {
	case ctx.Err() != nil:
		return // still open, at the end
	case errors.Is(err, errNoLogin):
		h.refused.Add(1)
	default:
		h.cutOff.Add(1)
		h.after.record(time.Since(begin))
	}
	h.open.Add(-1)
}

var errNoLogin = errors.New("not logged in")

// readSlowly logs in and reads nothing from then on, though it has the pool send
// something: a reply to every ping.
func (r *run) readSlowly(ctx context.Context, conn net.Conn, _ int) error {
	if _, _, err := logIn(ctx, conn, &r.login); err != nil {
		return fmt.Errorf("%w: %w", errNoLogin, err)
	}
	ping := fmt.Appendf(nil, `{"id":%d,"method":"mining.ping","params":[]}`+"\n", pingID)
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		// A pool that reads nothing of ours either is not one that has cut us off.
		if _, err := conn.Write(ping); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// junk are the kinds of garbage: what is sent ten times a second.
var junk = []func() []byte{
	func() []byte { return append(randomBytes(200), '\n') },
	func() []byte { return []byte("GET / HTTP/1.1\r\nHost: pool\r\n\r\n") },
	func() []byte { return []byte(`{"id":1,"method":"mining.submit","params":[` + "\n") },
	func() []byte { return []byte(`{"id":1,"params":` + string(bytes.Repeat([]byte{'['}, 4000)) + "\n") },
	func() []byte { return bytes.Repeat([]byte("x"), 64<<10) }, // a line without an end
	func() []byte { return append([]byte{0x16, 3, 1, 2, 0, 1}, randomBytes(512)...) },
	func() []byte { return []byte("{\"id\":1,\"method\":\"mining.\x00\xff\"}\n") },
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		if b[i] = byte(rand.Uint32()); b[i] == '\n' {
			b[i] = 0
		}
	}
	return b
}

// sendGarbage sends one kind of it, and drops what comes back.
func (r *run) sendGarbage(ctx context.Context, conn net.Conn, i int) error {
	answers := make([]byte, 4096)
	for ctx.Err() == nil {
		if err := conn.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return err
		}
		if _, err := conn.Write(junk[i%len(junk)]()); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		for {
			_, err := conn.Read(answers)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return io.EOF
			}
		}
	}
	return ctx.Err()
}
