package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

// framework is a scheduler that a test drives by hand. It acknowledges updates.
type framework struct {
	t      *testing.T
	ctx    context.Context
	url    string
	id     mesos.FrameworkID
	stream string
	events chan *scheduler.Event
	ends   map[string]*message.Sealer // the scheduler's, by executor
}

const protobuf = "application/x-protobuf"

func subscribe(t *testing.T, ctx context.Context, master string, checkpoint bool) *framework {
	t.Helper()
	f := &framework{t: t, ctx: ctx, url: master + "/api/v1/scheduler", events: make(chan *scheduler.Event, 10000)}
	timeout := float64(600)
	resp := f.post(&scheduler.Call{Type: scheduler.Call_SUBSCRIBE, Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: &mesos.FrameworkInfo{
		User: "root", Name: "test", Checkpoint: &checkpoint, FailoverTimeout: &timeout, Roles: []string{"mining"},
		Capabilities: []mesos.FrameworkInfo_Capability{
			{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE},
			{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE},
			{Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE},
		},
	}}})
	f.stream = resp.Header.Get("Mesos-Stream-Id")
	var reading sync.WaitGroup
	reading.Go(func() { f.read(resp.Body) })
	t.Cleanup(func() {
		resp.Body.Close()
		reading.Wait()
	})
	f.id = *f.next("SUBSCRIBED", func(e *scheduler.Event) bool { return e.Type == scheduler.Event_SUBSCRIBED }).Subscribed.FrameworkID
	return f
}

func (f *framework) post(call *scheduler.Call) *http.Response {
	f.t.Helper()
	body, err := call.Marshal()
	if err != nil {
		f.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", protobuf)
	req.Header.Set("Accept", protobuf)
	if f.stream != "" {
		req.Header.Set("Mesos-Stream-Id", f.stream)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatalf("%v: %v", call.Type, err)
	}
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(resp.Body)
		f.t.Fatalf("%v: %s: %s", call.Type, resp.Status, text)
	}
	return resp
}

func (f *framework) call(call *scheduler.Call) {
	f.t.Helper()
	call.FrameworkID = &f.id
	f.post(call).Body.Close()
}

func (f *framework) read(body io.Reader) {
	defer close(f.events)
	for in := bufio.NewReader(body); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		size, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return
		}
		record := make([]byte, size)
		if _, err := io.ReadFull(in, record); err != nil {
			return
		}
		event := new(scheduler.Event)
		if event.Unmarshal(record) == nil {
			f.events <- event
		}
	}
}

// next waits for an event and forgets those before it; updates are acknowledged.
func (f *framework) next(what string, want func(*scheduler.Event) bool) *scheduler.Event {
	f.t.Helper()
	for {
		select {
		case e, ok := <-f.events:
			if !ok {
				f.t.Fatalf("the stream ended before %s", what)
			}
			if u := e.GetUpdate(); u != nil && len(u.Status.UUID) > 0 {
				f.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE, Acknowledge: &scheduler.Call_Acknowledge{
					AgentID: *u.Status.AgentID, TaskID: u.Status.TaskID, UUID: u.Status.UUID,
				}})
			}
			if want(e) {
				return e
			}
			if u := e.GetUpdate(); u != nil {
				f.t.Logf("update %v %q", u.Status.GetState(), u.Status.GetMessage())
			}
		case <-f.ctx.Done():
			f.t.Fatalf("no %s", what)
		}
	}
}

func (f *framework) state(task string, state mesos.TaskState) mesos.TaskStatus {
	f.t.Helper()
	return f.next(fmt.Sprint(task, " ", state), func(e *scheduler.Event) bool {
		u := e.GetUpdate()
		return u != nil && u.Status.TaskID.Value == task && u.Status.GetState() == state
	}).Update.Status
}

func (f *framework) report(want func(*message.Report) bool) (report *message.Report) {
	f.t.Helper()
	f.next("report", func(e *scheduler.Event) bool {
		if e.GetMessage() == nil {
			return false
		}
		m, err := f.ends[e.Message.ExecutorID.Value].OpenToScheduler(e.Message.Data)
		if err != nil {
			f.t.Fatal(err)
		}
		report = m.GetReport()
		return report != nil && want(report)
	})
	return report
}

func anyReport(*message.Report) bool { return true }

// launch takes the next offer for one task with an executor of its own.
func (f *framework) launch(task string, spec *message.Task, command *mesos.CommandInfo) mesos.Offer {
	f.t.Helper()
	offer := f.next("OFFERS", func(e *scheduler.Event) bool { return e.Type == scheduler.Event_OFFERS }).Offers.Offers[0]
	spec.Link = &message.Link{Key: launchKey, Session: 1}
	if f.ends == nil {
		f.ends = make(map[string]*message.Sealer)
	}
	f.ends["e-"+task] = message.SchedulerEnd(launchKey, 1)
	data, err := message.Encode(spec)
	if err != nil {
		f.t.Fatal(err)
	}
	info := mesos.TaskInfo{
		Name: task, TaskID: mesos.TaskID{Value: task}, AgentID: offer.AgentID, Data: data,
		Resources: []mesos.Resource{cpus(1), memory(64)},
		Executor: &mesos.ExecutorInfo{
			Type: mesos.ExecutorInfo_CUSTOM, ExecutorID: mesos.ExecutorID{Value: "e-" + task}, Command: command,
			Resources: []mesos.Resource{cpus(0.1), memory(64)},
		},
	}
	f.call(&scheduler.Call{Type: scheduler.Call_ACCEPT, Accept: &scheduler.Call_Accept{
		OfferIDs: []mesos.OfferID{offer.ID},
		Operations: []mesos.Offer_Operation{{
			Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: []mesos.TaskInfo{info}},
		}},
	}})
	return offer
}

func memory(mib float64) mesos.Resource {
	kind := mesos.SCALAR
	return mesos.Resource{Name: "mem", Type: &kind, Scalar: &mesos.Value_Scalar{Value: mib}}
}

func (f *framework) kill(task string, grace time.Duration) {
	f.t.Helper()
	f.call(&scheduler.Call{Type: scheduler.Call_KILL, Kill: &scheduler.Call_Kill{
		TaskID: mesos.TaskID{Value: task}, KillPolicy: &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(grace)}},
	}})
}

// failure waits for the end of an executor and returns its wait status.
func (f *framework) failure(executor string) int32 {
	f.t.Helper()
	return f.next("FAILURE of "+executor, func(e *scheduler.Event) bool {
		return e.GetFailure().GetExecutorID().GetValue() == executor
	}).Failure.GetStatus()
}
