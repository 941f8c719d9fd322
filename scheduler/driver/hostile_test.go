package driver_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler/driver"
	"lode/scheduler/internal/fakemaster"
)

// badMaster says that it leads, and answers SUBSCRIBE as misbehave does, until that
// returns false or the connection is closed.
func badMaster(t *testing.T, misbehave func(w io.Writer) bool) (url string, subscribes *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	subscribes = new(atomic.Int32)
	var wg sync.WaitGroup
	serve := func(conn net.Conn) {
		defer conn.Close()
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		if r.URL.Path == "/redirect" {
			fmt.Fprintf(conn, "HTTP/1.1 307 Temporary Redirect\r\nLocation: //%s\r\nContent-Length: 0\r\n\r\n", listener.Addr())
			return
		}
		subscribes.Add(1)
		for misbehave(conn) {
			time.Sleep(time.Millisecond)
		}
		_, _ = io.Copy(io.Discard, conn) // until the other side has enough
	}
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
	})
	return "http://" + listener.Addr().String(), subscribes
}

// say writes a text once and then a piece again and again, until nobody reads.
func say(text, again string) func(io.Writer) bool {
	begun := make(map[io.Writer]bool)
	var mu sync.Mutex
	return func(w io.Writer) bool {
		mu.Lock()
		piece := again
		if !begun[w] {
			begun[w], piece = true, text
		}
		mu.Unlock()
		_, err := io.WriteString(w, piece)
		return err == nil && again != ""
	}
}

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

func record(b []byte) string { return fmt.Sprintf("%d\n%s", len(b), b) }

func encoded(t *testing.T, e *scheduler.Event) string {
	t.Helper()
	b, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return record(b)
}

// TestMasterThatMisbehavesBlocksNoOther: the first master of the list misbehaves at
// one step up to the first event. The second one is reached soon, every time.
func TestMasterThatMisbehavesBlocksNoOther(t *testing.T) {
	const (
		ok      = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nTransfer-Encoding: chunked\r\n"
		stream  = ok + "Mesos-Stream-Id: s\r\n\r\n"
		endless = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
	)
	heartbeat := chunk(encoded(t, &scheduler.Event{Type: scheduler.Event_HEARTBEAT}))
	nameless := chunk(encoded(t, &scheduler.Event{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{FrameworkID: &mesos.FrameworkID{}}}))
	for _, test := range []struct {
		name        string
		text, again string
	}{
		{"never answers", "", ""},
		{"answers a letter at a time", "HTTP/1.1 200 OK\r\nX: ", "y"},
		{"sends headers without end", "HTTP/1.1 200 OK\r\n", strings.Repeat("X-Header: "+strings.Repeat("x", 1000)+"\r\n", 50)},
		{"says 'continue' without end", "", "HTTP/1.1 100 Continue\r\n\r\n"},
		{"speaks no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", ""},
		{"says 503 without end", endless, chunk(strings.Repeat("sorry ", 100))},
		{"says 503 slowly", endless, chunk("x")},
		{"says 503 and nothing more", endless, ""},
		{"says 401 slowly", strings.Replace(endless, "503 Service Unavailable", "401 Unauthorized", 1), chunk("x")},
		{"is no stream, without end", ok + "\r\n", chunk(strings.Repeat("x", 1000))},
		{"is no stream and says nothing", ok + "\r\n", ""},
		{"sends a stream of JSON", strings.Replace(stream, "x-protobuf", "json", 1), chunk("20\n{\"type\":\"HEARTBEAT\"}")},
		{"sends a stream and no event", stream, ""},
		{"sends heartbeats only", stream, heartbeat},
		{"subscribes without a framework id", stream, nameless},
		{"sends garbage only", stream, chunk("5\n\xff\xff\xff\xff\xff")},
		{"sends records of nothing", stream, chunk("0\n")},
		{"sends a huge record slowly", stream + chunk("200000000\n"), chunk("x")},
		{"sends a length without end", stream, chunk("0")},
		{"sends a negative length", stream + chunk("-5\nhello"), ""},
		{"sends a length beyond 64 bits", stream + chunk("99999999999999999999999999\n"), ""},
		{"sends a chunk without end", stream + "fffffffffffffff\r\n", "x"},
		{"sends what makes mesos-go panic", stream + chunk(record([]byte("\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f12345"))), ""},
		{"ends at once", stream + "0\r\n\r\n", ""},
		{"redirects to nowhere", "HTTP/1.1 307 Temporary Redirect\r\nLocation: //\r\nContent-Length: 0\r\n\r\n", ""},
		{"redirects to a silent one", "HTTP/1.1 307 Temporary Redirect\r\nLocation: //127.0.0.1:1\r\nContent-Length: 0\r\n\r\n", ""},
		{"rejects the call", "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", ""},
		{"refuses the credentials", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bad, tried := badMaster(t, say(test.text, test.again))
			good := fakemaster.New(t)
			l := start(t, func(c *driver.Config) {
				c.SubscribeTimeout, c.BackoffMost = time.Second, 100*time.Millisecond
			}, bad, good.URL())
			l.subscribe(good)
			if tried.Load() == 0 {
				t.Error("the first master was not even tried")
			}
		})
	}
}

func hang(*http.Request, *scheduler.Call) *fakemaster.Answer { return &fakemaster.Answer{Hang: true} }

// A master that is reached but silent costs nothing while another one answers.
func TestSilentMasterIsNotWaitedFor(t *testing.T) {
	silent, good := fakemaster.New(t), fakemaster.New(t)
	silent.Answer(hang)
	l := start(t, func(c *driver.Config) { c.AskTimeout = time.Hour }, silent.URL(), good.URL())
	l.subscribe(good) // or else the test takes an hour
}

func TestMastersThatAgreeAreBelievedFirst(t *testing.T) {
	bad, tried := badMaster(t, say("", ""))
	leader, follower := fakemaster.New(t), fakemaster.New(t)
	follower.Redirect(leader.Host())
	l := start(t, nil, bad, follower.URL(), leader.URL())
	l.subscribe(leader)
	if tried.Load() > 0 {
		t.Error("the master that only names itself was tried first")
	}
}

func TestFrozenLeaderIsLeftWhenAnotherLeads(t *testing.T) {
	frozen, next, follower := fakemaster.New(t), fakemaster.New(t), fakemaster.New(t)
	next.Redirect(frozen.Host())
	follower.Redirect(frozen.Host())
	quick := func(c *driver.Config) { c.LeaderCheck, c.AskTimeout = 20*time.Millisecond, 300*time.Millisecond }
	l := start(t, quick, frozen.URL(), next.URL(), follower.URL())
	l.subscribe(frozen)
	// Stopped, it still has its connections; the kernel even takes new ones.
	frozen.Answer(hang)
	next.Redirect("")
	follower.Redirect(next.Host())
	if err := l.lost(); !strings.Contains(err.Error(), "leads") {
		t.Error(err)
	}
	l.subscribe(next)
}

func TestLeaderThatAnswersIsNotLeft(t *testing.T) {
	leader, confused := fakemaster.New(t), fakemaster.New(t)
	confused.Redirect(leader.Host())
	l := start(t, func(c *driver.Config) { c.LeaderCheck = 5 * time.Millisecond }, leader.URL(), confused.URL())
	l.subscribe(leader)
	confused.Redirect("") // now it says that it leads
	asked := len(confused.Requests())
	for len(confused.Requests()) < asked+10 {
		time.Sleep(5 * time.Millisecond)
	}
	l.send(revive())
	if c := nextCall(t, leader); c.Type != scheduler.Call_REVIVE {
		t.Errorf("%s call, want REVIVE on the same stream", c.Type)
	}
}

// lines counts log records.
type lines struct{ n *atomic.Int32 }

func (l lines) Write(b []byte) (int, error) {
	l.n.Add(int32(bytes.Count(b, []byte("\n"))))
	return len(b), nil
}

func TestGarbageIsSurvivedInFewLines(t *testing.T) {
	m := fakemaster.New(t)
	var logged atomic.Int32
	l := start(t, func(c *driver.Config) { c.Logger = slog.New(slog.NewTextHandler(lines{&logged}, nil)) }, m.URL())
	l.subscribe(m)
	garbage := "15\n\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f12345" + "5\n\xff\xff\xff\xff\xff"
	m.SendRaw([]byte(strings.Repeat(garbage, 1000)))
	deep := bytes.Repeat([]byte{0xc3, 0x0c}, 4<<20)
	m.SendRaw([]byte(record(deep)))
	m.Send(&scheduler.Event{Type: scheduler.Event_RESCIND, Rescind: &scheduler.Event_Rescind{OfferID: mesos.OfferID{Value: "O1"}}})
	if e := l.next(); e.Type != scheduler.Event_RESCIND {
		t.Fatalf("%s event", e.Type)
	}
	if n := logged.Load(); n == 0 || n > 20 {
		t.Errorf("%d lines of log", n)
	}
}

// Garbage keeps no stream alive.
func TestGarbageIsNoSignOfLife(t *testing.T) {
	m := fakemaster.New(t)
	l := start(t, func(c *driver.Config) { c.HeartbeatsMissed = 1 }, m.URL())
	nextCall(t, m)
	m.Send(fakemaster.Subscribed("F1", 1))
	l.next()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				m.SendRaw([]byte("5\n\xff\xff\xff\xff\xff"))
			}
		}
	})
	err := l.lost()
	close(stop)
	wg.Wait()
	if !strings.Contains(err.Error(), "no heartbeat") {
		t.Error(err)
	}
}

func TestHeartbeatIntervalIsBounded(t *testing.T) {
	for _, test := range []struct{ says, missed float64 }{{1e-300, 1}, {-1, 0}} {
		m := fakemaster.New(t)
		l := start(t, func(c *driver.Config) { c.HeartbeatsMissed = 1 }, m.URL())
		nextCall(t, m)
		m.Send(fakemaster.Subscribed("F1", test.says))
		l.next()
		time.Sleep(300 * time.Millisecond) // by its word the stream was dead long ago
		l.send(revive())
		if c := nextCall(t, m); c.Type != scheduler.Call_REVIVE {
			t.Errorf("%g s: %s call, want REVIVE on the same stream", test.says, c.Type)
		}
	}
}

// The offers of a whole cluster come in one event; they are not all decoded at once.
func TestOffersOfALargeClusterComeInParts(t *testing.T) {
	const agents = 50_000
	offer := mesos.Offer{
		ID: mesos.OfferID{Value: "7e606d99-1560-4253-8e1c-9f1b4a1b6c10-O1234567"}, FrameworkID: mesos.FrameworkID{Value: "F1"},
		AgentID: mesos.AgentID{Value: "7e606d99-1560-4253-8e1c-9f1b4a1b6c10-S1234567"}, Hostname: "agent.example",
	}
	one, err := offer.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	one = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(one))), one...)
	all := bytes.Repeat(one, agents)
	event := append(binary.AppendUvarint([]byte{1 << 3, byte(scheduler.Event_OFFERS), 3<<3 | 2}, uint64(len(all))), all...)
	m := fakemaster.New(t)
	l := start(t, nil, m.URL())
	l.subscribe(m)
	m.SendRaw([]byte(record(event)))
	for got := 0; got < agents; {
		e := l.next()
		n := len(e.GetOffers().GetOffers())
		if e.Type != scheduler.Event_OFFERS || n > agents/10 {
			t.Fatalf("%s event with %d offers", e.Type, n)
		}
		got += n
	}
}

// Answers to calls are bounded too, and none of them ends the subscription.
func TestAnswersToCallsThatMisbehave(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer fakemaster.Answer
	}{
		{"a text of 20 MB", fakemaster.Answer{Code: 400, Body: strings.Repeat("no ", 7<<20)}},
		{"an accepted call with a text of 20 MB", fakemaster.Answer{Code: 202, Body: strings.Repeat("yes", 7<<20)}},
		{"a header of 10 MB", fakemaster.Answer{Code: 202, Header: map[string]string{"X": strings.Repeat("x", 10<<20)}}},
		{"no answer", fakemaster.Answer{Hang: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := fakemaster.New(t)
			l := start(t, func(c *driver.Config) { c.CallTimeout = 300 * time.Millisecond }, m.URL())
			l.subscribe(m)
			var kills atomic.Int32
			m.Answer(func(_ *http.Request, call *scheduler.Call) *fakemaster.Answer {
				if call != nil && call.Type == scheduler.Call_KILL && kills.Add(1) == 1 {
					return &test.answer
				}
				return nil
			})
			l.send(kill(1))
			l.send(revive()) // before the KILL
			l.send(kill(2))
			var got []scheduler.Call_Type
			for !slices.Contains(got, scheduler.Call_REVIVE) || !slices.Contains(got, scheduler.Call_KILL) {
				c := nextCall(t, m)
				if c.Type == scheduler.Call_SUBSCRIBE {
					t.Fatal("the subscription was given up")
				}
				got = append(got, c.Type)
			}
		})
	}
}

// A master that closes each connection for calls as soon as it is open, or as soon as
// it is idle, is not called upon without need.
func TestConnectionsForCallsThatEnd(t *testing.T) {
	for name, answers := range map[string]int{"at once": 0, "after an answer": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var connections, calls atomic.Int32
			var wg sync.WaitGroup
			first := encoded(t, fakemaster.Subscribed("F1", 15))
			serve := func(conn net.Conn) {
				defer conn.Close()
				if connections.Add(1) > 2 && answers == 0 { // the first ones are for /redirect and SUBSCRIBE
					return
				}
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				body, _ := io.ReadAll(r.Body)
				call := new(scheduler.Call)
				switch {
				case r.URL.Path == "/redirect":
					fmt.Fprintf(conn, "HTTP/1.1 307 R\r\nLocation: //%s\r\nContent-Length: 0\r\n\r\n", listener.Addr())
				case call.Unmarshal(body) == nil && call.Type == scheduler.Call_SUBSCRIBE:
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nMesos-Stream-Id: s\r\n\r\n%s", first)
					_, _ = io.Copy(io.Discard, conn)
				default:
					calls.Add(1)
					fmt.Fprint(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
				}
			}
			wg.Go(func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					wg.Go(func() { serve(conn) })
				}
			})
			t.Cleanup(func() {
				listener.Close()
				wg.Wait()
			})
			l := start(t, nil, "http://"+listener.Addr().String())
			l.next()
			for i := range 3 {
				l.send(kill(i))
				time.Sleep(300 * time.Millisecond)
			}
			if n := connections.Load(); n > 8 {
				t.Errorf("%d connections in a second", n)
			}
			if n := calls.Load(); answers > 0 && n != 3 {
				t.Errorf("%d calls arrived", n)
			}
		})
	}
}
