package conformance

import (
	"fmt"
	"net/http"
)

func masterFailoverChecks() []Check {
	keep := Spec{Caps: []string{"PARTITION_AWARE"}, Checkpoint: true, FailoverTimeout: 600}
	const needs = NeedFaults | NeedExclusive
	return []Check{
		{Name: "master failover/updates are kept, messages lost, tasks run on", Doc: "§2.11, §2.10; R12", Needs: needs, Run: func(c *C) {
			f := c.Framework(keep)
			p, ids := f.Run(Prepared{})
			c.broken("kill the master", c.target.Faults.KillMaster(c.ctx))
			f.Ended("the subscription at a killed master")
			// The agent still takes what the executor says.
			sent := p.Update(ids[0], "TASK_RUNNING", Doc{"message": "while no master"})
			p.Acknowledged(sent)
			p.Message("lost")
			c.startMaster(false)
			g := f.again()
			g.resubscribe()
			st := g.Take(ids[0], "TASK_RUNNING")
			equal(c, "uuid", text(st, "uuid"), text(sent, "uuid"))
			g.Quiet("a message of while there was no master", ofType("MESSAGE"))
			p.Message("after")
			g.Event("MESSAGE", said("after"))
			g.reconcile()
			g.reconciled(ids[0], "TASK_RUNNING", latest, p.agent)
		}},
		{Name: "master failover/framework id stays, stream id and offers do not", Doc: "§2.3, §2.11; R12", Needs: needs, Run: func(c *C) {
			f := c.Framework(keep)
			o := f.Offer(0.2, 64, "")
			c.broken("kill the master", c.target.Faults.KillMaster(c.ctx))
			f.Ended("the subscription at a killed master")
			c.startMaster(false)
			g := f.again()
			e := g.resubscribe()
			equal(c, "framework id", text(e.Doc, "subscribed.framework_id.value"), f.ID)
			old := f.Expect(http.StatusBadRequest, "REVIVE", Doc{})
			contains(c, "old stream id", old.Body, "didn't match the stream ID currently associated with framework ID")
			t := c.name("t")
			_, info := g.Executor()
			g.Launch(o, task(t, text(o, "agent_id.value"), info))
			g.dropped(t, fmt.Sprintf("Offer %s is no longer valid", text(o, "id.value")))
		}},
		{Name: "master failover/calls of a framework that has not resubscribed", Doc: "§2.1 rows 12, 14; R12", Needs: needs, Run: func(c *C) {
			f := c.Framework(keep)
			p, _ := f.Run(Prepared{})
			c.broken("kill the master", c.target.Faults.KillMaster(c.ctx))
			c.startMaster(false)
			// Agents report the framework: it is recovered, but not connected.
			c.eventually("the agents' frameworks are known", func() error {
				a, err := f.try("REVIVE", Doc{})
				if err != nil {
					return err
				}
				if a.Status == http.StatusForbidden {
					equal(c, "body", a.Body, "Framework is not subscribed")
					return nil
				}
				switch a.Status {
				case http.StatusNotFound: // its routes are not there yet
				case http.StatusBadRequest, http.StatusServiceUnavailable:
				default:
					c.Errorf("answer %v, expected 503, 400 and then 403", a)
				}
				return fmt.Errorf("answer %v", a)
			})
			if fw := c.framework(f.ID); at(fw, "recovered") != true {
				c.Errorf("recovered: %v, expected true", at(fw, "recovered"))
			}
			_ = p
			f.again().resubscribe()
		}},
		{Name: "master failover/silence about agents that are not back", Doc: "§2.8, §2.11; R12", Needs: needs, Run: func(c *C) {
			f := c.Framework(keep)
			p, ids := f.Run(Prepared{})
			c.broken("hold an agent", c.target.Faults.HoldAgent(c.ctx, p.agent, true))
			c.broken("kill the master", c.target.Faults.KillMaster(c.ctx))
			c.startMaster(false)
			g := f.again()
			g.resubscribe()
			g.reconcile()
			g.reconcile([2]string{ids[0], p.agent}, [2]string{ids[0], ""}, [2]string{"zz", ""})
			g.Quiet("an answer about a task whose agent is not back", ofType("UPDATE"))
			g.reconcile([2]string{"zz", "nope-S1"})
			g.reconciled("zz", "TASK_UNKNOWN", unknown, "nope-S1")
			recovered := false
			for _, s := range items(c.get("/slaves"), "recovered_slaves") {
				recovered = recovered || text(s, "id") == p.agent
			}
			if !recovered {
				c.Errorf("agent %s is not among the recovered_slaves", p.agent)
			}
			c.broken("release an agent", c.target.Faults.HoldAgent(c.ctx, p.agent, false))
			g.eventuallyReconciled(ids[0], "TASK_RUNNING", p.agent)
			g.Quiet("TASK_RUNNING because of the agent's return: the registry knew it", func(e Event) bool {
				return text(e.Doc, "update.status.reason") == "REASON_AGENT_REREGISTERED"
			})
		}},
		{Name: "master failover/without a registry", Doc: "§2.8; R12b", Needs: needs, Run: func(c *C) {
			f := c.Framework(keep)
			p, ids := f.Run(Prepared{})
			c.broken("hold an agent", c.target.Faults.HoldAgent(c.ctx, p.agent, true))
			c.broken("kill the master", c.target.Faults.KillMaster(c.ctx))
			c.startMaster(true)
			g := f.again()
			g.resubscribe()
			g.reconcile([2]string{ids[0], p.agent}, [2]string{ids[0], ""})
			g.reconciled(ids[0], "TASK_UNKNOWN", unknown, p.agent)
			g.reconciled(ids[0], "TASK_UNKNOWN", unknown, "")
			c.broken("release an agent", c.target.Faults.HoldAgent(c.ctx, p.agent, false))
			e := g.Event("update at the agent's return", func(e Event) bool {
				return update(ids[0], "TASK_RUNNING")(e) && text(e.Doc, "update.status.reason") == "REASON_AGENT_REREGISTERED"
			})
			equal(c, "message", text(e.Doc, "update.status.message"), "Unknown agent reregistered")
			absent(c, e.Doc, "update.status.uuid")
		}},
	}
}

func (c *C) startMaster(amnesia bool) {
	c.Helper()
	c.broken("start a master", c.target.Faults.StartMaster(c.ctx, amnesia))
}

// resubscribe subscribes at a master that may still be starting: 503 and 404 mean later (§2.1).
func (f *Framework) resubscribe() Event {
	f.c.Helper()
	f.c.eventually("resubscription", func() error {
		if _, err := f.c.master.get(f.c.ctx, "/health"); err != nil {
			return err
		}
		a := f.open()
		switch a.Status {
		case http.StatusOK:
			return nil
		case http.StatusServiceUnavailable, http.StatusNotFound:
		default:
			f.c.Errorf("SUBSCRIBE at a new master: %v", a)
		}
		return fmt.Errorf("answer %v", a)
	})
	return f.Event("SUBSCRIBED", ofType("SUBSCRIBED"))
}

// eventuallyReconciled asks until the state is answered.
func (f *Framework) eventuallyReconciled(task, state, agent string) {
	f.c.Helper()
	f.c.eventually(task+" is "+state, func() error {
		f.reconcile([2]string{task, agent})
		ctx, cancel := contextWithTimeout(f.c, f.c.target.Quiet)
		defer cancel()
		if _, ok := f.log.take(ctx, update(task, state)); !ok {
			return fmt.Errorf("no answer %s", state)
		}
		return nil
	})
}
