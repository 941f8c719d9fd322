package driver_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
	"go.uber.org/goleak"

	"lode/scheduler/driver"
	"lode/scheduler/internal/fakemaster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// link runs a driver and collects its events.
type link struct {
	t      *testing.T
	d      *driver.Driver
	events chan driver.Event
	result chan error
	stop   context.CancelFunc

	session uint64 // of the event that next returned last
}

func start(t *testing.T, change func(*driver.Config), masters ...string) *link {
	t.Helper()
	return startWith(t, change, nil, masters...)
}

// startWith starts a driver that prepare may change before it runs.
func startWith(t *testing.T, change func(*driver.Config), prepare func(*driver.Driver), masters ...string) *link {
	t.Helper()
	l := &link{t: t, events: make(chan driver.Event, 1000), result: make(chan error, 1)}
	config := driver.Config{
		Masters: masters,
		Subscribe: func() *scheduler.Call {
			return calls.Subscribe(&mesos.FrameworkInfo{User: "nobody", Name: "test"})
		},
		Handle:       func(e driver.Event) { l.events <- e },
		Rand:         func() float64 { return 0 },
		BackoffFirst: 5 * time.Millisecond,
		BackoffMost:  20 * time.Millisecond,
		CallTimeout:  5 * time.Second,
	}
	if change != nil {
		change(&config)
	}
	d, err := driver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(d)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.d, l.stop = d, cancel
	var wg sync.WaitGroup
	wg.Go(func() { l.result <- d.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return l
}

// next waits for an event of the stream and passes over failed attempts.
func (l *link) next() *scheduler.Event {
	l.t.Helper()
	for {
		select {
		case e := <-l.events:
			if e.Mesos != nil {
				l.session = e.Session
				return e.Mesos
			}
		case <-time.After(patience):
			l.t.Fatal("no event")
		}
	}
}

// send queues calls for the subscription of the last event.
func (l *link) send(calls ...*scheduler.Call) { l.d.Send(l.session, calls, 0) }

// about waits for an event about a call that was refused.
func (l *link) about() driver.Event {
	l.t.Helper()
	for {
		select {
		case e := <-l.events:
			if e.Refused != nil {
				return e
			}
		case <-time.After(patience):
			l.t.Fatal("no event about a call")
		}
	}
}

// lost waits for the end of a subscription or a failed attempt.
func (l *link) lost() error {
	l.t.Helper()
	for {
		select {
		case e := <-l.events:
			if e.Lost != nil {
				return e.Lost
			}
		case <-time.After(patience):
			l.t.Fatal("the subscription was not lost")
		}
	}
}

func (l *link) ended() error {
	l.t.Helper()
	select {
	case err := <-l.result:
		return err
	case <-time.After(patience):
		l.t.Fatal("the driver goes on")
		return nil
	}
}

func nextCall(t *testing.T, m *fakemaster.Master) *scheduler.Call {
	t.Helper()
	select {
	case c := <-m.Calls:
		return c
	case <-time.After(patience):
		t.Fatal("no call")
		return nil
	}
}

// subscribe lets the driver subscribe and the master answer.
func (l *link) subscribe(m *fakemaster.Master) {
	l.t.Helper()
	if c := nextCall(l.t, m); c.Type != scheduler.Call_SUBSCRIBE {
		l.t.Fatalf("%s call, want SUBSCRIBE", c.Type)
	}
	m.Send(fakemaster.Subscribed("F1", 15))
	if e := l.next(); e.Type != scheduler.Event_SUBSCRIBED {
		l.t.Fatalf("%s event, want SUBSCRIBED", e.Type)
	}
}

func revive() *scheduler.Call {
	return calls.Revive().With(calls.Framework("F1"))
}

func kill(i int) *scheduler.Call {
	return calls.Kill(fmt.Sprintf("t%d", i), "a").With(calls.Framework("F1"))
}
