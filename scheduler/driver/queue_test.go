package driver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
	"pgregory.net/rapid"
)

func accept(offer string) *scheduler.Call {
	return calls.Accept(calls.OfferOperations{}.WithOffers(mesos.OfferID{Value: offer}))
}

func decline(seconds float64, offers ...string) *scheduler.Call {
	c := calls.Decline()
	for _, o := range offers {
		c.Decline.OfferIDs = append(c.Decline.OfferIDs, mesos.OfferID{Value: o})
	}
	return c.With(calls.RefuseSeconds(time.Duration(seconds * float64(time.Second))))
}

// text is a call in short.
func text(c *scheduler.Call) string {
	var about []string
	switch c.Type {
	case scheduler.Call_ACCEPT:
		about = append(about, c.Accept.OfferIDs[0].Value)
	case scheduler.Call_DECLINE:
		for _, o := range c.Decline.OfferIDs {
			about = append(about, o.Value)
		}
	case scheduler.Call_KILL:
		about = append(about, c.Kill.TaskID.Value)
	case scheduler.Call_ACKNOWLEDGE:
		about = append(about, string(c.Acknowledge.UUID))
	case scheduler.Call_MESSAGE:
		about = append(about, string(c.Message.Data))
	}
	return strings.TrimSpace(c.Type.String() + " " + strings.Join(about, ","))
}

func drain(q *queue) (texts []string) {
	for e := q.take(); e != nil; e = q.take() {
		texts = append(texts, text(e.Call))
		q.done(e)
	}
	return texts
}

func TestQueue(t *testing.T) {
	ack := func(uuid string) *scheduler.Call { return calls.Acknowledge("a", "t", []byte(uuid)) }
	say := func(s string) *scheduler.Call { return calls.Message("a", "e", []byte(s)) }
	kill := func(task string) *scheduler.Call { return calls.Kill(task, "a") }
	for _, test := range []struct {
		name  string
		calls []*scheduler.Call
		want  string
	}{
		{
			"what others wait for goes first",
			[]*scheduler.Call{say("1"), kill("t1"), say("2"), ack("u1"), calls.Reconcile(), accept("o1"), ack("u2"), kill("t2")},
			"ACKNOWLEDGE u1|ACCEPT o1|ACKNOWLEDGE u2|KILL t1|RECONCILE|KILL t2|MESSAGE 1|MESSAGE 2",
		},
		{
			"what waits is not queued again",
			[]*scheduler.Call{kill("t1"), kill("t2"), kill("t1"), ack("u1"), ack("u1"), calls.Reconcile(), calls.Reconcile(), say("1"), say("1")},
			"ACKNOWLEDGE u1|KILL t1|KILL t2|RECONCILE|MESSAGE 1|MESSAGE 1",
		},
		{
			"declined together",
			[]*scheduler.Call{decline(5, "o1"), ack("u1"), decline(5, "o2", "o3"), decline(60, "o4"), decline(60, "o5"), decline(5, "o6")},
			"DECLINE o1,o2,o3|ACKNOWLEDGE u1|DECLINE o4,o5|DECLINE o6",
		},
		{
			"but not before a REVIVE",
			[]*scheduler.Call{decline(5, "o1"), calls.Revive(), decline(5, "o2"), calls.Suppress(), decline(5, "o3")},
			"DECLINE o1|REVIVE|DECLINE o2|SUPPRESS|DECLINE o3",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := newQueue()
			q.add(test.calls, 0)
			if got := strings.Join(drain(q), "|"); got != test.want {
				t.Errorf("%s\nwant %s", got, test.want)
			}
		})
	}
}

func TestWhatMustBeStoredFirstWaits(t *testing.T) {
	q := newQueue()
	q.add([]*scheduler.Call{accept("o1"), decline(5, "o2"), calls.Kill("t1", "a")}, 7)
	q.add([]*scheduler.Call{calls.Acknowledge("a", "t", []byte("u1")), calls.Revive()}, 8)
	if got := strings.Join(drain(q), "|"); got != "DECLINE o2|REVIVE" {
		t.Errorf("before anything is stored: %s", got)
	}
	q.stored(6)
	if got := drain(q); len(got) > 0 {
		t.Errorf("too early: %s", got)
	}
	q.stored(7)
	if got := strings.Join(drain(q), "|"); got != "ACCEPT o1|KILL t1" {
		t.Errorf("after 7: %s", got)
	}
	q.stored(9)
	if got := strings.Join(drain(q), "|"); got != "ACKNOWLEDGE u1" {
		t.Errorf("after 9: %s", got)
	}
}

func TestTenThousandKillsThatNobodyTakes(t *testing.T) {
	q := newQueue()
	for range 50 { // attempts
		for i := range 10_000 {
			q.add([]*scheduler.Call{calls.Kill(fmt.Sprint("t", i), "a"), calls.Shutdown(fmt.Sprint("t", i), "a")}, 0)
		}
	}
	if q.len() != 10_000 {
		t.Errorf("%d calls wait", q.len())
	}
}

func TestQueueIsBounded(t *testing.T) {
	q := newQueue()
	for i := range 2 * mostWaiting {
		q.add([]*scheduler.Call{calls.Acknowledge("a", "t", fmt.Append(nil, i))}, 0)
	}
	if q.len() != mostWaiting {
		t.Errorf("%d calls wait", q.len())
	}
	q.add([]*scheduler.Call{accept("o"), decline(5, "p"), calls.Revive()}, 0)
	if q.len() != mostWaiting+3 {
		t.Error("a call that nobody repeats was dropped")
	}
	q = newQueue()
	big := make([]byte, 1<<20)
	for range 100 {
		q.add([]*scheduler.Call{calls.Message("a", "e", big)}, 0)
	}
	if q.len() != mostWaitingBytes>>20 {
		t.Errorf("%d megabytes wait", q.len())
	}
	for range 10 {
		q.done(q.take())
	}
	q.add([]*scheduler.Call{calls.Message("a", "e", big)}, 0)
	if q.len() != mostWaitingBytes>>20-9 {
		t.Errorf("%d megabytes wait after ten were sent", q.len())
	}
}

// What was on its way when a connection ended goes out again in the old order, before
// what was made later.
func TestCallsThatComeBackKeepTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue()
		n := rapid.IntRange(1, 50).Draw(t, "calls")
		made, sent := 0, 0
		var way []*entry
		for sent < n {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				if made < n {
					q.add([]*scheduler.Call{calls.Message("a", "e", fmt.Append(nil, made))}, 0)
					made++
				}
			case 1:
				if e := q.take(); e != nil {
					way = append(way, e)
				}
			default: // some are answered, the others come back
				k := rapid.IntRange(0, len(way)).Draw(t, "answered")
				for _, e := range way[:k] {
					if want := fmt.Sprint(sent); string(e.Message.Data) != want {
						t.Fatalf("call %s where %s was expected", e.Message.Data, want)
					}
					q.done(e)
					sent++
				}
				for _, e := range way[k:] {
					q.again(e)
				}
				way = nil
			}
		}
		if q.len() != 0 || q.open != 0 || q.bytes != 0 {
			t.Fatalf("%d calls, %d on their way, %d bytes", q.len(), q.open, q.bytes)
		}
	})
}
