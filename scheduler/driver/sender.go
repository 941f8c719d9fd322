package driver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"lode/internal/sleep"
	"lode/mesoswire"
)

const (
	// window is how many calls may be on their way without an answer.
	window = 256
	// pauseFirst and pauseMost bound the pause after a failure to send.
	pauseFirst = 200 * time.Millisecond
	pauseMost  = 15 * time.Second
	// mostUnavailable is how many answers 503 in a row mean that the master does not
	// lead any more.
	mostUnavailable = 4
	// mostMessageTries is how often a MESSAGE is tried.
	mostMessageTries = 3
)

// sender sends the calls of a subscription, in order, on one connection. That of a
// master that does not answer is replaced; the calls on it are sent again, but for
// ACCEPT: a second one of the same offer would be answered by TASK_DROPPED for tasks
// that the first one launched.
type sender struct {
	s     *session
	d     *Driver
	queue *queue

	mu          sync.Mutex
	pipe        *mesoswire.Pipe
	way         []*entry // sent and not answered, oldest first
	full        bool     // too many of those
	patience    time.Duration
	pause       time.Duration // after the next failure
	resume      time.Time     // nothing is sent before
	unavailable int
}

func newSender(s *session) *sender {
	return &sender{s: s, d: s.d, queue: s.queue, patience: s.d.config.CallTimeout, pause: pauseFirst}
}

// run works until ctx ends (nil), or an answer says that the subscription is lost.
func (c *sender) run(ctx context.Context) error {
	for c.await(ctx) {
		pipe, err := c.s.client.OpenPipe(ctx, c.s.stream.ID)
		if err == nil {
			err = c.drive(ctx, pipe)
		}
		var lost *lostError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &lost):
			return err
		case err == nil: // it was closed while nothing was on its way
			continue
		}
		c.d.log.Warn("the connection for calls to the master failed; trying again", "error", err)
		c.fail(0)
	}
	return nil
}

// await waits until a connection is of use, and says whether ctx still lives.
func (c *sender) await(ctx context.Context) bool {
	c.mu.Lock()
	wait := time.Until(c.resume)
	c.mu.Unlock()
	if wait > 0 && sleep.For(ctx, wait) != nil {
		return false
	}
	for c.queue.sendable() == 0 {
		select {
		case <-ctx.Done():
			return false
		case <-c.queue.wake:
		}
	}
	return ctx.Err() == nil
}

// lostError is an answer that means the end of the subscription.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// fail makes the next call wait.
func (c *sender) fail(asked time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resume = time.Now().Add(max(c.pause, min(asked, 2*pauseMost)))
	c.pause = min(2*c.pause, pauseMost)
}

// drive sends calls on one connection until that ends.
func (c *sender) drive(ctx context.Context, pipe *mesoswire.Pipe) error {
	c.mu.Lock()
	c.pipe = pipe
	c.mu.Unlock()
	defer pipe.Close()
	stop := context.AfterFunc(ctx, pipe.Close)
	defer stop()
	answers := make(chan error, 1)
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		answers <- c.answers(pipe)
	}()
	c.write(ctx, pipe, broken)
	pipe.Close()
	err := <-answers
	if ctx.Err() == nil {
		c.recover()
	}
	return err
}

// write sends calls until the connection breaks or ctx ends.
func (c *sender) write(ctx context.Context, pipe *mesoswire.Pipe, broken <-chan struct{}) {
	for {
		var e *entry
		wait, full := c.hold()
		if wait <= 0 && !full {
			e = c.queue.take()
		}
		if e != nil {
			if c.send(pipe, e) != nil {
				return
			}
			continue
		}
		if c.flush(pipe) != nil {
			return
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-broken:
			return
		case <-timer:
		case <-c.queue.wake:
		}
	}
}

// hold says how long to wait before the next call, and whether too many are on their
// way.
func (c *sender) hold() (wait time.Duration, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.resume.IsZero() {
		wait = time.Until(c.resume)
	}
	switch n := len(c.way); {
	case n >= window:
		c.full = true
	case n <= window/2: // not with each answer: calls go out in larger pieces so
		c.full = false
	}
	return wait, c.full
}

func (c *sender) send(pipe *mesoswire.Pipe, e *entry) error {
	c.mu.Lock()
	c.way = append(c.way, e)
	if len(c.way) == 1 {
		_ = pipe.SetReadDeadline(time.Now().Add(c.patience)) // fails when the connection is closed
	}
	c.mu.Unlock()
	_ = pipe.SetWriteDeadline(time.Now().Add(c.patience))
	return pipe.Send(e.Call)
}

func (c *sender) flush(pipe *mesoswire.Pipe) error {
	_ = pipe.SetWriteDeadline(time.Now().Add(c.patience))
	return pipe.Flush()
}

// answers reads answers until the connection ends. nil: it was closed by the master
// while nothing was on its way.
func (c *sender) answers(pipe *mesoswire.Pipe) error {
	defer pipe.Close()
	for answered := 0; ; answered++ {
		err := pipe.Answer()
		var status *mesoswire.StatusError
		c.mu.Lock()
		if err != nil && !errors.As(err, &status) {
			idle := len(c.way) == 0
			if !idle {
				// Perhaps it was just slow: longer, the next time.
				c.patience = min(2*c.patience, 10*c.d.config.CallTimeout)
			}
			c.mu.Unlock()
			if idle && answered > 0 {
				return nil
			}
			return err
		}
		if len(c.way) == 0 {
			c.mu.Unlock()
			return errors.New("an answer that nobody asked for")
		}
		e := c.way[0]
		c.way[0] = nil
		c.way = c.way[1:]
		deadline := time.Time{}
		if len(c.way) > 0 {
			deadline = time.Now().Add(c.patience)
		}
		_ = pipe.SetReadDeadline(deadline)
		room := len(c.way) == window/2
		if status == nil {
			c.pause, c.unavailable, c.patience = pauseFirst, 0, c.d.config.CallTimeout
		}
		c.mu.Unlock()
		if room {
			c.queue.signal()
		}
		if status == nil {
			c.queue.done(e)
			continue
		}
		if err := c.refused(e, status); err != nil {
			c.queue.done(e)
			return err
		}
	}
}

// refused handles an answer that is no success. An error ends the subscription.
func (c *sender) refused(e *entry, status *mesoswire.StatusError) error {
	e.tries++
	if status.Code == http.StatusServiceUnavailable {
		c.unavailable++
	}
	switch {
	case status.Code >= 300 && status.Code < 400:
		return &lostError{fmt.Errorf("%s call: %w", e.Type, classify(c.s.leader, status))}
	case lossOf(status), c.unavailable >= mostUnavailable:
		return &lostError{fmt.Errorf("subscription at master %s is lost: %s call: %w", c.s.leader, e.Type, status)}
	case status.Code == http.StatusTooManyRequests, status.Code == http.StatusServiceUnavailable:
		// It was not even looked at.
		c.fail(status.After)
		c.retry(e, status)
	case status.Code >= 500:
		// It may have been carried out or not.
		c.fail(status.After)
		if e.Type == scheduler.Call_ACCEPT {
			c.undo(e, true, status)
		} else {
			c.retry(e, status)
		}
	default:
		// The master understood and did not like it. Nothing gets better by saying
		// it again.
		c.d.log.Error("master refuses a call", "call", e.Type.String(), "error", status)
		if e.Type == scheduler.Call_ACCEPT {
			c.undo(e, false, status)
		} else {
			c.queue.done(e)
		}
	}
	return nil
}

func (c *sender) retry(e *entry, why error) {
	c.d.log.Warn("the master does not take a call; trying again", "call", e.Type.String(), "error", why)
	if e.Type == scheduler.Call_MESSAGE && e.tries >= mostMessageTries {
		c.queue.done(e)
		return
	}
	c.queue.again(e)
}

// undo gives back the offers of an ACCEPT: without that, one that had no effect would
// keep them for ever. It does no harm to one that had.
func (c *sender) undo(e *entry, unsure bool, why error) {
	c.d.log.Warn("an ACCEPT may have had no effect", "error", why)
	if offers := e.GetAccept().GetOfferIDs(); len(offers) > 0 {
		decline := calls.Decline(slices.Clone(offers)...)
		decline.FrameworkID = e.FrameworkID
		c.queue.add([]*scheduler.Call{decline}, 0)
	}
	c.queue.done(e)
	c.d.config.Handle(Event{Session: c.s.number, Refused: e.Call, Unsure: unsure, Why: why})
}

// recover puts back what was on its way when a connection ended.
func (c *sender) recover() {
	c.mu.Lock()
	way := c.way
	c.way = nil
	c.mu.Unlock()
	for _, e := range way {
		e.tries++
		switch {
		case e.Type == scheduler.Call_ACCEPT:
			c.undo(e, true, errors.New("the connection ended before the answer"))
		case e.Type == scheduler.Call_MESSAGE && e.tries >= mostMessageTries:
			c.queue.done(e)
		default:
			c.queue.again(e)
		}
	}
}

// lossOf says whether an answer to a call means that the subscription is gone. 403
// is a framework that is not connected; with 400 the text decides (mesos-semantics
// §2.1, rows 12 to 17): the master knows no such framework, or another stream of it.
func lossOf(e *mesoswire.StatusError) bool {
	switch e.Code {
	case http.StatusForbidden, http.StatusUnauthorized, http.StatusNotFound:
		return true
	case http.StatusBadRequest:
		return strings.Contains(e.Text, "Framework cannot be found") ||
			strings.Contains(e.Text, "stream ID") || strings.Contains(e.Text, mesoswire.StreamIDHeader) ||
			strings.Contains(e.Text, "does not match principal")
	}
	return false
}
