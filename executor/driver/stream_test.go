package driver

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/executor/fakeagent"
)

func TestOddChunkBorders(t *testing.T) {
	agent := fakeagent.New(t)
	server := httptest.NewServer(agent)
	defer server.Close()
	defer agent.Break()
	cfg := testConfig(nil)
	cfg.AgentEndpoint = strings.TrimPrefix(server.URL, "http://")
	d := start(t, cfg)
	d.expect(t, "subscribed")
	var all []byte
	for i := range 5 {
		event := &executor.Event{Type: executor.Event_MESSAGE, Message: &executor.Event_Message{Data: fmt.Appendf(nil, "m%d", i)}}
		record, err := event.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fakeagent.Record(record)...)
	}
	for i := range all {
		agent.SendRaw(all[i : i+1])
	}
	for i := range 5 {
		d.expect(t, fmt.Sprintf("message m%d", i))
	}
	d.Finish(0)
	if err := <-d.result; err != nil {
		t.Fatal(err)
	}
}

func TestUnknownAndBrokenEventsAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := fakeagent.New(t)
		d := start(t, testConfig(agent))
		d.expect(t, "subscribed")
		agent.Send(&executor.Event{Type: executor.Event_HEARTBEAT})
		agent.Send(&executor.Event{Type: 77})
		agent.Send(&executor.Event{Type: executor.Event_LAUNCH}) // without its body
		agent.Send(&executor.Event{Type: executor.Event_KILL})
		agent.Send(&executor.Event{Type: executor.Event_ACKNOWLEDGED})
		agent.SendRaw(fakeagent.Record([]byte{0xff, 0xff, 0xff}))
		// These end a process that decodes them as they are.
		agent.SendRaw(fakeagent.Record([]byte("\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f12345")))
		agent.SendRaw(fakeagent.Record(bytes.Repeat([]byte{0xc3, 0x0c}, 4<<20)))
		agent.SendRaw(fakeagent.Record(nil))
		agent.Message([]byte("still there"))
		d.expect(t, "message still there")
		agent.Send(&executor.Event{Type: executor.Event_LAUNCH_GROUP, LaunchGroup: &executor.Event_LaunchGroup{
			TaskGroup: mesos.TaskGroupInfo{Tasks: []mesos.TaskInfo{launched("x"), launched("y")}},
		}})
		d.expect(t, "launch x")
		d.expect(t, "launch y")
		agent.Send(&executor.Event{Type: executor.Event_ERROR, Error: &executor.Event_Error{Message: "no"}})
		d.expect(t, "error no")
		d.cancel(errors.New("test over"))
		<-d.result
	})
}

func TestHalfOpenStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := fakeagent.New(t)
		agent.AutoAck = false
		d := start(t, testConfig(agent))
		d.expect(t, "subscribed")
		began := time.Now()
		d.Update(status("a", mesos.TASK_RUNNING))
		d.expect(t, "subscribed")
		if took := time.Since(began); took < ackTimeout || took > ackTimeout+5*time.Second {
			t.Errorf("replaced after %v", took)
		}
		// If that does not help it is tried less and less often.
		began = time.Now()
		d.expect(t, "subscribed")
		if took := time.Since(began); took < 2*ackTimeout {
			t.Errorf("replaced again after %v", took)
		}
		d.Finish(time.Minute)
		if err := <-d.result; !errors.Is(err, ErrUnacknowledged) {
			t.Fatal(err)
		}
	})
}

func TestSilentStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := fakeagent.New(t)
		d := start(t, testConfig(agent))
		d.expect(t, "subscribed")
		time.Sleep(24 * time.Hour)
		if agent.Streams() != 1 {
			t.Fatalf("an agent without heartbeats was left")
		}
		agent.Send(&executor.Event{Type: executor.Event_HEARTBEAT})
		time.Sleep(silenceLimit + time.Minute)
		if agent.Streams() != 2 {
			t.Fatalf("%d streams", agent.Streams())
		}
		d.Finish(0)
		if err := <-d.result; err != nil {
			t.Fatal(err)
		}
	})
}

func TestStreamWithoutGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := fakeagent.New(t)
		greeting := agent.Subscribed
		agent.Subscribed = nil
		d := start(t, testConfig(agent))
		time.Sleep(5*time.Minute + 10*time.Second) // in the life of a stream
		if n := agent.Streams(); n < 8 || n > 12 {
			t.Errorf("%d streams in 5 minutes", n)
		}
		agent.Send(greeting)
		d.expect(t, "subscribed")
		time.Sleep(time.Hour)
		if n := agent.Streams(); n > 12 {
			t.Errorf("%d streams", n)
		}
		d.Finish(0)
		if err := <-d.result; err != nil {
			t.Fatal(err)
		}
	})
}

func TestFlappingStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := fakeagent.New(t)
		d := start(t, testConfig(agent))
		for began := time.Now(); time.Since(began) < 10*time.Second; {
			d.expect(t, "subscribed")
			agent.Break()
		}
		if n := agent.Streams(); n > 30 {
			t.Errorf("%d streams in 10 s", n)
		}
		d.cancel(errors.New("test over"))
		<-d.result
	})
}

func TestSubscribeWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := fakeagent.New(t)
		var deaf atomic.Bool
		deaf.Store(true)
		cfg := testConfig(roundTripper(func(req *http.Request) (*http.Response, error) {
			if deaf.Load() {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return agent.RoundTrip(req)
		}))
		d := start(t, cfg)
		time.Sleep(time.Minute)
		deaf.Store(false)
		d.expect(t, "subscribed")
		d.Finish(0)
		if err := <-d.result; err != nil {
			t.Fatal(err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)
