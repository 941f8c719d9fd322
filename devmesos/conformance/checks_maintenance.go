package conformance

import (
	"fmt"
	"net/http"
	"time"
)

const ownCluster = NeedOwn | NeedExclusive

func maintenanceChecks() []Check {
	keep := Spec{Caps: []string{"PARTITION_AWARE"}, Checkpoint: true, FailoverTimeout: 60}
	return []Check{
		{Name: "maintenance/a schedule rescinds and offers again with unavailability", Doc: "§14; R15", Needs: ownCluster, Run: schedule},
		{Name: "maintenance/DEACTIVATE and REACTIVATE", Doc: "§14; R15", Needs: ownCluster, Run: func(c *C) {
			f := c.Framework(Spec{WantOffers: true})
			o := at(f.Event("OFFERS", ofType("OFFERS")).Doc, "offers.offers.0")
			agent, id := text(o, "agent_id.value"), text(o, "id.value")
			defer c.reactivate(agent)
			c.operate(Doc{"type": "DEACTIVATE_AGENT", "deactivate_agent": Doc{"agent_id": value(agent)}})
			f.Event("RESCIND", func(e Event) bool { return e.Type == "RESCIND" && text(e.Doc, "rescind.offer_id.value") == id })
			onAgent := func(e Event) bool { return e.Type == "OFFERS" && len(offersOn(e, agent)) > 0 }
			f.Quiet("offers of a deactivated agent", onAgent)
			c.operate(Doc{"type": "REACTIVATE_AGENT", "reactivate_agent": Doc{"agent_id": value(agent)}})
			f.Event("OFFERS of the agent", onAgent)
		}},
		{Name: "drain/KILL with the shorter grace, then DRAINING", Doc: "§6.5, §14; R15", Needs: ownCluster, Run: func(c *C) {
			f := c.Framework(keep)
			p, ids := f.Run(Prepared{Task: Doc{"kill_policy": Doc{"grace_period": Doc{"nanoseconds": 9e9}}}})
			defer c.reactivate(p.agent)
			c.operate(Doc{"type": "DRAIN_AGENT", "drain_agent": Doc{"agent_id": value(p.agent), "max_grace_period": Doc{"seconds": 3}}})
			e := p.Event("KILL", killed(ids[0]))
			equal(c, "grace_period", number(e.Doc, "kill.kill_policy.grace_period.nanoseconds"), 3e9)
			p.Update(ids[0], "TASK_KILLED")
			st := f.Update(ids[0], "TASK_KILLED")
			equal(c, "reason", text(st, "reason"), "REASON_AGENT_DRAINING")
			equal(c, "source", text(st, "source"), "SOURCE_EXECUTOR")
			equal(c, "drain state before the acknowledgement", c.drainState(p.agent), "DRAINING")
			f.Acknowledge(st)
			c.eventually("drained", func() error {
				if s := c.drainState(p.agent); s != "DRAINED" {
					return fmt.Errorf("drain state %q", s)
				}
				return nil
			})
			// The agent itself goes on draining, and drops tasks, until its executors are gone.
			p.Exit(0)
			f.Event("FAILURE", failure(p.agent, p.ID))
		}},
		{Name: "drain/a grace period given as text is refused", Doc: "§14; R15", Run: func(c *C) {
			a, err := c.operator.postJSON(c.ctx, "/api/v1", Doc{"type": "DRAIN_AGENT", "drain_agent": Doc{"agent_id": value("nope"), "max_grace_period": "3s"}})
			if err != nil {
				c.Fatal(err)
			}
			equal(c, "status", a.Status, http.StatusBadRequest)
			equal(c, "body", a.Body, "Failed to convert JSON into Call protobuf: Not expecting a JSON string for field 'max_grace_period'")
		}},
	}
}

func (c *C) reactivate(agent string) {
	_, _ = c.operator.postJSON(c.ctx, "/api/v1", Doc{"type": "REACTIVATE_AGENT", "reactivate_agent": Doc{"agent_id": value(agent)}})
}

func (c *C) drainState(agent string) string {
	c.Helper()
	d := c.operate(Doc{"type": "GET_AGENTS"}).doc()
	for _, a := range items(d, "get_agents.agents") {
		if text(a, "agent_info.id.value") == agent {
			return text(a, "drain_info.state")
		}
	}
	return ""
}

func schedule(c *C) {
	f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}, WantOffers: true})
	e := f.Event("OFFERS", ofType("OFFERS"))
	o := at(e.Doc, "offers.offers.0")
	agent, id := text(o, "agent_id.value"), text(o, "id.value")
	start, hour := time.Now().Add(10*time.Minute).UnixNano(), time.Hour.Nanoseconds()
	set := func(windows ...any) {
		c.Helper()
		a, err := c.operator.postJSON(c.ctx, "/maintenance/schedule", Doc{"windows": windows})
		if err != nil || a.Status != http.StatusOK {
			c.Fatalf("POST /maintenance/schedule: %v %v", a, err)
		}
	}
	defer set()
	set(Doc{
		"machine_ids":    list(Doc{"hostname": text(o, "hostname"), "ip": text(o, "url.address.ip")}),
		"unavailability": Doc{"start": Doc{"nanoseconds": start}, "duration": Doc{"nanoseconds": hour}},
	})
	rescinded := func(id string) func(Event) bool {
		return func(e Event) bool { return e.Type == "RESCIND" && text(e.Doc, "rescind.offer_id.value") == id }
	}
	f.Event("RESCIND", rescinded(id))
	onAgent := func(e Event) bool { return e.Type == "OFFERS" && len(offersOn(e, agent)) > 0 }
	again := f.Event("OFFERS with unavailability", onAgent)
	id = offersOn(again, agent)[0]
	for _, o := range items(again.Doc, "offers.offers") {
		if text(o, "agent_id.value") == agent {
			present(c, o, "unavailability.start.nanoseconds")
			equal(c, "duration", number(o, "unavailability.duration.nanoseconds"), float64(hour))
		}
	}
	inverse := f.Event("INVERSE_OFFERS", ofType("INVERSE_OFFERS"))
	inv := at(inverse.Doc, "inverse_offers.inverse_offers.0")
	present(c, inv, "unavailability.start.nanoseconds")
	f.Call("ACCEPT_INVERSE_OFFERS", Doc{"accept_inverse_offers": Doc{"inverse_offer_ids": list(at(inv, "id")), "filters": Doc{"refuse_seconds": 0.0}}})
	c.eventually("maintenance status shows the acceptance", func() error {
		if s := text(c.get("/maintenance/status"), "draining_machines.0.statuses.0.status"); s != "ACCEPT" {
			return fmt.Errorf("status %q", s)
		}
		return nil
	})
	set()
	f.Event("RESCIND when the schedule is taken back", rescinded(id))
	last := f.Event("OFFERS without unavailability", onAgent)
	for _, o := range items(last.Doc, "offers.offers") {
		absent(c, o, "unavailability")
	}
}
