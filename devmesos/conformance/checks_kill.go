package conformance

import (
	"fmt"
	"net/http"
	"syscall"
	"time"
)

func killed(task string) func(Event) bool {
	return func(e Event) bool { return e.Type == "KILL" && text(e.Doc, "kill.task_id.value") == task }
}

func killChecks() []Check {
	pa := Spec{Caps: []string{"PARTITION_AWARE", "TASK_KILLING_STATE"}}
	return []Check{
		{Name: "kill/kill_policy of the call reaches the executor", Doc: "§2.7, §5.5; R05", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{Task: Doc{"kill_policy": Doc{"grace_period": Doc{"nanoseconds": 9e9}}}})
			f.Call("KILL", Doc{"kill": Doc{"task_id": value(ids[0]), "agent_id": value(p.agent), "kill_policy": Doc{"grace_period": Doc{"nanoseconds": 2e9}}}})
			e := p.Event("KILL", killed(ids[0]))
			equal(c, "grace_period", number(e.Doc, "kill.kill_policy.grace_period.nanoseconds"), 2e9)
			p.Update(ids[0], "TASK_KILLED")
			f.Take(ids[0], "TASK_KILLED")
		}},
		{Name: "kill/without agent and policy", Doc: "§2.7; R05", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			f.Call("KILL", Doc{"kill": Doc{"task_id": value(ids[0])}})
			e := p.Event("KILL", killed(ids[0]))
			absent(c, e.Doc, "kill.kill_policy")
		}},
		{Name: "kill/wrong agent is ignored", Doc: "§2.7; R05", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			f.Call("KILL", Doc{"kill": Doc{"task_id": value(ids[0]), "agent_id": value("nope-S9")}})
			c.never(p.current, c.target.Quiet, "KILL for another agent", killed(ids[0]))
			f.Quiet("an answer", update(ids[0], ""))
		}},
		{Name: "kill/unknown task is a reconciliation", Doc: "§2.7; R05", Run: func(c *C) {
			f := c.Framework(pa)
			for _, row := range []struct {
				agent          string
				state, message string
			}{
				{"", "TASK_UNKNOWN", "Reconciliation: Task is unknown"},
				{c.anyAgent(), "TASK_GONE", "Reconciliation: Task is unknown to the agent"},
				{"nope-S9", "TASK_UNKNOWN", "Reconciliation: Task is unknown"},
			} {
				kill := Doc{"task_id": value("nope")}
				if row.agent != "" {
					kill["agent_id"] = value(row.agent)
				}
				f.Call("KILL", Doc{"kill": kill})
				st := f.UpdateAny("nope")
				equal(c, "state, agent "+row.agent, text(st, "state"), row.state)
				equal(c, "message", text(st, "message"), row.message)
				equal(c, "reason", text(st, "reason"), "REASON_RECONCILIATION")
				equal(c, "agent", text(st, "agent_id.value"), row.agent)
				absent(c, st, "uuid")
			}
		}},
		{Name: "kill/terminal and acknowledged task", Doc: "§2.7; R05", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			p.Update(ids[0], "TASK_FINISHED")
			f.Take(ids[0], "TASK_FINISHED")
			c.sleep(300 * time.Millisecond) // the acknowledgement goes by way of the master, but let it settle
			f.Call("KILL", Doc{"kill": Doc{"task_id": value(ids[0]), "agent_id": value(p.agent)}})
			equal(c, "state", text(f.UpdateAny(ids[0]), "state"), "TASK_GONE")
		}},
		{Name: "kill/no escalation, every KILL is delivered", Doc: "§6.2; R05", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			for range 2 {
				f.Call("KILL", Doc{"kill": Doc{"task_id": value(ids[0])}})
				p.Event("KILL", killed(ids[0]))
				f.Quiet("an end of the task that nobody reported", update(ids[0], ""))
			}
			p.Update(ids[0], "TASK_KILLING")
			f.Take(ids[0], "TASK_KILLING")
			p.Update(ids[0], "TASK_KILLED")
			f.Take(ids[0], "TASK_KILLED")
		}},
		{Name: "kill/before the executor subscribed", Doc: "§2.7, §5.3, §6.2; R05", Run: killBeforeSubscribe},
		{Name: "kill/directly after ACCEPT", Doc: "§2.7; R05", Run: func(c *C) {
			f := c.Framework(pa)
			p, info := f.Executor()
			o := f.Offer(0.2, 64, "")
			t := c.name("t")
			f.Launch(o, task(t, text(o, "agent_id.value"), info))
			f.Call("KILL", Doc{"kill": Doc{"task_id": value(t)}})
			st := f.Take(t, "TASK_KILLED")
			equal(c, "reason", text(st, "reason"), "REASON_TASK_KILLED_DURING_LAUNCH")
			equal(c, "source", text(st, "source"), "SOURCE_AGENT")
			_ = p
		}},
	}
}

// killBeforeSubscribe kills both tasks of an executor that has not subscribed: the agent reports them, and ends
// the executor as soon as it subscribes.
func killBeforeSubscribe(c *C) {
	f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}})
	p, ids := f.Start(Prepared{Tasks: 2})
	f.Call("RECONCILE", Doc{"reconcile": Doc{"tasks": list(Doc{"task_id": value(ids[0])})}})
	equal(c, "state before", text(f.UpdateAny(ids[0]), "state"), "TASK_STAGING")
	for _, id := range ids {
		f.Call("KILL", Doc{"kill": Doc{"task_id": value(id), "agent_id": value(p.agent)}})
		st := f.Take(id, "TASK_KILLED")
		equal(c, "message", text(st, "message"), "Killed before delivery to the executor")
		equal(c, "source", text(st, "source"), "SOURCE_AGENT")
		equal(c, "reason", text(st, "reason"), "REASON_TASK_KILLED_DURING_LAUNCH")
		equal(c, "executor", text(st, "executor_id.value"), p.ID)
		present(c, st, "uuid")
	}
	a, err := p.trySubscribe(list[any](), list[any]())
	if err != nil || a.Status != http.StatusOK {
		c.Fatalf("SUBSCRIBE: %v %v, expected 200", a, err)
	}
	e := p.Event("first event", func(Event) bool { return true })
	equal(c, "first event", e.Type, "SHUTDOWN")
	p.Exit(0)
	f.Event("FAILURE", failure(p.agent, p.ID))
}

func shutdownChecks() []Check {
	pa := Spec{Caps: []string{"PARTITION_AWARE"}}
	grace := func(t Timing) time.Duration { return t.ShutdownGrace }
	shutdown := func(f *Framework, p *Probe) {
		f.Call("SHUTDOWN", Doc{"shutdown": Doc{"executor_id": value(p.ID), "agent_id": value(p.agent)}})
	}
	return []Check{
		{Name: "shutdown/executor that obeys", Doc: "§2.7, §6.4; R05", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			shutdown(f, p)
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			p.Exit(0)
			e := f.Event("FAILURE", failure(p.agent, p.ID))
			equal(c, "status", number(e.Doc, "failure.status"), 0)
			f.terminated(ids[0], "TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
		}},
		{Name: "shutdown/terminal updates during the grace count", Doc: "§5.5, §6.4", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{Executor: Doc{"shutdown_grace_period": Doc{"nanoseconds": 30e9}}})
			shutdown(f, p)
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			p.Acknowledged(p.Update(ids[0], "TASK_KILLED"))
			st := f.Take(ids[0], "TASK_KILLED")
			equal(c, "source", text(st, "source"), "SOURCE_EXECUTOR")
			p.Exit(0)
			f.Event("FAILURE", failure(p.agent, p.ID))
			f.Quiet("another update for the task", update(ids[0], ""))
		}},
		{Name: "shutdown/grace of the ExecutorInfo", Doc: "§6.4; R05", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{Executor: Doc{"shutdown_grace_period": Doc{"nanoseconds": 1e9}}})
			start := time.Now()
			shutdown(f, p)
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			e := f.Event("FAILURE", failure(p.agent, p.ID))
			equal(c, "status", number(e.Doc, "failure.status"), float64(syscall.SIGKILL))
			if d := e.At.Sub(start); d < 800*time.Millisecond {
				c.Errorf("destroyed after %v, the grace was 1 s", d)
			}
			f.terminated(ids[0], "TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
		}},
		{Name: "shutdown/grace of the agent", Doc: "§6.4, §19; R05", Takes: grace, Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			start := time.Now()
			shutdown(f, p)
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			e := c.waitFor(f.log, c.timing.ShutdownGrace+c.target.Patience, "FAILURE", failure(p.agent, p.ID))
			equal(c, "status", number(e.Doc, "failure.status"), float64(syscall.SIGKILL))
			if d := e.At.Sub(start); d < c.timing.ShutdownGrace*8/10 {
				c.Errorf("destroyed after %v, the grace is %v", d, c.timing.ShutdownGrace)
			}
			f.terminated(ids[0], "TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
		}},
		{Name: "shutdown/unknown executor or agent", Doc: "§2.7; R05", Run: func(c *C) {
			f := c.Framework(pa)
			for _, agent := range []string{c.anyAgent(), "nope-S9"} {
				f.Call("SHUTDOWN", Doc{"shutdown": Doc{"executor_id": value("nope"), "agent_id": value(agent)}})
			}
			f.Quiet("an answer", func(e Event) bool { return e.Type != "HEARTBEAT" && e.Type != "OFFERS" })
		}},
	}
}

// terminated checks the update that an agent makes for a task whose executor ended, and acknowledges it.
func (f *Framework) terminated(task, state, reason, message string) Doc {
	f.c.Helper()
	st := f.UpdateAny(task)
	equal(f.c, "state of "+task, text(st, "state"), state)
	equal(f.c, "reason", text(st, "reason"), reason)
	equal(f.c, "source", text(st, "source"), "SOURCE_AGENT")
	if message != "" {
		equal(f.c, "message", text(st, "message"), message)
	}
	present(f.c, st, "uuid")
	absent(f.c, st, "container_status") // §6.3
	if has(st, "uuid") {
		f.Acknowledge(st)
	}
	return st
}

// endChecks are about executors that end by themselves, or never begin.
func endChecks() []Check {
	pa := Spec{Caps: []string{"PARTITION_AWARE"}}
	var checks []Check
	for _, row := range []struct {
		what   string
		end    func(*Probe)
		status float64
	}{
		{"exit 0", func(p *Probe) { p.Exit(0) }, 0},
		{"exit 1", func(p *Probe) { p.Exit(1) }, 1 << 8},
		{"exit 77", func(p *Probe) { p.Exit(77) }, 77 << 8},
		{"SIGKILL", func(p *Probe) { p.Die(syscall.SIGKILL) }, 9},
		{"SIGTERM", func(p *Probe) { p.Die(syscall.SIGTERM) }, 15},
	} {
		checks = append(checks, Check{
			Name: "ends/" + row.what + " with a running task", Doc: "§2.9 FAILURE, §6.3; R06",
			Run: func(c *C) {
				f := c.Framework(pa)
				p, ids := f.Run(Prepared{})
				row.end(p)
				e := f.Event("FAILURE", failure(p.agent, p.ID))
				equal(c, "wait status", number(e.Doc, "failure.status"), row.status)
				st := f.terminated(ids[0], "TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
				equal(c, "executor", text(st, "executor_id.value"), p.ID)
			},
		})
	}
	return append(checks,
		Check{Name: "ends/before it subscribed", Doc: "§6.3; R06", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Exit(1)
			f.Event("FAILURE", failure(p.agent, p.ID))
			f.terminated(ids[0], "TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
		}},
		Check{Name: "ends/one of two tasks had finished", Doc: "§6.3; R06", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{Tasks: 2})
			p.Acknowledged(p.Update(ids[0], "TASK_FINISHED"))
			p.Exit(0)
			f.Take(ids[0], "TASK_FINISHED")
			f.terminated(ids[1], "TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
			f.Quiet("another update for the finished task", update(ids[0], ""))
		}},
		Check{Name: "ends/finished but unacknowledged: the executor id is not free", Doc: "§6.1; R06", Run: executorIDReuse},
		Check{Name: "ends/command that does not exist", Doc: "§6.3; R06", Run: func(c *C) {
			f := c.Framework(pa)
			o := f.Offer(0.2, 64, "")
			agent, t, x := text(o, "agent_id.value"), c.name("t"), c.name("x")
			f.Launch(o, task(t, agent, Doc{
				"type": "CUSTOM", "executor_id": value(x), "resources": small(),
				"command": Doc{"shell": false, "value": "./nope", "arguments": list("nope")},
			}))
			f.Event("FAILURE", failure(agent, x))
			f.terminated(t, "TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
		}},
		Check{Name: "ends/user that does not exist", Doc: "§6.7; R06", Run: func(c *C) {
			if c.target.User != "root" {
				c.Skip("agents switch users only when they run as root")
			}
			f := c.Framework(pa)
			o := f.Offer(0.2, 64, "")
			agent, t, x := text(o, "agent_id.value"), c.name("t"), c.name("x")
			f.Launch(o, task(t, agent, Doc{
				"type": "CUSTOM", "executor_id": value(x), "resources": small(),
				"command": merge(c.command("auto"), Doc{"user": "nosuchuser"}),
			}))
			e := f.Event("FAILURE", failure(agent, x))
			equal(c, "status", number(e.Doc, "failure.status"), -1)
			st := f.terminated(t, "TASK_DROPPED", "REASON_EXECUTOR_TERMINATED", "")
			contains(c, "message", text(st, "message"), "No such user 'nosuchuser'")
		}},
		Check{Name: "ends/never subscribes", Doc: "§6.1; R06", Takes: func(t Timing) time.Duration { return t.Registration }, Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			e := c.waitFor(f.log, c.timing.Registration+c.target.Patience, "FAILURE", failure(p.agent, p.ID))
			equal(c, "status", number(e.Doc, "failure.status"), 9)
			st := f.terminated(ids[0], "TASK_FAILED", "REASON_EXECUTOR_REGISTRATION_TIMEOUT", "")
			contains(c, "message", text(st, "message"), "Executor did not register within ")
		}},
		Check{Name: "ends/children are destroyed with the executor", Doc: "§6.3", Run: func(c *C) {
			if c.target.Advertise != "" {
				c.Skip("looks at the processes of this machine; the agents may be elsewhere")
			}
			f := c.Framework(pa)
			p, _ := f.Run(Prepared{})
			child := p.do(spawnCommand()).PID
			p.Exit(0)
			f.Event("FAILURE", failure(p.agent, p.ID))
			c.eventually("the child's end", func() error {
				if err := syscall.Kill(child, 0); err == nil && !zombie(child) {
					return fmt.Errorf("process %d, child of the executor, is still there", child)
				}
				return nil
			})
		}},
	)
}

// executorIDReuse: while a terminal update is unacknowledged the agent keeps the ended executor, and drops
// what is launched under its id; after the acknowledgement the id works again.
func executorIDReuse(c *C) {
	f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}})
	p, ids := f.Run(Prepared{})
	p.Acknowledged(p.Update(ids[0], "TASK_FINISHED"))
	p.Exit(0)
	last := f.Update(ids[0], "TASK_FINISHED")
	f.Event("FAILURE", failure(p.agent, p.ID))

	t := c.name("t")
	f.Launch(f.Offer(0.2, 64, p.agent), task(t, p.agent, c.executorInfo(p.ID, p.URL)))
	e := f.Event("FAILURE of the dropped launch", failure(p.agent, p.ID))
	equal(c, "status", number(e.Doc, "failure.status"), -1)
	f.terminated(t, "TASK_DROPPED", "REASON_EXECUTOR_TERMINATED", "Master wants to launch executor, but one already exists")

	f.Acknowledge(last)
	c.eventually("the executor id is free", func() error {
		t = c.name("t")
		f.Launch(f.Offer(0.2, 64, p.agent), task(t, p.agent, c.executorInfo(p.ID, c.hub.url+"/nobody")))
		// An executor that starts has nobody to talk to and waits; a dropped one is reported at once.
		ctx, cancel := contextWithTimeout(c, c.target.Quiet)
		defer cancel()
		if e, ok := f.log.take(ctx, update(t, "TASK_DROPPED")); ok {
			f.Acknowledge(at(e.Doc, "update.status").(Doc))
			return fmt.Errorf("dropped: %v", e)
		}
		return nil
	})
}
