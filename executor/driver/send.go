package driver

import (
	"context"
	"fmt"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/internal/sleep"
)

// sender is the state of the goroutine that makes all calls but SUBSCRIBE, one
// at a time: with several connections in use their order would be lost.
type sender struct {
	*Driver
	lastCall   time.Time
	failing    time.Time // since when calls fail; zero: they do not
	pause      time.Duration
	ackLimit   time.Duration
	finishFrom time.Time // since when a finishing driver is connected
	noBeat     bool      // the agent does not know HEARTBEAT calls (Mesos < 1.10)
}

// send works until ctx ends; it ends ctx itself when there is nothing left to
// live for.
func (d *Driver) send(ctx context.Context, end context.CancelCauseFunc) {
	s := sender{Driver: d, lastCall: time.Now(), ackLimit: ackTimeout}
	timer := time.NewTimer(0)
	defer timer.Stop()
	finish := d.finish
	for {
		wait, err := s.step(ctx)
		if err != nil {
			end(err)
			return
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-d.out.wake:
			if !s.failing.IsZero() && sleep.For(ctx, s.pause) != nil {
				return
			}
		case <-finish:
			finish = nil
		}
	}
}

// step does what is due and returns when to look again at the latest.
func (s *sender) step(ctx context.Context) (time.Duration, error) {
	const idle = time.Minute
	now := time.Now()
	connected := s.isConnected()
	if done, left, err := s.finished(now, connected); done {
		return 0, err
	} else if !connected {
		s.failing = time.Time{}
		return min(idle, left), nil
	} else {
		wait := min(idle, left)
		if oldest := s.out.oldestSent(); !oldest.IsZero() {
			if age := now.Sub(oldest); age < s.ackLimit {
				wait = min(wait, s.ackLimit-age)
			} else {
				s.ackLimit = min(2*s.ackLimit, ackTimeoutMax)
				s.kick(fmt.Sprintf("the agent took an update %v ago and has not acknowledged it", age.Round(time.Second)))
				return idle, nil
			}
		} else if s.out.pendingUpdates() == 0 {
			s.ackLimit = ackTimeout
		}
		pause, err := s.call(ctx, now)
		return min(wait, pause), err
	}
}

// finished looks whether a finishing driver may end.
func (s *sender) finished(now time.Time, connected bool) (done bool, left time.Duration, err error) {
	s.mu.Lock()
	finishing, limit := s.finishing, s.finishTime
	s.mu.Unlock()
	switch {
	case !finishing:
		return false, time.Hour, nil
	case s.out.pendingUpdates() == 0 && (!connected || s.out.pendingMessages() == 0):
		return true, 0, errFinished
	case !connected:
		// The window of subscribe is the limit now.
		s.finishFrom = time.Time{}
		return false, time.Hour, nil
	case s.finishFrom.IsZero():
		s.finishFrom = now
	}
	left = limit - now.Sub(s.finishFrom)
	if s.out.pendingUpdates() == 0 {
		left = min(left, lastMessages-now.Sub(s.finishFrom))
	}
	switch {
	case left > 0:
		return false, left, nil
	case s.out.pendingUpdates() == 0:
		return true, 0, errFinished
	}
	return true, 0, fmt.Errorf("%w: %d left after %v", ErrUnacknowledged, s.out.pendingUpdates(), limit)
}

// call sends the next call, if one is due, and returns when to come again.
func (s *sender) call(ctx context.Context, now time.Time) (time.Duration, error) {
	status, message := s.out.next()
	call := &executor.Call{
		FrameworkID: mesos.FrameworkID{Value: s.cfg.FrameworkID},
		ExecutorID:  mesos.ExecutorID{Value: s.cfg.ExecutorID},
	}
	switch {
	case status != nil:
		call.Type = executor.Call_UPDATE
		call.Update = &executor.Call_Update{Status: *status}
	case message != nil:
		call.Type = executor.Call_MESSAGE
		call.Message = &executor.Call_Message{Data: message.data}
	default:
		if left := heartbeatInterval - now.Sub(s.lastCall); left > 0 || s.noBeat {
			return max(left, time.Second), nil
		}
		call.Type = executor.Call_HEARTBEAT
	}
	err := s.client.call(ctx, call)
	s.lastCall = now
	if err == nil {
		s.failing, s.pause = time.Time{}, 0
		switch {
		case status != nil:
			s.out.markSent([]executor.Call_Update{*call.Update}, now)
		case message != nil:
			s.out.popMessage(message)
		}
		return 0, nil
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	refusal := kindOf(err)
	switch refusal {
	case forgotten:
		return 0, fmt.Errorf("%w: %w", ErrForgotten, err)
	case unauthorized:
		return 0, fmt.Errorf("%w: %w", ErrUnauthorized, err)
	case unsubscribed:
		s.kick(err.Error())
		return time.Minute, nil
	case invalid:
		switch {
		case status != nil:
			s.log.Error("the agent refuses an update, it is given up", "error", err,
				"task", status.TaskID.Value, "state", status.GetState().String())
			s.out.drop(status.UUID)
		case message != nil:
			s.log.Error("the agent refuses a framework message, it is given up", "error", err)
			s.out.popMessage(message)
		default:
			s.noBeat = true
		}
		return 0, nil
	}
	// The agent is restarting (503, 404, refused connection) or the network is
	// bad: the same call again, soon. Messages wait, too: newer ones replace them.
	if s.failing.IsZero() {
		s.failing = now
	}
	s.log.Debug("call failed, trying again", "type", call.Type.String(), "error", err)
	if refusal == unanswered && time.Since(s.failing) > refusedLimit {
		s.failing = time.Time{}
		s.kick("calls fail: " + err.Error())
		return time.Minute, nil
	}
	s.pause = min(max(2*s.pause, 50*time.Millisecond), time.Second)
	return s.pause, nil
}
