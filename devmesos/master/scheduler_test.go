package master

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
)

type jsonObject = map[string]any

// bench is a master with fake agents and schedulers, in virtual time.
type bench struct {
	t *testing.T
	*Master
	agents []*fakeAgent
}

// onBench runs a test in virtual time with a master and some agents of 4 cpus, 4096
// MB, 100 ports.
func onBench(t *testing.T, cfg Config, agents int, run func(*bench)) {
	synctest.Test(t, func(t *testing.T) {
		cfg.Address = "127.0.0.1:5050"
		m, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{t: t, Master: m}
		defer func() { b.Close() }()
		for i := range agents {
			a := newFakeAgent(fmt.Sprintf("127.0.0.1:%d", 15001+i), fmt.Sprint("n", i), fmt.Sprintf("cpus:4;mem:4096;ports:[%d-%d]", 31000+100*i, 31099+100*i))
			a.join(m)
			b.agents = append(b.agents, a)
		}
		run(b)
	})
}

// client is a scheduler of a test.
type client struct {
	b      *bench
	id     string
	stream *memStream
	read   int // events
}

func (b *bench) subscribe(info jsonObject) *client {
	b.t.Helper()
	call := jsonObject{"type": "SUBSCRIBE", "subscribe": jsonObject{"framework_info": info}}
	if id, ok := info["id"]; ok {
		call["framework_id"] = id
	}
	c := &client{b: b, stream: serve(b.t, b, "POST", "/api/v1/scheduler", http.Header{"Content-Type": {"application/json"}}, marshal(call))}
	synctest.Wait()
	if first := c.next(); dig(first, "type") == "SUBSCRIBED" {
		c.id = dig(first, "subscribed", "framework_id", "value").(string)
	} else {
		b.t.Fatalf("refused: %v", first)
	}
	return c
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func testFramework(capabilities ...string) jsonObject {
	info := jsonObject{"user": "u", "name": "test", "failover_timeout": 3600, "checkpoint": true}
	list := []any{}
	for _, c := range capabilities {
		list = append(list, jsonObject{"type": c})
	}
	info["capabilities"] = list
	if slices.Contains(capabilities, "MULTI_ROLE") {
		info["roles"] = []any{"r"}
	}
	return info
}

// next is the next event but heartbeats; nil if there is none now.
func (c *client) next() any {
	synctest.Wait()
	all := c.stream.events()
	for c.read < len(all) {
		event := all[c.read].body
		c.read++
		if dig(event, "type") != "HEARTBEAT" {
			return event
		}
	}
	return nil
}

// until skips to an event of a type.
func (c *client) until(kind string) any {
	c.b.t.Helper()
	for try := 0; try < 100; try++ {
		for event := c.next(); event != nil; event = c.next() {
			if dig(event, "type") == kind {
				return event
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.b.t.Fatalf("no %s", kind)
	return nil
}

// rest lists the events that are left, by type and what they are about.
func (c *client) rest() []string {
	var list []string
	for event := c.next(); event != nil; event = c.next() {
		kind := dig(event, "type").(string)
		switch kind {
		case "UPDATE":
			kind = fmt.Sprint(dig(event, "update", "status", "task_id", "value"), " ", dig(event, "update", "status", "state"))
		case "FAILURE":
			if e := dig(event, "failure", "executor_id", "value"); e != nil {
				kind += fmt.Sprint(" ", e)
			}
		case "OFFERS":
			kind += fmt.Sprint(" ", len(dig(event, "offers", "offers").([]any)))
		}
		list = append(list, kind)
	}
	return list
}

func (c *client) want(events ...string) {
	c.b.t.Helper()
	if got := c.rest(); !slices.Equal(got, events) {
		c.b.t.Errorf("heard %q, want %q", got, events)
	}
}

// try makes a call and returns the answer.
func (c *client) try(kind string, part any) *memStream {
	call := jsonObject{"type": kind, "framework_id": jsonObject{"value": c.id}}
	if part != nil {
		call[strings.ToLower(kind)] = part
	}
	header := http.Header{"Content-Type": {"application/json"}, "Mesos-Stream-Id": {c.stream.header.Get("Mesos-Stream-Id")}}
	s := serve(c.b.t, c.b, "POST", "/api/v1/scheduler", header, marshal(call))
	s.wait()
	return s
}

func (c *client) call(kind string, part any) {
	c.b.t.Helper()
	if s := c.try(kind, part); s.status() != http.StatusAccepted {
		c.b.t.Fatalf("%s: %d %s", kind, s.status(), s.text())
	}
}

// launch takes the next offer for a task of 1 cpu and 128 MB in an executor of its own.
func (c *client) launch(task string) (agent string) {
	c.b.t.Helper()
	offer := dig(c.until("OFFERS"), "offers", "offers", 0)
	agent = dig(offer, "agent_id", "value").(string)
	c.call("ACCEPT", jsonObject{"offer_ids": []any{dig(offer, "id")}, "filters": jsonObject{"refuse_seconds": 0}, "operations": []any{
		jsonObject{"type": "LAUNCH", "launch": jsonObject{"task_infos": []any{taskInfo(task, agent)}}},
	}})
	return agent
}

func taskInfo(task, agent string) jsonObject {
	scalar := func(name string, v float64) jsonObject {
		return jsonObject{"name": name, "type": "SCALAR", "scalar": jsonObject{"value": v}}
	}
	return jsonObject{
		"name": task, "task_id": jsonObject{"value": task}, "agent_id": jsonObject{"value": agent},
		"resources": []any{scalar("cpus", 1), scalar("mem", 128)},
		"executor": jsonObject{
			"type": "CUSTOM", "executor_id": jsonObject{"value": "e-" + task},
			"resources": []any{scalar("cpus", 0.1), scalar("mem", 32)},
			"command":   jsonObject{"value": "true"},
		},
	}
}

func (b *bench) agent(id string) *fakeAgent {
	for _, a := range b.agents {
		if a.id == id {
			return a
		}
	}
	b.t.Fatalf("no agent %s", id)
	return nil
}

// says has an agent report a state of a task.
func (a *fakeAgent) says(task string, state mesos.TaskState, uuid byte) {
	var id []byte
	if uuid != 0 {
		id = uuidOf(uuid)
	}
	a.report(a.frameworkOf(task), mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: task}, State: &state, Source: mesos.SOURCE_EXECUTOR.Enum(), UUID: id,
		AgentID: &mesos.AgentID{Value: a.id}, ExecutorID: &mesos.ExecutorID{Value: "e-" + task}, Timestamp: ptr(1.0),
	})
	synctest.Wait()
}

func (c *client) acknowledge(task, agent string, uuid byte) {
	c.call("ACKNOWLEDGE", jsonObject{"agent_id": jsonObject{"value": agent}, "task_id": jsonObject{"value": task}, "uuid": uuidOf(uuid)})
}

// uuidOf is a UUID of version 4 with a number in it.
func uuidOf(n byte) []byte { return []byte{0: n, 6: 0x40, 8: 0x80, 15: 0} }

func (a *fakeAgent) die() {
	a.mu.Lock()
	a.silent = true
	m, id := a.master, a.id
	a.mu.Unlock()
	m.Disconnected(mesos.AgentID{Value: id})
	synctest.Wait()
}

func (a *fakeAgent) comeBack(m link.Master) {
	a.mu.Lock()
	a.silent = false
	a.mu.Unlock()
	a.join(m)
	synctest.Wait()
}

func TestKillOfDisconnectedAgentIsRemembered(t *testing.T) {
	onBench(t, Config{}, 1, func(b *bench) {
		c := b.subscribe(testFramework("PARTITION_AWARE"))
		a := b.agent(c.launch("t"))
		a.says("t", mesos.TASK_RUNNING, 1)
		a.die()
		c.call("KILL", jsonObject{"task_id": jsonObject{"value": "t"}})
		if slices.Contains(a.heardCalls(), "kill t") {
			b.t.Error("a kill reached an agent that is not there")
		}
		a.comeBack(b.Master)
		if !slices.Contains(a.heardCalls(), "kill t") {
			b.t.Errorf("the kill was forgotten; the agent heard %q", a.heardCalls())
		}
	})
}

func TestKillWithWrongAgentIsIgnored(t *testing.T) {
	onBench(t, Config{}, 2, func(b *bench) {
		c := b.subscribe(testFramework("PARTITION_AWARE"))
		id := c.launch("t")
		other := b.agents[0].id
		if other == id {
			other = b.agents[1].id
		}
		c.rest()
		c.call("KILL", jsonObject{"task_id": jsonObject{"value": "t"}, "agent_id": jsonObject{"value": other}})
		c.want()
		if slices.Contains(b.agent(id).heardCalls(), "kill t") {
			b.t.Error("the kill arrived")
		}
	})
}

func TestTerminalUpdateFreesAndAcknowledgementForgets(t *testing.T) {
	onBench(t, Config{}, 1, func(b *bench) {
		c := b.subscribe(testFramework("PARTITION_AWARE"))
		a := b.agent(c.launch("t"))
		a.says("t", mesos.TASK_FINISHED, 1)
		a.exited("e-t", 0)
		c.want("t TASK_FINISHED", "FAILURE e-t")
		c.call("RECONCILE", jsonObject{"tasks": []any{jsonObject{"task_id": jsonObject{"value": "t"}}}})
		c.want("t TASK_FINISHED")
		time.Sleep(time.Second)
		if cpus := dig(c.until("OFFERS"), "offers", "offers", 0, "resources", 1, "scalar", "value"); cpus != 4.0 {
			b.t.Errorf("%v cpus are offered after the task, want 4", cpus)
		}
		c.acknowledge("t", a.id, 9) // not the uuid of the update
		c.call("RECONCILE", jsonObject{"tasks": []any{jsonObject{"task_id": jsonObject{"value": "t"}}}})
		c.want("t TASK_FINISHED")
		c.acknowledge("t", a.id, 1)
		c.call("RECONCILE", jsonObject{"tasks": []any{jsonObject{"task_id": jsonObject{"value": "t"}, "agent_id": jsonObject{"value": a.id}}}})
		c.want("t TASK_GONE")
	})
}

func TestMessagesAreLostWithoutReceiver(t *testing.T) {
	onBench(t, Config{}, 1, func(b *bench) {
		c := b.subscribe(testFramework())
		a := b.agent(c.launch("t"))
		a.says("t", mesos.TASK_RUNNING, 1)
		send := func() {
			c.call("MESSAGE", jsonObject{"agent_id": jsonObject{"value": a.id}, "executor_id": jsonObject{"value": "e-t"}, "data": []byte("x")})
		}
		b.DropMessages(1)
		send()
		send()
		c.call("MESSAGE", jsonObject{"agent_id": jsonObject{"value": "nobody"}, "executor_id": jsonObject{"value": "e-t"}, "data": []byte("x")})
		heard := slices.DeleteFunc(a.heardCalls(), func(s string) bool { return !strings.HasPrefix(s, "message") })
		if !slices.Equal(heard, []string{"message e-t x"}) {
			b.t.Errorf("the agent heard %q, want one message", heard)
		}
		c.rest()
		c.stream.cancel()
		synctest.Wait()
		a.master.ExecutorMessage(mesos.AgentID{Value: a.id}, mesos.FrameworkID{Value: c.id}, mesos.ExecutorID{Value: "e-t"}, []byte("lost"))
		info := testFramework()
		info["id"] = jsonObject{"value": c.id}
		again := b.subscribe(info)
		if got := again.rest(); slices.Contains(got, "MESSAGE") {
			b.t.Errorf("a message waited for the scheduler: %q", got)
		}
	})
}

func TestUnknownTypeOfCall(t *testing.T) {
	onBench(t, Config{}, 0, func(b *bench) {
		c := b.subscribe(testFramework())
		if s := c.try("UNKNOWN", nil); s.status() != http.StatusNotImplemented {
			b.t.Errorf("UNKNOWN gives %d %s, want 501", s.status(), s.text())
		}
		c.want()
	})
}

func TestFaults(t *testing.T) {
	onBench(t, Config{}, 1, func(b *bench) {
		c := b.subscribe(testFramework("PARTITION_AWARE"))
		a := b.agent(c.launch("t"))
		c.until("OFFERS")
		b.DelayUpdates(10 * time.Second)
		a.says("t", mesos.TASK_STARTING, 1)
		b.DelayUpdates(0)
		a.says("t", mesos.TASK_RUNNING, 2)
		c.want()
		time.Sleep(10 * time.Second)
		c.want("t TASK_STARTING", "t TASK_RUNNING")
		b.DuplicateUpdates(1)
		a.says("t", mesos.TASK_FINISHED, 3)
		c.want("t TASK_FINISHED", "t TASK_FINISHED")
		if n := b.RescindOffers(); n != 1 {
			b.t.Errorf("%d offers were taken back, want 1", n)
		}
		c.want("RESCIND")
		b.UnknownEvent(c.id)
		c.want("EVENT_OF_THE_FUTURE")
		b.Refuse503(time.Minute)
		if s := c.try("REVIVE", nil); s.status() != http.StatusServiceUnavailable {
			b.t.Errorf("REVIVE gives %d, want 503", s.status())
		}
		time.Sleep(time.Minute)
		c.rest()
		b.RedirectToSelf(true)
		if s := c.try("REVIVE", nil); s.status() != http.StatusTemporaryRedirect || s.header.Get("Location") != "//127.0.0.1:5050/api/v1/scheduler" {
			b.t.Errorf("REVIVE gives %d %q, want a redirect to itself", s.status(), s.header.Get("Location"))
		}
		b.RedirectToSelf(false)
		b.HalfOpen(c.id)
		time.Sleep(time.Minute)
		heard := len(c.stream.events())
		c.call("REVIVE", nil)
		time.Sleep(time.Minute)
		if n := len(c.stream.events()); n != heard {
			b.t.Errorf("%d events on a half-open stream", n-heard)
		}
		b.SendError(c.id, "over")
		if b.CutStream("nobody") {
			b.t.Error("the stream of a framework that is not there was cut")
		}
	})
}

func TestOperatorAPI(t *testing.T) {
	onBench(t, Config{}, 1, func(b *bench) {
		operate := func(accept, body string) *memStream {
			return serve(b.t, b, "POST", "/api/v1", http.Header{"Content-Type": {"application/json"}, "Accept": {accept}}, []byte(body))
		}
		watch := operate("application/json", `{"type":"SUBSCRIBE"}`)
		synctest.Wait()
		c := b.subscribe(testFramework())
		a := b.agent(c.launch("t"))
		a.says("t", mesos.TASK_RUNNING, 1)
		for _, kind := range []string{"GET_STATE", "GET_AGENTS", "GET_TASKS", "GET_FRAMEWORKS", "GET_EXECUTORS", "GET_METRICS", "GET_ROLES"} {
			s := operate("application/x-protobuf", fmt.Sprintf(`{"type":%q}`, kind))
			if s.wait(); s.status() != http.StatusOK || s.header.Get("Content-Type") != "application/x-protobuf" || len(s.text()) == 0 {
				b.t.Errorf("%s in protobuf gives %d %q", kind, s.status(), s.text())
			}
		}
		for body, want := range map[string]int{
			`{"type":"GET_WEIGHTS"}`: 501,
			`{"type":"DRAIN_AGENT"}`: 400,
			`{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"x"}}}`:  404,
			`{"type":"TEARDOWN","teardown":{"framework_id":{"value":"x"}}}`:            400,
			`{"type":"TEARDOWN","teardown":{"framework_id":{"value":"` + c.id + `"}}}`: 200,
		} {
			if s := operate("application/json", body); s.wait() == "" && want != 200 || s.status() != want {
				b.t.Errorf("%s gives %d %q, want %d", body, s.status(), s.text(), want)
			}
		}
		var kinds []string
		synctest.Wait()
		for _, h := range watch.events() {
			kinds = append(kinds, dig(h.body, "type").(string))
		}
		want := []string{"SUBSCRIBED", "HEARTBEAT", "FRAMEWORK_ADDED", "TASK_ADDED", "TASK_UPDATED", "TASK_UPDATED", "FRAMEWORK_REMOVED"}
		if !slices.Equal(kinds, want) {
			b.t.Errorf("the operator heard %q, want %q", kinds, want)
		}
	})
}

func TestMachineDown(t *testing.T) {
	onBench(t, Config{}, 1, func(b *bench) {
		c := b.subscribe(testFramework("PARTITION_AWARE"))
		a := b.agent(c.launch("t"))
		a.says("t", mesos.TASK_RUNNING, 1)
		c.rest()
		machine := `[{"hostname":"127.0.0.1","ip":"127.0.0.1"}]`
		header := http.Header{"Content-Type": {"application/json"}}
		if s := serve(b.t, b, "POST", "/machine/down", header, []byte(machine)); s.wait() != "" || s.status() != 200 {
			b.t.Fatalf("/machine/down gives %d %s", s.status(), s.text())
		}
		c.want("t TASK_LOST", "FAILURE")
		a.mu.Lock()
		a.id = ""
		a.mu.Unlock()
		b.RegisterAgent(a, a.info)
		synctest.Wait()
		if got := a.heardCalls()[len(a.heardCalls())-1]; got != "shutdown Operator initiated 'Machine DOWN'" {
			b.t.Errorf("an agent on a machine that is down hears %q", got)
		}
		serve(b.t, b, "POST", "/machine/up", header, []byte(machine)).wait()
		a.join(b.Master)
		c.until("OFFERS")
	})
}

func TestOfferConstraints(t *testing.T) {
	onBench(t, Config{}, 2, func(b *bench) {
		for constraint, want := range map[string]string{
			`{"selector":{"attribute_name":"node"},"predicate":{"text_equals":{"value":"n1"}}}`:                  "n1",
			`{"selector":{"attribute_name":"node"},"predicate":{"text_not_equals":{"value":"n1"}}}`:              "n0",
			`{"selector":{"attribute_name":"node"},"predicate":{"text_matches":{"regex":"n[1-9]"}}}`:             "n1",
			`{"selector":{"attribute_name":"node"},"predicate":{"text_not_matches":{"regex":"n[1-9]"}}}`:         "n0",
			`{"selector":{"attribute_name":"none"},"predicate":{"exists":{}}}`:                                   "",
			`{"selector":{"attribute_name":"none"},"predicate":{"not_exists":{}}}`:                               "n0 n1",
			`{"selector":{"pseudoattribute_type":"HOSTNAME"},"predicate":{"text_equals":{"value":"127.0.0.1"}}}`: "n0 n1",
			`{"selector":{"pseudoattribute_type":"ZONE"},"predicate":{"exists":{}}}`:                             "",
		} {
			body := `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"c"},"offer_constraints":{"role_constraints":{"*":{"groups":[{"attribute_constraints":[` + constraint + `]}]}}}}}`
			s := serve(b.t, b, "POST", "/api/v1/scheduler", http.Header{"Content-Type": {"application/json"}}, []byte(body))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			var nodes []string
			for _, h := range s.events() {
				offers, _ := dig(h.body, "offers", "offers").([]any)
				for _, o := range offers {
					nodes = append(nodes, dig(o, "attributes", 0, "text", "value").(string))
				}
			}
			slices.Sort(nodes)
			if got := strings.Join(nodes, " "); got != want {
				b.t.Errorf("%s: offers of %q, want %q", constraint, got, want)
			}
			s.cancel()
			synctest.Wait()
		}
	})
}
