package conformance

import (
	"time"
)

// offerChecks look at when offers come. Other frameworks must not take them meanwhile.
func offerChecks() []Check {
	refuse := func(extra time.Duration) func(Timing) time.Duration {
		return func(t Timing) time.Duration { return t.DefaultRefuse + extra }
	}
	return []Check{
		{Name: "offers/decline without a filter means 5 s", Doc: "§3; R08", Needs: NeedExclusive, Takes: refuse(0), Run: func(c *C) {
			c.declined(Doc{}, c.timing.DefaultRefuse)
		}},
		{Name: "offers/negative refuse_seconds means 5 s", Doc: "§3; R08", Needs: NeedExclusive, Takes: refuse(0), Run: func(c *C) {
			c.declined(Doc{"filters": Doc{"refuse_seconds": -1.0}}, c.timing.DefaultRefuse)
		}},
		{Name: "offers/refuse_seconds 0 means the next allocation", Doc: "§3; R08", Needs: NeedExclusive, Run: func(c *C) {
			c.declined(Doc{"filters": Doc{"refuse_seconds": 0.0}}, 0)
		}},
		{Name: "offers/refuse_seconds below an allocation interval", Doc: "§3; R08", Needs: NeedExclusive, Run: func(c *C) {
			c.declined(Doc{"filters": Doc{"refuse_seconds": 0.01}}, 0)
		}},
		{Name: "offers/REVIVE removes a filter", Doc: "§3; R08", Needs: NeedExclusive, Run: func(c *C) {
			f, offers := c.allOffers()
			f.Call("DECLINE", Doc{"decline": Doc{"offer_ids": values(offers...), "filters": Doc{"refuse_seconds": 1e10}}})
			f.Quiet("offers under a filter of a year", ofType("OFFERS"))
			f.Call("REVIVE", Doc{})
			f.Event("OFFERS after REVIVE", ofType("OFFERS"))
		}},
		{Name: "offers/REVIVE of one role", Doc: "§3; R08", Needs: NeedExclusive, Run: func(c *C) {
			f := c.Framework(Spec{Roles: []string{"conformance-a"}, WantOffers: true})
			offers := f.collect(len(c.agents))
			f.Call("DECLINE", Doc{"decline": Doc{"offer_ids": values(offers...), "filters": Doc{"refuse_seconds": 1000.0}}})
			f.Call("REVIVE", Doc{"revive": Doc{"roles": list("not-subscribed")}}) // the whole call is ignored
			f.Quiet("offers after REVIVE of a role that is not subscribed", ofType("OFFERS"))
			f.Call("REVIVE", Doc{"revive": Doc{"roles": list("conformance-a")}})
			f.Event("OFFERS after REVIVE", ofType("OFFERS"))
		}},
		{Name: "offers/SUPPRESS and REVIVE", Doc: "§2.7, §3; R08", Needs: NeedExclusive, Run: func(c *C) {
			f, offers := c.allOffers()
			f.Call("SUPPRESS", Doc{})
			f.Quiet("RESCIND at SUPPRESS", ofType("RESCIND"))
			f.Call("DECLINE", Doc{"decline": Doc{"offer_ids": values(offers...), "filters": Doc{"refuse_seconds": 0.0}}})
			f.Quiet("offers while suppressed", ofType("OFFERS"))
			f.Call("REVIVE", Doc{})
			f.Event("OFFERS after REVIVE", ofType("OFFERS"))
		}},
		{Name: "offers/SUPPRESS of a role that is not subscribed", Doc: "§2.7", Needs: NeedExclusive, Run: func(c *C) {
			f, offers := c.allOffers()
			f.Call("SUPPRESS", Doc{"suppress": Doc{"roles": list("not-subscribed")}})
			f.Call("DECLINE", Doc{"decline": Doc{"offer_ids": values(offers...), "filters": Doc{"refuse_seconds": 0.0}}})
			f.Event("OFFERS: the SUPPRESS was ignored", ofType("OFFERS"))
		}},
		{Name: "offers/decline of unknown offers is ignored", Doc: "§2.7; R08", Run: func(c *C) {
			f := c.Framework(Spec{})
			f.Call("DECLINE", Doc{"decline": Doc{"offer_ids": values("nope-O1", "nope-O2")}})
			f.Quiet("ERROR", ofType("ERROR"))
		}},
		{Name: "offers/empty ACCEPT is a decline for 5 s", Doc: "§2.7; R08", Needs: NeedExclusive, Takes: refuse(0), Run: func(c *C) {
			f, offers := c.allOffers()
			start := time.Now()
			f.Call("ACCEPT", Doc{"accept": Doc{"offer_ids": values(offers[0]), "operations": list[any]()}})
			e := c.waitFor(f.log, c.timing.DefaultRefuse+c.target.Patience, "OFFERS", ofType("OFFERS"))
			if d := e.At.Sub(start); d < c.timing.DefaultRefuse*8/10 {
				c.Errorf("offered again after %v, expected no sooner than %v", d, c.timing.DefaultRefuse)
			}
		}},
		{Name: "offers/a bigger remainder passes the filter", Doc: "§3", Needs: NeedExclusive, Run: biggerRemainder},
		{Name: "offers/resubscription clears filters and suppression", Doc: "§2.3; R10", Needs: NeedExclusive, Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60, WantOffers: true})
			offers := f.collect(len(c.agents))
			f.Call("DECLINE", Doc{"decline": Doc{"offer_ids": values(offers...), "filters": Doc{"refuse_seconds": 1000.0}}})
			f.Call("SUPPRESS", Doc{})
			f.Disconnected()
			g := f.again()
			g.Subscribe()
			g.Event("OFFERS after resubscription", ofType("OFFERS"))
		}},
		{Name: "offers/two frameworks do not get the same", Doc: "§3", Needs: NeedExclusive, Run: func(c *C) {
			f, _ := c.allOffers()
			g := c.Framework(Spec{WantOffers: true})
			g.Quiet("offers of agents whose resources are all offered elsewhere", ofType("OFFERS"))
			f.Disconnect() // failover_timeout 0: removed
			g.Event("OFFERS after the other framework is gone", ofType("OFFERS"))
		}},
		{Name: "offers/min_allocatable_resources of the framework", Doc: "§3", Needs: NeedExclusive, Run: func(c *C) {
			f := c.Framework(Spec{Roles: []string{"conformance-a"}, WantOffers: true, Info: Doc{"offer_filters": Doc{"conformance-a": Doc{
				"min_allocatable_resources": Doc{"quantities": list(Doc{"quantities": Doc{"cpus": Doc{"value": 1e6}}})},
			}}}})
			f.Quiet("offers below what the framework demands", ofType("OFFERS"))
		}},
	}
}

// allOffers subscribes a framework and waits until it holds an offer of every agent.
func (c *C) allOffers() (*Framework, []string) {
	c.Helper()
	f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}, WantOffers: true})
	return f, f.collect(len(c.agents))
}

// collect takes n offers from the stream. Fewer will do, but one, if no more come:
// an agent may have nothing left.
func (f *Framework) collect(n int) []string {
	f.c.Helper()
	var ids []string
	e := f.Event("OFFERS", ofType("OFFERS"))
	for {
		for _, o := range items(e.Doc, "offers.offers") {
			ids = append(ids, text(o, "id.value"))
		}
		if len(ids) >= n {
			return ids
		}
		ctx, cancel := contextWithTimeout(f.c, 2*f.c.timing.Allocation+f.c.target.Quiet)
		next, ok := f.log.take(ctx, ofType("OFFERS"))
		cancel()
		if !ok {
			return ids
		}
		e = next
	}
}

// declined declines all offers with the filters and checks that they come again, but not before.
func (c *C) declined(filters Doc, after time.Duration) {
	c.Helper()
	f, offers := c.allOffers()
	start := time.Now()
	f.Call("DECLINE", Doc{"decline": merge(Doc{"offer_ids": values(offers...)}, filters)})
	e := c.waitFor(f.log, after+c.target.Patience, "OFFERS", ofType("OFFERS"))
	d := e.At.Sub(start)
	if d < after*8/10 {
		c.Errorf("offered again after %v, expected no sooner than %v", d, after)
	}
	// Lateness is bounded loosely: only a wrong filter makes seconds.
	if limit := after + 4*c.timing.Allocation + 3*time.Second; d > limit {
		c.Errorf("offered again after %v, expected no later than %v", d, limit)
	}
	for _, o := range items(e.Doc, "offers.offers") {
		for _, old := range offers {
			if text(o, "id.value") == old {
				c.Errorf("offer id %s is used again", old)
			}
		}
	}
}

// biggerRemainder: a filter hides only what is contained in the refused resources.
func biggerRemainder(c *C) {
	f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}, WantOffers: true})
	first := f.Event("OFFERS", ofType("OFFERS"))
	o := at(first.Doc, "offers.offers.0")
	agent := text(o, "agent_id.value")
	p, info := f.Executor()
	id := c.name("t")
	f.Launch(o.(Doc), task(id, agent, info))
	f.Arrived(p)
	p.Subscribe()
	p.Launched(id)
	onAgent := func(e Event) bool {
		return e.Type == "OFFERS" && len(offersOn(e, agent)) > 0
	}
	rest := f.Event("OFFERS of the remainder", onAgent)
	f.decline(1000, offersOn(rest, agent)...)
	f.Quiet("the refused remainder is offered", onAgent)
	p.Update(id, "TASK_FINISHED")
	f.Take(id, "TASK_FINISHED")
	e := f.Event("OFFERS of more than was refused", onAgent)
	present(c, e.Doc, "offers.offers.0")
}

func offersOn(e Event, agent string) []string {
	var ids []string
	for _, o := range items(e.Doc, "offers.offers") {
		if text(o, "agent_id.value") == agent {
			ids = append(ids, text(o, "id.value"))
		}
	}
	return ids
}

// constraintChecks are about offer constraints (1.11).
func constraintChecks() []Check {
	constrained := func(hostnameIs string) Doc {
		return Doc{"offer_constraints": Doc{"role_constraints": Doc{"conformance-a": Doc{"groups": list(Doc{
			"attribute_constraints": list(Doc{
				"selector":  Doc{"pseudoattribute_type": "HOSTNAME"},
				"predicate": Doc{"text_equals": Doc{"value": hostnameIs}},
			}),
		})}}}}
	}
	return []Check{
		{Name: "constraints/no agent satisfies them", Doc: "§3", Run: func(c *C) {
			f := c.Framework(Spec{Roles: []string{"conformance-a"}, WantOffers: true, Subscribe: constrained("no.such.host.example")})
			f.Quiet("offers in spite of the constraints", ofType("OFFERS"))
		}},
		{Name: "constraints/by hostname", Doc: "§3; R02b", Run: func(c *C) {
			host := text(c.get("/slaves"), "slaves.0.hostname")
			f := c.Framework(Spec{Roles: []string{"conformance-a"}, WantOffers: true, Subscribe: constrained(host)})
			e := f.Event("OFFERS", ofType("OFFERS"))
			for _, o := range items(e.Doc, "offers.offers") {
				equal(c, "hostname", text(o, "hostname"), host)
			}
		}},
	}
}
