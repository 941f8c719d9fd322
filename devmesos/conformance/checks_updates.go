package conformance

import (
	"fmt"
	"net/http"
	"time"
)

func updateChecks() []Check {
	pa := Spec{Caps: []string{"PARTITION_AWARE"}}
	return []Check{
		{Name: "updates/fields of an executor's update", Doc: "§2.9, §5.4; R03, R04", Run: func(c *C) { updateFields(c, JSON) }},
		{Name: "updates/the same in protobuf", Doc: "§1, §2.9, §5.4", Run: func(c *C) { updateFields(c, Protobuf) }},
		{Name: "updates/only the head is delivered", Doc: "§2.10; R04", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			p.Launched(ids[0])
			states := []string{"TASK_STARTING", "TASK_RUNNING", "TASK_RUNNING", "TASK_FINISHED"}
			for i, s := range states {
				st := p.Update(ids[0], s, Doc{"message": fmt.Sprint(i)})
				p.Acknowledged(st) // by the agent, at once: it does not wait for the scheduler
			}
			for i, s := range states {
				st := f.UpdateAny(ids[0])
				equal(c, "state", text(st, "state"), s)
				equal(c, "message", text(st, "message"), fmt.Sprint(i))
				if i < 2 {
					f.Quiet("the next update before the acknowledgement of the head", func(e Event) bool {
						return update(ids[0], "")(e) && text(e.Doc, "update.status.message") != fmt.Sprint(i)
					})
				}
				f.Acknowledge(st)
			}
		}},
		{Name: "updates/streams of tasks are independent", Doc: "§2.10; R04", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{Tasks: 2})
			p.Subscribe()
			p.Update(ids[0], "TASK_RUNNING")
			f.Update(ids[0], "TASK_RUNNING") // not acknowledged
			p.Update(ids[1], "TASK_RUNNING")
			f.Update(ids[1], "TASK_RUNNING")
		}},
		{Name: "updates/wrong, double and late acknowledgements", Doc: "§2.10; R04", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			p.Update(ids[0], "TASK_RUNNING")
			st := f.Update(ids[0], "TASK_RUNNING")
			p.Update(ids[0], "TASK_FINISHED")
			f.Acknowledge(merge(st, Doc{"uuid": newUUID()}))
			f.Quiet("the next update after an acknowledgement of another uuid", update(ids[0], "TASK_FINISHED"))
			f.Acknowledge(st)
			f.Acknowledge(st)
			last := f.Update(ids[0], "TASK_FINISHED")
			f.Acknowledge(last)
			f.Acknowledge(last)
			f.Quiet("ERROR", ofType("ERROR"))
		}},
		{Name: "updates/a repeated uuid is acknowledged and dropped", Doc: "§5.4; R04", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			st := p.Update(ids[0], "TASK_RUNNING")
			p.Call(http.StatusAccepted, Doc{"type": "UPDATE", "update": Doc{"status": st}})
			p.Acknowledged(st)
			p.Acknowledged(st)
			f.Take(ids[0], "TASK_RUNNING")
			p.Update(ids[0], "TASK_FINISHED")
			next := f.UpdateAny(ids[0])
			equal(c, "state after the first", text(next, "state"), "TASK_FINISHED")
		}},
		{Name: "updates/a uuid must be of a known version", Doc: "§5.4", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			p.Launched(ids[0])
			sent := p.Update(ids[0], "TASK_RUNNING")
			st := f.Update(ids[0], "TASK_RUNNING")
			for _, version := range []byte{0, 6, 15} {
				uuid := []byte(unb64(newUUID()))
				uuid[6] = version<<4 | uuid[6]&15
				odd := Doc{"uuid": b64(string(uuid))}
				a := p.Call(http.StatusBadRequest, Doc{"type": "UPDATE", "update": Doc{"status": merge(p.status(ids[0], "TASK_FINISHED"), odd)}})
				equal(c, "body", a.Body, "Failed to validate Executor::Call: Not a valid UUID")
				a = f.Expect(http.StatusBadRequest, "ACKNOWLEDGE", Doc{"acknowledge": merge(Doc{"agent_id": st["agent_id"], "task_id": st["task_id"]}, odd)})
				equal(c, "body", a.Body, "Failed to validate scheduler::Call: Not a valid UUID")
			}
			p.Acknowledged(sent)
			f.Acknowledge(st)
			p.Update(ids[0], "TASK_FINISHED")
			f.Take(ids[0], "TASK_FINISHED")
		}},
		{Name: "updates/after a terminal one they are acknowledged and dropped", Doc: "§5.4; R04", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			p.Update(ids[0], "TASK_FINISHED")
			p.Acknowledged(p.Update(ids[0], "TASK_RUNNING"))
			f.Take(ids[0], "TASK_FINISHED")
			f.Quiet("an update after the terminal one", update(ids[0], ""))
		}},
		{Name: "updates/of an unknown task reach the scheduler", Doc: "§5.4; R03c, R04", Run: func(c *C) {
			f := c.Framework(pa)
			p, _ := f.Start(Prepared{})
			p.Subscribe()
			id := c.name("unknown")
			sent := p.Update(id, "TASK_RUNNING")
			st := f.Update(id, "TASK_RUNNING")
			equal(c, "uuid", text(st, "uuid"), text(sent, "uuid"))
			f.Acknowledge(st)
		}},
		{Name: "updates/without a timestamp", Doc: "§5.4; R03c", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			p.Launched(ids[0])
			st := p.status(ids[0], "TASK_RUNNING")
			delete(st, "timestamp")
			p.Call(http.StatusAccepted, Doc{"type": "UPDATE", "update": Doc{"status": st}})
			if ts := number(f.Take(ids[0], "TASK_RUNNING"), "timestamp"); ts < 1e9 {
				c.Errorf("timestamp %v, expected the agent to fill in the time", ts)
			}
		}},
		{Name: "updates/unusual states of an executor are forwarded", Doc: "§5.4; R04", Run: func(c *C) {
			f := c.Framework(pa) // without TASK_KILLING_STATE
			p, ids := f.Start(Prepared{Tasks: 2})
			p.Subscribe()
			for _, s := range []string{"TASK_KILLING", "TASK_LOST"} {
				p.Update(ids[0], s)
				equal(c, "source", text(f.Take(ids[0], s), "source"), "SOURCE_EXECUTOR")
			}
			p.Update(ids[1], "TASK_GONE")
			f.Take(ids[1], "TASK_GONE")
		}},
		{Name: "updates/terminal without RUNNING, with everything set", Doc: "§2.9, §5.4; R04", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			p.Update(ids[0], "TASK_FAILED", Doc{
				"message": "boom", "reason": "REASON_TASK_INVALID", "healthy": false, "data": b64("bytes"),
				"labels": Doc{"labels": list(Doc{"key": "a", "value": "b"})},
			})
			st := f.Take(ids[0], "TASK_FAILED")
			equal(c, "message", text(st, "message"), "boom")
			equal(c, "reason", text(st, "reason"), "REASON_TASK_INVALID")
			equal(c, "data", unb64(text(st, "data")), "bytes")
			equal(c, "labels", text(st, "labels.labels.0.value"), "b")
			if at(st, "healthy") != false {
				c.Errorf("healthy: %v", at(st, "healthy"))
			}
		}},
		{Name: "updates/no TASK_STAGING by itself", Doc: "§2.7, §4", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			p.Launched(ids[0])
			f.Quiet("an update before the executor's first", update(ids[0], ""))
		}},
	}
}

func updateFields(c *C, enc Encoding) {
	f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}, Enc: enc})
	p, ids := f.Start(Prepared{})
	p.Subscribe()
	container := text(p.Event("SUBSCRIBED", ofType("SUBSCRIBED")).Doc, "subscribed.container_id.value")
	sent := p.Update(ids[0], "TASK_RUNNING", Doc{"message": "up", "data": b64("payload")})
	ack := p.Acknowledged(sent)
	equal(c, "ACKNOWLEDGED task", text(ack.Doc, "acknowledged.task_id.value"), ids[0])
	st := f.Take(ids[0], "TASK_RUNNING")
	equal(c, "agent_id", text(st, "agent_id.value"), p.agent)
	equal(c, "executor_id", text(st, "executor_id.value"), p.ID)
	equal(c, "source", text(st, "source"), "SOURCE_EXECUTOR")
	equal(c, "uuid", text(st, "uuid"), text(sent, "uuid"))
	equal(c, "message", text(st, "message"), "up")
	equal(c, "data", unb64(text(st, "data")), "payload")
	equal(c, "container", text(st, "container_status.container_id.value"), container)
	if d := number(st, "timestamp") - number(sent, "timestamp"); d > 1e-3 || d < -1e-3 {
		c.Errorf("timestamp %f, sent %f", number(st, "timestamp"), number(sent, "timestamp"))
	}
	present(c, st, "container_status.network_infos.0.ip_addresses.0.ip_address")
	absent(c, st, "reason")
}

// retryChecks wait for the agent's retry timer.
func retryChecks() []Check {
	twice := func(t Timing) time.Duration { return 3 * t.UpdateRetry }
	once := func(t Timing) time.Duration { return t.UpdateRetry }
	return []Check{
		// Alone: an agent sends all waiting updates anew when a framework with tasks on it
		// subscribes again, that of another check for example.
		{Name: "retries/first after the interval, second after twice that", Doc: "§2.10, §19; R04", Needs: NeedExclusive, Takes: twice, Run: func(c *C) {
			f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}})
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			sent := p.Update(ids[0], "TASK_RUNNING")
			at := make([]time.Time, 3)
			for i := range at {
				e := c.waitFor(f.log, 3*c.timing.UpdateRetry+c.target.Patience, fmt.Sprintf("delivery %d of the update", i+1), update(ids[0], "TASK_RUNNING"))
				equal(c, "uuid", text(e.Doc, "update.status.uuid"), text(sent, "uuid"))
				at[i] = e.At
			}
			// Early is a fault at any load; lateness only counts if it is of the order of the next doubling.
			for i, want := range []time.Duration{c.timing.UpdateRetry, 2 * c.timing.UpdateRetry} {
				if gap := at[i+1].Sub(at[i]); gap < want*8/10 || gap > want*2+3*time.Second {
					c.Errorf("retry %d came %v after the sending before it, expected %v", i+1, gap, want)
				}
			}
		}},
		{Name: "retries/none after the acknowledgement", Doc: "§2.10", Takes: once, Run: func(c *C) {
			f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}})
			_, ids := f.Run(Prepared{})
			c.never(f.log, c.timing.UpdateRetry*3/2, "a retry of an acknowledged update", update(ids[0], ""))
		}},
		{Name: "retries/resources come back with the latest state", Doc: "§2.10; R04", Needs: NeedExclusive, Takes: once, Run: func(c *C) {
			f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}})
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			p.Acknowledged(p.Update(ids[0], "TASK_STARTING"))
			f.Update(ids[0], "TASK_STARTING") // never acknowledged
			p.Acknowledged(p.Update(ids[0], "TASK_FINISHED"))
			// The next sending of the head says that the latest state is terminal.
			c.waitFor(f.log, c.timing.UpdateRetry*2+c.target.Patience, "retry of TASK_STARTING", update(ids[0], "TASK_STARTING"))
			c.eventually("resources of the task are free", func() error {
				if used := milli(number(c.framework(f.ID), "used_resources.cpus")); used != 100 { // the executor's own
					return fmt.Errorf("used cpus %d milli, expected 100", used)
				}
				return nil
			})
			f.Quiet("TASK_FINISHED before the head is acknowledged", update(ids[0], "TASK_FINISHED"))
		}},
	}
}
