package conformance

import (
	"fmt"
	"net/http"
	"syscall"
	"time"
)

func failoverChecks() []Check {
	keep := Spec{Caps: []string{"PARTITION_AWARE"}, FailoverTimeout: 120, Checkpoint: true}
	return []Check{
		{Name: "failover/calls while disconnected are 403", Doc: "§2.1 row 14; R02", Run: func(c *C) {
			f := c.Framework(keep)
			f.Disconnected()
			for _, kind := range []string{"REVIVE", "TEARDOWN"} {
				a := f.Expect(http.StatusForbidden, kind, Doc{})
				equal(c, "body", a.Body, "Framework is not subscribed")
			}
		}},
		{Name: "failover/the master shows the disconnection", Doc: "§2.4, §15; R10", Run: func(c *C) {
			f := c.Framework(keep)
			f.Disconnected()
			fw := c.framework(f.ID)
			for k, want := range map[string]bool{"active": false, "connected": false, "recovered": false} {
				if at(fw, k) != want {
					c.Errorf("%s: %v, expected %v", k, at(fw, k), want)
				}
			}
			g := f.again()
			g.Subscribe()
			fw = c.framework(f.ID)
			if at(fw, "active") != true || at(fw, "connected") != true {
				c.Errorf("after resubscription active %v, connected %v", at(fw, "active"), at(fw, "connected"))
			}
			present(c, fw, "reregistered_time")
		}},
		{Name: "failover/unacknowledged updates come again at resubscription", Doc: "§2.10; R10", Run: func(c *C) {
			f := c.Framework(keep)
			p, ids := f.Run(Prepared{Tasks: 2})
			f.Disconnected()
			first := p.Update(ids[0], "TASK_RUNNING", Doc{"message": "while away"})
			second := p.Update(ids[1], "TASK_FINISHED", Doc{"message": "while away"})
			p.Acknowledged(first)
			p.Acknowledged(second)
			g := f.again()
			g.Subscribe()
			equal(c, "uuid", text(g.Take(ids[0], "TASK_RUNNING"), "uuid"), text(first, "uuid"))
			equal(c, "uuid", text(g.Take(ids[1], "TASK_FINISHED"), "uuid"), text(second, "uuid"))
		}},
		{Name: "failover/tasks run on", Doc: "§2.4; R10", Run: func(c *C) {
			f := c.Framework(Spec{Caps: keep.Caps, FailoverTimeout: 120}) // also without checkpointing
			p, ids := f.Run(Prepared{})
			f.Disconnected()
			g := f.again()
			g.Subscribe()
			g.reconcile([2]string{ids[0], ""})
			g.reconciled(ids[0], "TASK_RUNNING", latest, p.agent)
			g.message(p, "still there?")
			p.Event("MESSAGE", said("still there?"))
		}},
		{Name: "failover/offers of before are invalid", Doc: "§2.3; R10", Run: func(c *C) {
			f := c.Framework(keep)
			o := f.Offer(0.2, 64, "")
			f.Disconnected()
			g := f.again()
			g.Subscribe()
			_, info := g.Executor()
			t := c.name("t")
			g.Launch(o, task(t, text(o, "agent_id.value"), info))
			g.dropped(t, fmt.Sprintf("Offer %s is no longer valid", text(o, "id.value")))
		}},
		{Name: "failover/takeover: the old stream gets ERROR, its calls 400", Doc: "§2.3, §2.1 row 17; R10", Run: func(c *C) {
			f := c.Framework(keep)
			g := f.again()
			g.Subscribe()
			e := f.Event("ERROR", ofType("ERROR"))
			equal(c, "message", text(e.Doc, "error.message"), "Framework failed over")
			f.Ended("the stream that was taken over")
			a := f.Expect(http.StatusBadRequest, "REVIVE", Doc{})
			equal(c, "body", a.Body, fmt.Sprintf(
				"The stream ID '%s' included in this request didn't match the stream ID currently associated with framework ID %s", f.StreamID, f.ID))
			g.Call("REVIVE", Doc{})
		}},
		{Name: "failover/takeover: the winner gets the unacknowledged updates", Doc: "§2.3; R10", Run: func(c *C) {
			f := c.Framework(keep)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			sent := p.Update(ids[0], "TASK_RUNNING")
			f.Update(ids[0], "TASK_RUNNING") // not acknowledged
			g := f.again()
			g.Subscribe()
			equal(c, "uuid", text(g.Take(ids[0], "TASK_RUNNING"), "uuid"), text(sent, "uuid"))
		}},
		{Name: "failover/takeover by several, the newest wins", Doc: "§2.3; R10", Run: func(c *C) {
			f := c.Framework(keep)
			old := f
			for range 4 {
				g := old.again()
				g.Subscribe()
				old.Event("ERROR", ofType("ERROR"))
				old.Ended("the stream that was taken over")
				old = g
			}
			old.Call("REVIVE", Doc{})
		}},
		{Name: "failover/expired failover_timeout: removed, executors shut down", Doc: "§2.4; R10", Run: func(c *C) {
			f := c.Framework(Spec{Caps: keep.Caps, FailoverTimeout: 1})
			p, ids := f.Run(Prepared{})
			f.Disconnect()
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			p.Exit(0)
			c.removed(f.ID)
			t := c.taskOf(f.ID, ids[0])
			equal(c, "recorded state", text(t, "state"), "TASK_KILLED")
		}},
		{Name: "failover/failover_timeout of the resubscription counts", Doc: "§2.3; R10", Run: func(c *C) {
			f := c.Framework(keep)
			f.Disconnected()
			g := f.again(Doc{"failover_timeout": 0.5})
			g.Subscribe()
			g.Disconnect()
			c.removed(f.ID)
		}},
		{Name: "failover/a return in time stops the timer", Doc: "§2.4", Takes: func(Timing) time.Duration { return 8 * time.Second }, Run: func(c *C) {
			f := c.Framework(Spec{Caps: keep.Caps, FailoverTimeout: 6})
			f.Disconnected()
			g := f.again()
			g.Subscribe()
			c.sleep(8 * time.Second)
			g.Call("REVIVE", Doc{})
		}},
		{Name: "failover/failover_timeout 0: removed at once", Doc: "§2.4; R10", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, _ := f.Run(Prepared{})
			f.Disconnect()
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			c.removed(f.ID)
		}},
		{Name: "failover/negative failover_timeout: removed at once", Doc: "§2.3; R16", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: -1})
			f.Disconnect()
			c.removed(f.ID)
		}},
	}
}

// removed waits until the master counts the framework among the completed ones, and checks that its id is refused.
func (c *C) removed(id string) {
	c.Helper()
	c.eventually("framework is removed", func() error {
		d := c.get("/frameworks")
		for _, fw := range items(d, "completed_frameworks") {
			if text(fw, "id") == id {
				return nil
			}
		}
		return fmt.Errorf("%s is not among the completed frameworks", id)
	})
	c.refused(id)
}

// refused checks that the id cannot be used again.
func (c *C) refused(id string) {
	c.Helper()
	g := c.newFramework(Spec{})
	g.ID = id
	g.open()
	e := g.Event("ERROR", ofType("ERROR"))
	equal(c, "message", text(e.Doc, "error.message"), "Framework has been removed")
	g.Ended("the stream after ERROR")
}

// taskOf finds a task in /tasks.
func (c *C) taskOf(framework, task string) Doc {
	c.Helper()
	for _, t := range items(c.get("/tasks?framework_id="+framework), "tasks") {
		if text(t, "id") == task {
			d, _ := t.(Doc)
			return d
		}
	}
	c.Errorf("task %s of framework %s is not in /tasks", task, framework)
	return nil
}

func teardownChecks() []Check {
	return []Check{
		{Name: "teardown/ends the stream", Doc: "§2.4; R01", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60})
			f.Teardown()
			c.removed(f.ID)
		}},
		{Name: "teardown/calls afterwards are 400", Doc: "§2.1 row 12; R10", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60})
			f.Teardown()
			a := f.Expect(http.StatusBadRequest, "REVIVE", Doc{})
			equal(c, "body", a.Body, "Framework cannot be found")
		}},
		{Name: "teardown/id of one's own choice is refused afterwards", Doc: "§2.3; R02b", Run: func(c *C) {
			f := c.newFramework(Spec{})
			f.ID = c.name("own")
			f.Subscribe()
			f.Teardown()
			c.refused(f.ID)
		}},
		{Name: "teardown/executors get SHUTDOWN, no updates come", Doc: "§2.4; R10", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60, Checkpoint: true})
			p, ids := f.Run(Prepared{})
			f.Teardown()
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			f.Quiet("an update after TEARDOWN", update(ids[0], ""))
			t := c.taskOf(f.ID, ids[0])
			equal(c, "recorded state", text(t, "state"), "TASK_KILLED")
		}},
		{Name: "teardown/updates of its executors are taken and dropped", Doc: "§6.4", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60, Checkpoint: true})
			p, ids := f.Run(Prepared{})
			f.Teardown()
			p.Event("SHUTDOWN", ofType("SHUTDOWN"))
			p.Update(ids[0], "TASK_KILLED")
			c.never(p.current, c.target.Quiet, "ACKNOWLEDGED by an agent that ends the framework", ofType("ACKNOWLEDGED"))
			p.Exit(0)
		}},
		{
			Name: "teardown/an executor that ignores SHUTDOWN is destroyed", Doc: "§6.4; R10",
			Takes: func(t Timing) time.Duration { return t.ShutdownGrace },
			Run: func(c *C) {
				if c.target.Advertise != "" {
					c.Skip("looks at the processes of this machine; the agents may be elsewhere")
				}
				f := c.Framework(Spec{FailoverTimeout: 60})
				p, _ := f.Run(Prepared{})
				pid := p.Process().PID
				f.Teardown()
				p.Event("SHUTDOWN", ofType("SHUTDOWN"))
				c.within(c.timing.ShutdownGrace+c.target.Patience, "end of the process", func() error {
					if syscall.Kill(pid, 0) == nil && !zombie(pid) {
						return fmt.Errorf("process %d is still there", pid)
					}
					return nil
				})
			},
		},
		{Name: "teardown/by the operator", Doc: "§15; R10", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60})
			a, err := c.operator.send(c.ctx, http.MethodPost, "/teardown", header{"Content-Type": "application/x-www-form-urlencoded"}, []byte("frameworkId="+f.ID))
			if err != nil {
				c.Fatal(err)
			}
			equal(c, "status", a.Status, http.StatusOK)
			f.Ended("TEARDOWN by the operator")
			c.removed(f.ID)
		}},
	}
}
