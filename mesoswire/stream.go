package mesoswire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gogo/protobuf/proto"
)

// ErrSilent says that a stream was given up because nothing came for too long.
var ErrSilent = errors.New("silence")

// Stream is the answer to a SUBSCRIBE call: records, each of which is an event.
type Stream struct {
	// ID is the subscription's; "": the answer names none (an agent's).
	ID string

	records  *Records
	body     io.Closer
	cancel   context.CancelCauseFunc
	cause    func() error
	patience time.Duration
	watchdog *time.Timer
}

// Subscribe makes a SUBSCRIBE call. Everything up to the first Alive has to be done
// within patience: the connection, the header of the answer, and its first event; so
// whoever sends this slowly or never is left. The stream ends with ctx at the latest.
// An answer that is no stream is an error, a *StatusError if it says why.
func (c *Client) Subscribe(ctx context.Context, call proto.Message, patience time.Duration) (*Stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &Stream{cancel: cancel, cause: func() error { return context.Cause(ctx) }, patience: patience}
	s.watchdog = time.AfterFunc(patience, func() {
		cancel(fmt.Errorf("%w: no event within %v", ErrSilent, patience))
	})
	resp, err := c.post(ctx, call)
	if err != nil {
		err = s.because(err)
		s.end()
		return nil, err
	}
	s.body = resp.Body
	if err := check(resp); err != nil {
		// A text that never ends, or not soon, is cut off by the watchdog.
		err = s.because(err)
		s.Close()
		return nil, err
	}
	s.ID = resp.Header.Get(StreamIDHeader)
	s.records = NewRecords(resp.Body, c.config.MaxRecord)
	return s, nil
}

func check(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		if got := resp.Header.Get("Content-Type"); got != MediaType {
			return fmt.Errorf("the answer is of type %q, not %s: is this Mesos?", got, MediaType)
		}
		return nil
	}
	if err := answer(resp); err != nil {
		return err
	}
	return fmt.Errorf("HTTP status %d is no stream", resp.StatusCode)
}

// Next returns the next record, which is valid until the next call. It may say
// nothing; whoever finds an event in it calls Alive.
func (s *Stream) Next() ([]byte, error) {
	record, err := s.records.Next()
	if err != nil {
		return nil, s.because(err)
	}
	return record, nil
}

// Alive says that an event has come, and that the next one is due within patience;
// 0: there is no hurry.
func (s *Stream) Alive(patience time.Duration) {
	if patience == 0 {
		s.watchdog.Stop()
		return
	}
	if patience != s.patience {
		// Not Reset: the old one would tell of another time.
		s.watchdog.Stop()
		s.patience = patience
		s.watchdog = time.AfterFunc(patience, func() {
			s.cancel(fmt.Errorf("%w: no event and no heartbeat for %v", ErrSilent, patience))
		})
		return
	}
	s.watchdog.Reset(patience)
}

// Abort ends the stream; Next then returns the cause. It may be called from any
// goroutine, Next and Alive from one.
func (s *Stream) Abort(cause error) { s.cancel(cause) }

// Close ends the stream and frees what it uses.
func (s *Stream) Close() {
	s.end()
	_ = s.body.Close() // there is nothing to save
}

func (s *Stream) end() {
	s.watchdog.Stop()
	s.cancel(nil)
}

// because prefers the reason why this side ended the stream to what came of that.
func (s *Stream) because(err error) error {
	if cause := s.cause(); cause != nil {
		return cause
	}
	return err
}
