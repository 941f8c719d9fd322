package conformance

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// broken breaks something, or skips the check if the target cannot.
func (c *C) broken(what string, err error) {
	c.Helper()
	if errors.Is(err, errors.ErrUnsupported) {
		c.Skipf("this target cannot %s", what)
	}
	if err != nil {
		c.Fatalf("%s: %v", what, err)
	}
}

func (c *C) killAgent(id string) {
	c.Helper()
	c.broken("kill an agent", c.target.Faults.KillAgent(c.ctx, id))
}

// startAgent starts an agent in the background, so that executors can be made to resubscribe in the
// short time that they have; the result is to be awaited.
func (c *C) startAgent(id string) (wait func()) {
	done := make(chan error, 1)
	go func() { done <- c.target.Faults.StartAgent(c.ctx, id) }()
	return func() {
		c.Helper()
		c.broken("start an agent", <-done)
	}
}

// resubscribe tries until the agent takes the executor back, and returns the answers on the way.
func (p *Probe) resubscribe(tasks, updates []any) []string {
	p.c.Helper()
	var seen []string
	note := func(s string) {
		if len(seen) == 0 || seen[len(seen)-1] != s {
			seen = append(seen, s)
		}
	}
	p.c.within(p.c.target.Patience, "resubscription of "+p.ID, func() error {
		a, err := p.trySubscribe(tasks, updates)
		switch {
		case err != nil:
			note("no answer")
			return err
		case a.Status != http.StatusOK:
			note(a.String())
			return fmt.Errorf("answer %v", a)
		}
		note("200")
		return nil
	})
	return seen
}

func pingWait(t Timing) time.Duration { return t.PingTotal }

func (f *Framework) waitLong(d time.Duration, what string, match func(Event) bool) Event {
	f.c.Helper()
	return f.c.waitFor(f.log, d+f.c.target.Patience, what, f.news(match))
}

func agentLossChecks() []Check {
	pa := []string{"PARTITION_AWARE"}
	return []Check{
		{Name: "agent loss/offers are rescinded at once", Doc: "§2.12; R08b, R11", Needs: NeedFaults | NeedExclusive, Run: func(c *C) {
			f := c.Framework(Spec{Caps: pa, Checkpoint: true, FailoverTimeout: 60, WantOffers: true})
			e := f.Event("OFFERS", ofType("OFFERS"))
			o := at(e.Doc, "offers.offers.0")
			agent, id := text(o, "agent_id.value"), text(o, "id.value")
			c.killAgent(agent)
			f.Event("RESCIND", func(e Event) bool { return e.Type == "RESCIND" && text(e.Doc, "rescind.offer_id.value") == id })
			t := c.name("t")
			_, info := f.Executor()
			f.Accept([]string{id}, launch(task(t, agent, info)))
			f.dropped(t, fmt.Sprintf("Offer %s is no longer valid", id))
			c.startAgent(agent)()
		}},
		{Name: "agent loss/checkpointing, PARTITION_AWARE: unreachable and back", Doc: "§2.12, §2.8; R11c", Needs: NeedFaults | NeedExclusive, Takes: pingWait, Run: func(c *C) {
			unreachable(c, pa, "TASK_UNREACHABLE")
		}},
		{Name: "agent loss/checkpointing, not PARTITION_AWARE: lost and back", Doc: "§2.12, §2.8; R11c", Needs: NeedFaults | NeedExclusive, Takes: pingWait, Run: func(c *C) {
			unreachable(c, nil, "TASK_LOST")
		}},
		{Name: "agent loss/no checkpointing: TASK_LOST at once", Doc: "§2.12; R08b, R11b", Needs: NeedFaults | NeedExclusive, Run: func(c *C) {
			f := c.Framework(Spec{Caps: pa, FailoverTimeout: 60})
			p, ids := f.Run(Prepared{})
			c.killAgent(p.agent)
			st := f.UpdateAny(ids[0])
			equal(c, "state (even if PARTITION_AWARE)", text(st, "state"), "TASK_LOST")
			equal(c, "reason", text(st, "reason"), "REASON_AGENT_DISCONNECTED")
			equal(c, "source", text(st, "source"), "SOURCE_MASTER")
			contains(c, "message", text(st, "message"), " disconnected")
			absent(c, st, "uuid")
			// The executor, if it stays on, finds that nobody knows it any more.
			wait := c.startAgent(p.agent)
			c.within(c.target.Patience, "the executor is refused", func() error {
				a, err := p.trySubscribe(list[any](), list[any]())
				if err != nil {
					return err
				}
				if a.Status != http.StatusBadRequest || !strings.HasSuffix(a.Body, " cannot be found") {
					return fmt.Errorf("answer %v", a)
				}
				return nil
			})
			wait()
		}},
		{Name: "agent loss/graceful end: TASK_LOST, unknown afterwards", Doc: "§2.12; R16b", Needs: NeedFaults | NeedExclusive, Run: func(c *C) {
			f := c.Framework(Spec{Caps: pa, Checkpoint: true, FailoverTimeout: 60})
			p, ids := f.Run(Prepared{})
			c.broken("end an agent gracefully", c.target.Faults.UnregisterAgent(c.ctx, p.agent))
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			st := f.UpdateAny(ids[0])
			equal(c, "state (even if PARTITION_AWARE)", text(st, "state"), "TASK_LOST")
			equal(c, "reason", text(st, "reason"), "REASON_AGENT_REMOVED")
			contains(c, "message", text(st, "message"), "removed: the agent unregistered")
			absent(c, st, "uuid")
			f.Event("FAILURE", failure(p.agent, ""))
			f.reconcile([2]string{ids[0], p.agent})
			f.reconciled(ids[0], "TASK_UNKNOWN", unknown, p.agent)
			// Started again it has its old id, as the work directory says.
			c.startAgent(p.agent)()
			c.eventually("agent "+p.agent+" is back", func() error {
				for _, s := range items(c.get("/slaves"), "slaves") {
					if text(s, "id") == p.agent && at(s, "active") == true {
						return nil
					}
				}
				return errors.New("not in /slaves")
			})
		}},
	}
}

// lastChecks cost the cluster an agent each: nothing may come after them.
func lastChecks() []Check {
	pa := []string{"PARTITION_AWARE"}
	return []Check{
		{Name: "drain/mark_gone", Doc: "§6.5, §14; R15", Needs: NeedOwn | NeedFaults | NeedExclusive, Run: func(c *C) {
			f := c.Framework(Spec{Caps: pa, Checkpoint: true, FailoverTimeout: 60})
			p, ids := f.Run(Prepared{})
			c.operate(Doc{"type": "DRAIN_AGENT", "drain_agent": Doc{"agent_id": value(p.agent), "mark_gone": true}})
			p.Event("KILL", killed(ids[0]))
			p.Update(ids[0], "TASK_KILLED")
			st := f.Take(ids[0], "TASK_GONE_BY_OPERATOR")
			equal(c, "reason", text(st, "reason"), "REASON_AGENT_DRAINING")
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			f.Event("FAILURE of the agent", failure(p.agent, ""))
			f.reconcile([2]string{ids[0], p.agent})
			f.reconciled(ids[0], "TASK_GONE_BY_OPERATOR", "Task is gone", p.agent)
		}},
		{Name: "agent loss/marked gone by the operator", Doc: "§2.12; R16", Needs: NeedFaults | NeedOwn | NeedExclusive, Run: func(c *C) {
			f := c.Framework(Spec{Caps: pa, Checkpoint: true, FailoverTimeout: 60})
			p, ids := f.Run(Prepared{})
			c.operate(Doc{"type": "MARK_AGENT_GONE", "mark_agent_gone": Doc{"agent_id": value(p.agent)}})
			st := f.UpdateAny(ids[0])
			equal(c, "state", text(st, "state"), "TASK_GONE_BY_OPERATOR")
			equal(c, "reason", text(st, "reason"), "REASON_AGENT_REMOVED_BY_OPERATOR")
			equal(c, "message", text(st, "message"), "Agent has been marked gone")
			absent(c, st, "uuid")
			f.Event("FAILURE", failure(p.agent, ""))
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			f.reconcile([2]string{ids[0], p.agent}, [2]string{"nope", p.agent}, [2]string{ids[0], ""})
			f.reconciled(ids[0], "TASK_GONE_BY_OPERATOR", "Task is gone", p.agent)
			f.reconciled("nope", "TASK_GONE_BY_OPERATOR", "Task is gone", p.agent)
			f.reconciled(ids[0], "TASK_UNKNOWN", unknown, "")
		}},
	}
}

// unreachable follows a checkpointing framework's task over the loss and return of its agent.
func unreachable(c *C, caps []string, lost string) {
	f := c.Framework(Spec{Caps: caps, Checkpoint: true, FailoverTimeout: 600})
	p, ids := f.Run(Prepared{})
	c.killAgent(p.agent)
	c.waitEnd(p.current, "the executor's stream")
	c.never(f.log, min(c.target.Quiet, c.timing.PingTotal/4), "an update before the ping timeout", update(ids[0], ""))

	e := f.waitLong(c.timing.PingTotal, lost, update(ids[0], ""))
	st, _ := at(e.Doc, "update.status").(Doc)
	equal(c, "state", text(st, "state"), lost)
	equal(c, "reason", text(st, "reason"), "REASON_AGENT_REMOVED")
	equal(c, "source", text(st, "source"), "SOURCE_MASTER")
	equal(c, "message", text(st, "message"), "health check timed out")
	present(c, st, "unreachable_time.nanoseconds")
	absent(c, st, "uuid")
	f.Event("FAILURE of the agent", failure(p.agent, ""))

	f.reconcile([2]string{ids[0], p.agent}, [2]string{"nope", p.agent})
	for _, id := range []string{ids[0], "nope"} {
		present(c, f.reconciled(id, lost, "Task is unreachable", p.agent), "unreachable_time.nanoseconds")
	}
	// Without the agent's id the master does not look among the unreachable (R09).
	f.reconcile([2]string{ids[0], ""})
	unknownState := "TASK_UNKNOWN"
	if caps == nil {
		unknownState = "TASK_LOST"
	}
	f.reconciled(ids[0], unknownState, unknown, "")
	// A KILL is only answered, not remembered.
	f.Call("KILL", Doc{"kill": Doc{"task_id": value(ids[0]), "agent_id": value(p.agent)}})
	f.reconciled(ids[0], lost, "Task is unreachable", p.agent)

	wait := c.startAgent(p.agent)
	p.resubscribe(list[any](), list[any]())
	wait()
	st = f.UpdateAny(ids[0])
	equal(c, "state after the return", text(st, "state"), "TASK_RUNNING")
	equal(c, "reason after the return", text(st, "reason"), "REASON_AGENT_REREGISTERED")
	equal(c, "message after the return", text(st, "message"), "Unreachable agent re-reregistered")
	absent(c, st, "uuid")
	c.never(p.current, c.target.Quiet, "the KILL of before", killed(ids[0]))
	f.reconcile([2]string{ids[0], p.agent})
	f.reconciled(ids[0], "TASK_RUNNING", latest, p.agent)
}

// operate makes a call of the operator API, which must succeed.
func (c *C) operate(call Doc) answer {
	c.Helper()
	a, err := c.operator.postJSON(c.ctx, "/api/v1", call)
	if err != nil {
		c.Fatalf("%v: %v", call["type"], err)
	}
	if a.Status/100 != 2 {
		c.Fatalf("%v: %v", call["type"], a)
	}
	return a
}

// recoveryChecks restart agents of checkpointing frameworks.
func recoveryChecks() []Check {
	keep := Spec{Caps: []string{"PARTITION_AWARE"}, Checkpoint: true, FailoverTimeout: 600}
	window := func(t Timing) time.Duration { return t.Reregistration }
	return []Check{
		{Name: "recovery/executor with unacknowledged tasks and updates", Doc: "§5.3, §5.7, §2.10; R11", Needs: NeedFaults | NeedExclusive, Takes: window, Run: recovery},
		{Name: "recovery/answers while the agent recovers", Doc: "§5.1; R11, R17", Needs: NeedFaults | NeedExclusive, Takes: window, Run: func(c *C) {
			f := c.Framework(keep)
			p, _ := f.Run(Prepared{})
			c.killAgent(p.agent)
			c.waitEnd(p.current, "the executor's stream")
			wait := c.startAgent(p.agent)
			for _, s := range p.resubscribe(list[any](), list[any]()) {
				switch s {
				case "no answer", "200", `404 "404 Not Found."`, `503 "Agent has not finished recovery"`:
				default:
					c.Errorf("SUBSCRIBE during recovery: %s", s)
				}
			}
			wait()
		}},
		{Name: "recovery/executor that does not come back in time", Doc: "§5.7; R11, R17", Needs: NeedFaults | NeedExclusive, Takes: window, Run: func(c *C) {
			f := c.Framework(keep)
			p, ids := f.Run(Prepared{})
			c.killAgent(p.agent)
			c.waitEnd(p.current, "the executor's stream")
			c.startAgent(p.agent)()
			e := f.waitLong(c.timing.Reregistration, "FAILURE", failure(p.agent, p.ID))
			equal(c, "status", number(e.Doc, "failure.status"), 9)
			st := f.terminated(ids[0], "TASK_GONE", "REASON_EXECUTOR_REREGISTRATION_TIMEOUT", "")
			contains(c, "message", text(st, "message"), "Executor did not reregister within ")
		}},
		{Name: "recovery/executor that died meanwhile", Doc: "§6.3; R11", Needs: NeedFaults | NeedExclusive, Takes: window, Run: func(c *C) {
			f := c.Framework(keep)
			p, ids := f.Run(Prepared{})
			c.killAgent(p.agent)
			p.Die(9)
			c.startAgent(p.agent)()
			e := f.waitLong(c.timing.Reregistration, "TASK_FAILED", update(ids[0], ""))
			st, _ := at(e.Doc, "update.status").(Doc)
			equal(c, "state", text(st, "state"), "TASK_FAILED")
			equal(c, "reason", text(st, "reason"), "REASON_EXECUTOR_TERMINATED")
			equal(c, "message", text(st, "message"), "Executor terminated")
			f.Acknowledge(st)
			f.Quiet("FAILURE for an executor that ended while the agent was down", failure(p.agent, p.ID))
		}},
		{Name: "recovery/a task that the executor does not know", Doc: "§5.3", Needs: NeedFaults | NeedExclusive, Takes: window, Run: func(c *C) {
			f := c.Framework(keep)
			p, ids := f.Start(Prepared{Tasks: 2})
			p.Subscribe()
			p.Launched(ids[1])
			p.Acknowledged(p.Update(ids[0], "TASK_RUNNING"))
			f.Take(ids[0], "TASK_RUNNING")
			c.killAgent(p.agent)
			c.waitEnd(p.current, "the executor's stream")
			wait := c.startAgent(p.agent)
			p.resubscribe(list[any](), list[any]()) // the second task is not in the list
			wait()
			e := f.waitLong(c.timing.Reregistration, "TASK_DROPPED", update(ids[1], ""))
			equal(c, "state", text(e.Doc, "update.status.state"), "TASK_DROPPED")
			equal(c, "reason", text(e.Doc, "update.status.reason"), "REASON_AGENT_RESTARTED")
			f.reconcile([2]string{ids[0], ""})
			f.reconciled(ids[0], "TASK_RUNNING", latest, p.agent)
		}},
		{Name: "recovery/an idle agent keeps its id", Doc: "§2.12; R16b", Needs: NeedFaults | NeedExclusive, Takes: window, Run: func(c *C) {
			agent := c.anyAgent()
			c.killAgent(agent)
			c.startAgent(agent)()
			c.within(c.timing.Reregistration+c.target.Patience, "return of the agent", func() error {
				for _, s := range items(c.get("/slaves"), "slaves") {
					if text(s, "id") == agent && at(s, "active") == true {
						return nil
					}
				}
				return fmt.Errorf("%s is not active", agent)
			})
		}},
	}
}

// recovery is R11: three tasks in three states over the restart of their agent.
func recovery(c *C) {
	f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}, Checkpoint: true, FailoverTimeout: 600})
	p, ids := f.Start(Prepared{Tasks: 3})
	acked, unacked, silent := ids[0], ids[1], ids[2]
	p.Subscribe()
	task, _ := at(p.Launched(silent).Doc, "launch.task").(Doc)
	p.Acknowledged(p.Update(acked, "TASK_RUNNING"))
	f.Take(acked, "TASK_RUNNING")
	head := p.Update(unacked, "TASK_RUNNING")
	p.Acknowledged(head)
	f.Update(unacked, "TASK_RUNNING") // not acknowledged by the scheduler

	c.killAgent(p.agent)
	c.waitEnd(p.current, "the executor's stream")
	f.Call("KILL", Doc{"kill": Doc{"task_id": value(silent), "agent_id": value(p.agent)}})
	f.reconcile([2]string{acked, ""})
	f.reconciled(acked, "TASK_RUNNING", latest, p.agent)
	finished := p.status(acked, "TASK_FINISHED")
	if a, err := p.tryCall(Doc{"type": "UPDATE", "update": Doc{"status": finished}}); err == nil {
		c.Errorf("an agent that was killed answers %v", a)
	}

	wait := c.startAgent(p.agent)
	p.resubscribe(list(task), list(Doc{"status": finished}))
	p.Event("SUBSCRIBED", ofType("SUBSCRIBED"))
	p.Acknowledged(finished)
	wait()
	// Heads come again, at least once, with their old uuids.
	equal(c, "uuid", text(f.Take(acked, "TASK_FINISHED"), "uuid"), text(finished, "uuid"))
	equal(c, "uuid", text(f.Take(unacked, "TASK_RUNNING"), "uuid"), text(head, "uuid"))
	p.Event("the KILL of while the agent was away", killed(silent))
	c.never(p.current, c.target.Quiet, "LAUNCH of a task that was launched before", ofType("LAUNCH"))
	p.Acknowledged(p.Update(silent, "TASK_KILLED"))
	f.Take(silent, "TASK_KILLED")
}
