package driver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"lode/scheduler/driver"
	"lode/scheduler/internal/fakemaster"
)

func TestCallsGoToTheLeaderThatTheSubscriptionFound(t *testing.T) {
	leader, follower := fakemaster.New(t), fakemaster.New(t)
	follower.Redirect(leader.Host())
	l := start(t, nil, follower.URL())
	l.subscribe(leader)
	l.send(revive())
	if c := nextCall(t, leader); c.Type != scheduler.Call_REVIVE {
		t.Fatalf("%s call, want REVIVE", c.Type)
	}
	for _, r := range follower.Requests() {
		if r.Method == http.MethodPost {
			t.Errorf("%s %s went to the follower", r.Method, r.URL)
		}
	}
}

func TestLeaderIsFoundThroughAnyMaster(t *testing.T) {
	leader, confused := fakemaster.New(t), fakemaster.New(t)
	confused.NoLeader(true)
	dead := fakemaster.New(t)
	dead.Close()
	l := start(t, nil, dead.URL(), confused.URL(), leader.URL())
	l.subscribe(leader)
}

func TestSubscribeItselfIsRedirected(t *testing.T) {
	// A master that lost its lead between our question and our call.
	leader, before := fakemaster.New(t), fakemaster.New(t)
	before.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
		if call == nil {
			return nil
		}
		return &fakemaster.Answer{
			Code:   http.StatusTemporaryRedirect,
			Header: map[string]string{"Location": "//" + leader.Host() + "/api/v1/scheduler"},
		}
	})
	l := start(t, nil, before.URL())
	l.subscribe(leader)
}

func TestRedirectLoopIsAnErrorAndNoHang(t *testing.T) {
	a, b := fakemaster.New(t), fakemaster.New(t)
	a.Redirect(b.Host())
	b.Redirect(a.Host())
	l := start(t, nil, a.URL())
	if err := l.lost(); !strings.Contains(err.Error(), "do not agree who leads") {
		t.Fatal(err)
	}
	a.Redirect("")
	l.subscribe(a)
}

func TestLeaderNamedByAnUnknownNameIsReachedByItsURL(t *testing.T) {
	m := fakemaster.New(t)
	m.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
		if r.URL.Path == "/redirect" {
			return &fakemaster.Answer{Code: 307, Header: map[string]string{"Location": "//master.invalid:5050"}}
		}
		return nil
	})
	l := start(t, nil, m.URL())
	l.subscribe(m)
}

func TestNoLeaderIsTriedAgain(t *testing.T) {
	m := fakemaster.New(t)
	m.NoLeader(true)
	l := start(t, nil, m.URL())
	for range 3 {
		if err := l.lost(); !strings.Contains(err.Error(), "503") {
			t.Fatal(err)
		}
	}
	m.NoLeader(false)
	l.subscribe(m)
}

func TestWrongPasswordEndsAtOnce(t *testing.T) {
	m := fakemaster.New(t)
	var subscribes atomic.Int32
	m.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
		if call == nil {
			return nil
		}
		subscribes.Add(1)
		return &fakemaster.Answer{
			Code: 401, Body: "401 Unauthorized.",
			Header: map[string]string{"WWW-Authenticate": `Basic realm="mesos-master-scheduler"`},
		}
	})
	l := start(t, func(c *driver.Config) { c.Principal, c.Secret = "lode", "wrong" }, m.URL())
	err := l.ended()
	if !errors.Is(err, driver.ErrUnauthorized) {
		t.Fatal(err)
	}
	if strings.Contains(err.Error(), "wrong") {
		t.Errorf("the secret is in the error: %v", err)
	}
	if n := subscribes.Load(); n != 1 {
		t.Errorf("%d attempts to subscribe, want 1", n)
	}
}

func TestCredentialsOnEveryCall(t *testing.T) {
	m := fakemaster.New(t)
	m.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
		user, password, _ := r.BasicAuth()
		if call != nil && (user != "lode" || password != "s3cret") {
			return &fakemaster.Answer{Code: 401}
		}
		return nil
	})
	l := start(t, func(c *driver.Config) { c.Principal, c.Secret = "lode", "s3cret" }, m.URL())
	l.subscribe(m)
	l.send(revive())
	nextCall(t, m)
}

func TestRefusedCallsEndTheAttempt(t *testing.T) {
	for _, code := range []int{400, 403, 405, 406, 415} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			m := fakemaster.New(t)
			m.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
				if call == nil {
					return nil
				}
				return &fakemaster.Answer{Code: code, Body: "Failed to validate scheduler::Call: because"}
			})
			err := start(t, nil, m.URL()).ended()
			if !errors.Is(err, driver.ErrRejected) || !strings.Contains(err.Error(), "because") {
				t.Fatal(err)
			}
		})
	}
}

// The bodies are those of a recorded Mesos 1.11 master.
func TestLossOfSubscriptionByAnswer(t *testing.T) {
	for _, test := range []struct {
		name string
		code int
		body string
	}{
		{"unknown to a new master", 400, "Framework cannot be found"},
		{"stream replaced", 400, "The stream ID '17427e36-f07e-49a7-85ed-4a53db1a4517' included in this request didn't match the stream ID currently associated with framework ID 7e606d99-1560-42"},
		{"no stream id", 400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"},
		{"stream broke", 403, "Framework is not subscribed"},
		{"leader lost", 503, ""},
		{"redirect", 307, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := fakemaster.New(t)
			l := start(t, nil, m.URL())
			l.subscribe(m)
			m.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
				if call == nil || call.Type == scheduler.Call_SUBSCRIBE {
					return nil
				}
				return &fakemaster.Answer{Code: test.code, Body: test.body, Header: map[string]string{"Location": "//127.0.0.1:1/"}}
			})
			l.send(revive())
			if err := l.lost(); !strings.Contains(err.Error(), test.body) {
				t.Error(err)
			}
			l.subscribe(m)
		})
	}
}

func TestRefusedCallKeepsTheSubscription(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, nil, m.URL())
	l.subscribe(m)
	m.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
		if call != nil && call.Type == scheduler.Call_KILL {
			return &fakemaster.Answer{Code: 400, Body: "Failed to validate scheduler::Call: Expecting 'kill' to be present"}
		}
		return nil
	})
	l.send(kill(1), revive())
	if c := nextCall(t, m); c.Type != scheduler.Call_REVIVE {
		t.Fatalf("%s call, want REVIVE on the same stream", c.Type)
	}
}

func TestUpdateFrameworkIsNoError(t *testing.T) {
	// Mesos answers 200 with an empty body, for which mesos-go has an error.
	m := fakemaster.New(t)
	l := start(t, nil, m.URL())
	l.subscribe(m)
	m.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
		if call != nil && call.Type == scheduler.Call_UPDATE_FRAMEWORK {
			return &fakemaster.Answer{Code: 200}
		}
		return nil
	})
	update := calls.UpdateFramework(mesos.FrameworkInfo{User: "nobody", Name: "test"}).With(calls.Framework("F1"))
	l.send(update, revive())
	if c := nextCall(t, m); c.Type != scheduler.Call_REVIVE {
		t.Fatalf("%s call, want REVIVE on the same stream", c.Type)
	}
}

func TestCallThatTimesOutIsRepeated(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, func(c *driver.Config) { c.CallTimeout = 300 * time.Millisecond }, m.URL())
	l.subscribe(m)
	var kills atomic.Int32
	m.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
		if call != nil && call.Type == scheduler.Call_KILL && kills.Add(1) == 1 {
			return &fakemaster.Answer{Hang: true}
		}
		return nil
	})
	l.send(kill(1))
	if c := nextCall(t, m); c.Type != scheduler.Call_KILL {
		t.Fatalf("%s call, want KILL on the same stream", c.Type)
	}
}

func TestAcceptThatTimesOutIsNotRepeated(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, func(c *driver.Config) { c.CallTimeout = 300 * time.Millisecond }, m.URL())
	l.subscribe(m)
	var accepts atomic.Int32
	m.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
		if call != nil && call.Type == scheduler.Call_ACCEPT {
			accepts.Add(1)
			return &fakemaster.Answer{Hang: true}
		}
		return nil
	})
	l.send(calls.Accept(calls.OfferOperations{}.WithOffers(mesos.OfferID{Value: "o"})).With(calls.Framework("F1")))
	// Nobody knows what became of it; its offer goes back, in case that nothing did.
	if e := l.about(); e.Refused.GetAccept() == nil || !e.Unsure {
		t.Errorf("%+v", e)
	}
	if c := nextCall(t, m); c.Type != scheduler.Call_DECLINE || c.Decline.OfferIDs[0].Value != "o" {
		t.Errorf("%s call, want DECLINE on the same stream", c.Type)
	}
	if n := accepts.Load(); n != 1 {
		t.Errorf("ACCEPT was sent %d times", n)
	}
}

func TestCallsKeepTheirOrder(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, nil, m.URL())
	l.subscribe(m)
	var inFlight, most atomic.Int32
	m.Answer(func(r *http.Request, call *scheduler.Call) *fakemaster.Answer {
		if n := inFlight.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer inFlight.Add(-1)
		return nil
	})
	const n = 200
	for i := range n {
		l.send(kill(i))
	}
	if err := l.d.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if c := nextCall(t, m); c.Kill.TaskID.Value != fmt.Sprintf("t%d", i) {
			t.Fatalf("call %d is for %s", i, c.Kill.TaskID.Value)
		}
	}
	if most.Load() > 1 {
		t.Errorf("%d calls were in flight at once", most.Load())
	}
}

func TestCallsOfALostSubscriptionAreDropped(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, nil, m.URL())
	l.subscribe(m)
	m.Break()
	_ = l.lost()
	l.send(kill(1))
	l.subscribe(m)
	l.send(revive())
	if c := nextCall(t, m); c.Type != scheduler.Call_REVIVE {
		t.Errorf("%s call, want REVIVE alone", c.Type)
	}
}

func TestSilentStreamIsGivenUp(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, func(c *driver.Config) { c.HeartbeatsMissed = 1 }, m.URL())
	nextCall(t, m)
	m.Send(fakemaster.Subscribed("F1", 0.05)) // a heartbeat every 50 ms is announced (taken as 1 s), and none comes
	l.next()
	if err := l.lost(); !strings.Contains(err.Error(), "no heartbeat") {
		t.Fatal(err)
	}
	l.subscribe(m)
}

func TestHeartbeatsKeepTheStream(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, func(c *driver.Config) { c.HeartbeatsMissed = 2 }, m.URL())
	nextCall(t, m)
	m.Send(fakemaster.Subscribed("F1", 1)) // 2 s of silence are too much
	deadline := time.Now().Add(3 * time.Second)
	for time.Now().Before(deadline) {
		m.Send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
		if e := l.next(); e.Type != scheduler.Event_SUBSCRIBED && e.Type != scheduler.Event_HEARTBEAT {
			t.Fatalf("%s event", e.Type)
		}
		time.Sleep(20 * time.Millisecond)
	}
	l.send(revive())
	if c := nextCall(t, m); c.Type != scheduler.Call_REVIVE {
		t.Fatalf("%s call, want REVIVE on the same stream", c.Type)
	}
}

func TestStreamOutlivesTheCallTimeout(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, func(c *driver.Config) { c.CallTimeout = 200 * time.Millisecond }, m.URL())
	l.subscribe(m)
	time.Sleep(time.Second)
	m.Send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
	if e := l.next(); e.Type != scheduler.Event_HEARTBEAT {
		t.Fatalf("%s event, want HEARTBEAT on the same stream", e.Type)
	}
}

func TestFramesOverFourMegabytes(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, nil, m.URL())
	l.subscribe(m)
	big := strings.Repeat("x", 9<<20)
	m.Send(&scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: big}})
	if e := l.next(); e.GetError().GetMessage() != big {
		t.Fatalf("%s event of another length", e.Type)
	}
}

func TestUnknownEventsAreHandedOnAndSurvived(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, nil, m.URL())
	l.subscribe(m)
	// type 99, and a field 77 of a version to come
	m.SendRaw([]byte("6\n\x08\x63\xea\x04\x01x"))
	m.Send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
	for {
		e := l.next()
		if e.Type == scheduler.Event_HEARTBEAT {
			return
		}
		if e.Type != 99 {
			t.Fatalf("%s event", e.Type)
		}
	}
}

func TestGarbageEndsTheStreamOnly(t *testing.T) {
	for _, garbage := range []string{"hello\n", "99999999999999999999999\n", "-1\n"} {
		m := fakemaster.New(t)
		l := start(t, nil, m.URL())
		l.subscribe(m)
		m.SendRaw([]byte(garbage))
		_ = l.lost()
		l.subscribe(m)
	}
}

func TestEventThatCannotBeDecodedIsSkipped(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, nil, m.URL())
	l.subscribe(m)
	m.SendRaw([]byte("5\n\xff\xff\xff\xff\xff"))
	m.Send(&scheduler.Event{Type: scheduler.Event_RESCIND, Rescind: &scheduler.Event_Rescind{OfferID: mesos.OfferID{Value: "O1"}}})
	for e := l.next(); e.Type != scheduler.Event_RESCIND; e = l.next() {
		if e.Type != scheduler.Event_HEARTBEAT {
			t.Fatalf("%s event, want what came after the broken one", e.Type)
		}
	}
}

// pauses gathers the pauses that a driver logs.
type pauses struct{ c chan time.Duration }

func (pauses) Enabled(context.Context, slog.Level) bool { return true }
func (p pauses) WithAttrs([]slog.Attr) slog.Handler     { return p }
func (p pauses) WithGroup(string) slog.Handler          { return p }
func (p pauses) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "in" {
			p.c <- a.Value.Duration()
		}
		return true
	})
	return nil
}

func TestStreamsThatEndAtOnceAreTriedMoreAndMoreSeldom(t *testing.T) {
	m := fakemaster.New(t)
	waits := pauses{make(chan time.Duration, 100)}
	l := start(t, func(c *driver.Config) {
		c.BackoffFirst, c.BackoffMost = 2*time.Millisecond, time.Minute
		c.Logger = slog.New(waits)
	}, m.URL())
	for want := time.Millisecond; want <= 32*time.Millisecond; want *= 2 {
		l.subscribe(m)
		m.Break()
		select {
		case got := <-waits.c:
			if got != want {
				t.Fatalf("pause of %v, want %v", got, want)
			}
		case <-time.After(patience):
			t.Fatal("the end of the stream is not noticed")
		}
	}
}

func TestUnreachableMasterIsOneClearLine(t *testing.T) {
	m := fakemaster.New(t)
	m.Close()
	err := start(t, nil, m.URL()).lost()
	if !strings.Contains(err.Error(), m.URL()) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q", err)
	}
}

func TestWhatIsNoMasterIsOneClearLine(t *testing.T) {
	m := fakemaster.New(t)
	m.Answer(func(*http.Request, *scheduler.Call) *fakemaster.Answer {
		return &fakemaster.Answer{Code: 501, Body: "<html>\n<p>Unsupported method", Header: map[string]string{"Content-Type": "text/html;charset=utf-8"}}
	})
	err := start(t, nil, m.URL()).lost()
	if text := err.Error(); !strings.Contains(text, m.URL()) || !strings.Contains(text, "501") ||
		!strings.Contains(text, "is this a Mesos master or agent?") || strings.ContainsAny(text, "\n<") {
		t.Errorf("%q", err)
	}
}

func TestMasterURL(t *testing.T) {
	for _, test := range []struct{ in, want, err string }{
		{"http://m:5050", "http://m:5050", ""},
		{"http://m:5050/api/v1/scheduler", "http://m:5050", ""},
		{"https://m", "https://m:5050", ""},
		{"m:1234", "http://m:1234", ""},
		{"[::1]:5050", "http://[::1]:5050", ""},
		{"[::1]", "http://[::1]:5050", ""},
		{"m:", "http://m:5050", ""},
		{"http://user:pw@m:5050", "", "--principal"},
		{"zk://z:2181/mesos", "", "nothing beside it"},
		{"ftp://m", "", "not a URL"},
		{"m:65536", "", "1 to 65535"},
		{"http://m:0", "", "1 to 65535"},
		{"", "", "not a URL"},
		{"http://%", "", "not a URL"},
	} {
		got, err := driver.MasterURL(test.in)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("MasterURL(%q) = %q, %v", test.in, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("a password is in %v", err)
		}
	}
}

func TestCallCausedByOneSubscriptionIsNotSentOnTheNext(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, nil, m.URL())
	l.subscribe(m)
	before := l.session
	m.Break()
	_ = l.lost()
	l.subscribe(m)
	// What the events of before caused is only ready now.
	l.d.Send(before, []*scheduler.Call{kill(1)}, 0)
	l.send(revive())
	if c := nextCall(t, m); c.Type != scheduler.Call_REVIVE {
		t.Errorf("%s call, want REVIVE alone", c.Type)
	}
}

// A master, or what stands before it, that is overloaded: each type of call is tried
// again or undone, and the subscription lives.
func TestRefusedForNowIsRetriedOrUndoneByType(t *testing.T) {
	ack := calls.Acknowledge("a", "t", []byte("0123456789abcdef")).With(calls.Framework("F1"))
	acceptCall := calls.Accept(calls.OfferOperations{}.WithOffers(mesos.OfferID{Value: "o"})).With(calls.Framework("F1"))
	decline := calls.Decline(mesos.OfferID{Value: "o"}).With(calls.Framework("F1"))
	for _, test := range []struct {
		name   string
		code   int
		call   *scheduler.Call
		again  bool // the same call comes again
		undone bool // its offer is declined, and the core is told
		unsure bool
	}{
		{"too many: ACKNOWLEDGE", 429, ack, true, false, false},
		{"too many: DECLINE", 429, decline, true, false, false},
		{"too many: ACCEPT, which was not looked at", 429, acceptCall, true, false, false},
		{"unavailable for a moment: ACCEPT", 503, acceptCall, true, false, false},
		{"failed: KILL", 500, kill(1), true, false, false},
		{"failed: DECLINE", 502, decline, true, false, false},
		{"failed: ACCEPT, perhaps", 500, acceptCall, false, true, true},
		{"gateway gave up: ACCEPT, perhaps", 504, acceptCall, false, true, true},
		{"refused: ACCEPT", 400, acceptCall, false, true, false},
		{"refused: KILL", 400, kill(1), false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := fakemaster.New(t)
			l := start(t, nil, m.URL())
			l.subscribe(m)
			var refused atomic.Bool
			m.Answer(func(_ *http.Request, call *scheduler.Call) *fakemaster.Answer {
				if call != nil && call.Type == test.call.Type && !refused.Swap(true) {
					return &fakemaster.Answer{Code: test.code, Body: "not now", Header: map[string]string{"Retry-After": "0"}}
				}
				return nil
			})
			l.send(test.call)
			switch {
			case test.again:
				if c := nextCall(t, m); c.Type != test.call.Type {
					t.Errorf("%s call, want the %s again", c.Type, test.call.Type)
				}
			case test.undone:
				if c := nextCall(t, m); c.Type != scheduler.Call_DECLINE || c.Decline.OfferIDs[0].Value != "o" {
					t.Errorf("%s call, want DECLINE", c.Type)
				}
				if e := l.about(); e.Unsure != test.unsure || e.Session != l.session {
					t.Errorf("%+v", e)
				}
			}
			l.send(revive())
			if c := nextCall(t, m); c.Type != scheduler.Call_REVIVE {
				t.Errorf("%s call, want REVIVE on the same stream", c.Type)
			}
		})
	}
}

// An overloaded master takes long for each call. It is waited for as long as its
// events come, and nothing is sent twice.
func TestSlowMasterIsWaitedFor(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, nil, m.URL())
	l.subscribe(m)
	var accepts atomic.Int32
	m.Answer(func(_ *http.Request, call *scheduler.Call) *fakemaster.Answer {
		if call != nil && call.Type == scheduler.Call_ACCEPT {
			accepts.Add(1)
			time.Sleep(700 * time.Millisecond)
		}
		return nil
	})
	for i := range 3 {
		offer := mesos.OfferID{Value: fmt.Sprint("o", i)}
		l.send(calls.Accept(calls.OfferOperations{}.WithOffers(offer)).With(calls.Framework("F1")))
	}
	for i := range 3 {
		if c := nextCall(t, m); c.Type != scheduler.Call_ACCEPT || c.Accept.OfferIDs[0].Value != fmt.Sprint("o", i) {
			t.Fatalf("%s call, want ACCEPT %d", c.Type, i)
		}
	}
	if accepts.Load() != 3 {
		t.Errorf("%d ACCEPTs arrived", accepts.Load())
	}
}
