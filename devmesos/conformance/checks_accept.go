package conformance

import (
	"fmt"
	"strings"
)

// dropped checks that a task was dropped for invalid offers.
func (f *Framework) dropped(task, message string) {
	f.c.Helper()
	st := f.UpdateAny(task)
	equal(f.c, "state", text(st, "state"), "TASK_DROPPED")
	equal(f.c, "source", text(st, "source"), "SOURCE_MASTER")
	equal(f.c, "reason", text(st, "reason"), "REASON_INVALID_OFFERS")
	equal(f.c, "message", text(st, "message"), "Task launched with invalid offers: "+message)
	absent(f.c, st, "uuid")
}

func acceptChecks() []Check {
	pa := Spec{Caps: []string{"PARTITION_AWARE"}}
	return []Check{
		{Name: "accept/used offer", Doc: "§2.7; R08", Run: func(c *C) {
			f := c.Framework(pa)
			o := f.Offer(0.2, 64, "")
			id, agent := text(o, "id.value"), text(o, "agent_id.value")
			f.Accept([]string{id}) // takes nothing
			_, info := f.Executor()
			t := c.name("t")
			f.Accept([]string{id}, launch(task(t, agent, info)))
			f.dropped(t, fmt.Sprintf("Offer %s is no longer valid", id))
		}},
		{Name: "accept/duplicate offer", Doc: "§2.7; R08", Run: func(c *C) {
			f := c.Framework(pa)
			o := f.Offer(0.2, 64, "")
			id, agent := text(o, "id.value"), text(o, "agent_id.value")
			_, info := f.Executor()
			t := c.name("t")
			f.Accept([]string{id, id}, launch(task(t, agent, info)))
			f.dropped(t, fmt.Sprintf("Duplicate offer %s in offer list", id))
		}},
		{Name: "accept/no offer", Doc: "§2.7; R17", Run: func(c *C) {
			f := c.Framework(pa)
			_, info := f.Executor()
			t := c.name("t")
			f.Accept(nil, launch(task(t, c.anyAgent(), info)))
			f.dropped(t, "No offers specified")
		}},
		{Name: "accept/unknown offer, not PARTITION_AWARE", Doc: "§2.7", Run: func(c *C) {
			f := c.Framework(Spec{})
			_, info := f.Executor()
			t := c.name("t")
			f.Accept([]string{"nope-O1"}, launch(task(t, c.anyAgent(), info)))
			st := f.UpdateAny(t)
			equal(c, "state", text(st, "state"), "TASK_LOST")
			equal(c, "reason", text(st, "reason"), "REASON_INVALID_OFFERS")
			absent(c, st, "uuid")
		}},
		{Name: "accept/one bad offer consumes the good one", Doc: "§2.7; R08", Needs: NeedExclusive, Run: func(c *C) {
			f, offers := c.allOffers()
			used, good := "nope-O7", offers[0]
			_, info := f.Executor()
			t := c.name("t")
			f.Accept([]string{used, good}, launch(task(t, c.anyAgent(), info)))
			st := f.UpdateAny(t)
			equal(c, "state", text(st, "state"), "TASK_DROPPED")
			f.Event("OFFERS: the good offer was taken back and is made again", ofType("OFFERS"))
			t = c.name("t")
			f.Accept([]string{good}, launch(task(t, c.anyAgent(), info)))
			f.dropped(t, fmt.Sprintf("Offer %s is no longer valid", good))
		}},
		{Name: "accept/offers of two agents", Doc: "§2.7; R08", Needs: NeedExclusive | NeedTwoAgents, Run: func(c *C) {
			f, offers := c.allOffers()
			_, info := f.Executor()
			t := c.name("t")
			if len(offers) < 2 {
				c.Skip("only one agent has anything to offer")
			}
			f.Accept(offers[:2], launch(task(t, c.anyAgent(), info)))
			st := f.UpdateAny(t)
			equal(c, "state", text(st, "state"), "TASK_DROPPED")
			contains(c, "message", text(st, "message"), "Aggregated offers must belong to one single agent")
			f.Event("OFFERS made again", ofType("OFFERS"))
		}},
		{Name: "accept/offers of two roles", Doc: "§2.7", Needs: NeedExclusive | NeedTwoAgents, Run: func(c *C) {
			f := c.Framework(Spec{
				Caps: pa.Caps, Roles: []string{"conformance-a", "conformance-b"}, WantOffers: true,
				Subscribe: Doc{"suppressed_roles": list("conformance-b")},
			})
			first := f.collect(len(c.agents))
			if len(first) < 2 {
				c.Skip("only one agent has anything to offer")
			}
			f.Call("SUPPRESS", Doc{"suppress": Doc{"roles": list("conformance-a")}})
			f.decline(0, first[1:]...)
			f.Call("REVIVE", Doc{"revive": Doc{"roles": list("conformance-b")}})
			second := f.collect(1)
			_, info := f.Executor()
			t := c.name("t")
			f.Accept([]string{first[0], second[0]}, launch(task(t, c.anyAgent(), info)))
			st := f.UpdateAny(t)
			equal(c, "state", text(st, "state"), "TASK_DROPPED")
			equal(c, "reason", text(st, "reason"), "REASON_INVALID_OFFERS")
			contains(c, "message", text(st, "message"), "must be allocated to the same role")
		}},
		{Name: "accept/union of two offers of one agent", Doc: "§2.7, §9; R08", Needs: NeedExclusive, Run: unionOfOffers},
		{Name: "accept/remainder is offered with its rest", Doc: "§2.7, §3; R08", Needs: NeedExclusive, Run: func(c *C) {
			f := c.Framework(Spec{Caps: pa.Caps, WantOffers: true})
			o := f.Event("OFFERS", ofType("OFFERS"))
			offer, _ := at(o.Doc, "offers.offers.0").(Doc)
			agent := text(offer, "agent_id.value")
			p, info := f.Executor()
			f.Launch(offer, task(c.name("t"), agent, info, Doc{"resources": list(scalar("cpus", 0.123), scalar("mem", 33))}))
			rest := f.Event("OFFERS of the remainder", func(e Event) bool { return e.Type == "OFFERS" && len(offersOn(e, agent)) > 0 })
			for _, r := range items(rest.Doc, "offers.offers") {
				if text(r, "agent_id.value") != agent {
					continue
				}
				had, has := items(offer, "resources"), items(r, "resources")
				equal(c, "cpus left (milli)", amount(has, "cpus"), amount(had, "cpus")-123-100)
				equal(c, "mem left (milli)", amount(has, "mem"), amount(had, "mem")-33000-32000)
				equal(c, "executor_ids", text(r, "executor_ids.0.value"), p.ID)
			}
		}},
		{Name: "accept/unknown operation returns the offer", Doc: "§2.7; R08", Needs: NeedExclusive, Run: func(c *C) {
			f, offers := c.allOffers()
			for _, op := range []Doc{{"type": "NO_SUCH_OP"}, {"type": "LAUNCH"}, {"type": "LAUNCH", "launch": Doc{"task_infos": list[any]()}}} {
				f.Accept(offers[:1], op)
				offers = f.collect(1)
			}
		}},
	}
}

func unionOfOffers(c *C) {
	f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}, WantOffers: true})
	o := f.Event("OFFERS", ofType("OFFERS"))
	offer, _ := at(o.Doc, "offers.offers.0").(Doc)
	agent := text(offer, "agent_id.value")
	all := items(offer, "resources")
	onAgent := func(e Event) bool { return e.Type == "OFFERS" && len(offersOn(e, agent)) > 0 }

	p, info := f.Executor()
	t := c.name("t")
	f.Launch(offer, task(t, agent, info, Doc{"resources": list(scalar("cpus", 0.4), scalar("mem", 64))}))
	f.Arrived(p)
	p.Subscribe()
	p.Launched(t)
	rest := f.Event("OFFERS of the remainder", onAgent)
	p.Update(t, "TASK_FINISHED")
	f.Take(t, "TASK_FINISHED")
	back := f.Event("OFFERS of what the task used", onAgent)
	// Together both offers hold all but the executor's share; neither does alone.
	t = c.name("t")
	want := list(scalar("cpus", float64(amount(all, "cpus")-100)/1000), scalar("mem", float64(amount(all, "mem")-32000)/1000))
	f.Accept(append(offersOn(rest, agent), offersOn(back, agent)...), launch(task(t, agent, info, Doc{"resources": want})))
	p.Launched(t)
	p.Update(t, "TASK_RUNNING")
	f.Take(t, "TASK_RUNNING")
}

// validationChecks are those of the rules of §2.7 that need a task that runs already.
func validationChecks() []Check {
	invalid := func(c *C, f *Framework, id, message string) {
		c.Helper()
		st := f.UpdateAny(id)
		equal(c, "state", text(st, "state"), "TASK_ERROR")
		equal(c, "source", text(st, "source"), "SOURCE_MASTER")
		equal(c, "reason", text(st, "reason"), "REASON_TASK_INVALID")
		contains(c, "message", text(st, "message"), message)
		absent(c, st, "uuid")
	}
	pa := Spec{Caps: []string{"PARTITION_AWARE"}}
	return []Check{
		{Name: "validation/duplicate task id", Doc: "§2.7; R08", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			o := f.Offer(0.2, 64, p.agent)
			_, info := f.Executor()
			f.Launch(o, task(ids[0], p.agent, info))
			invalid(c, f, ids[0], "Task has duplicate ID: "+ids[0])
		}},
		{Name: "validation/other ExecutorInfo with the id of a running executor", Doc: "§2.7; R08", Run: func(c *C) {
			f := c.Framework(pa)
			p, _ := f.Run(Prepared{})
			o := f.Offer(0.2, 64, p.agent)
			t := c.name("t")
			f.Launch(o, task(t, p.agent, merge(c.executorInfo(p.ID, p.URL), Doc{"name": "another"})))
			invalid(c, f, t, "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.")
		}},
		{Name: "validation/equal ExecutorInfo: the executor is used again and charged once", Doc: "§2.7; R08", Needs: NeedExclusive, Run: func(c *C) {
			f := c.Framework(pa)
			p, _ := f.Run(Prepared{})
			o := f.Offer(0.2, 64, p.agent)
			t := c.name("t")
			before := amount(items(o, "resources"), "cpus")
			f.Launch(o, task(t, p.agent, c.executorInfo(p.ID, p.URL)))
			p.Launched(t)
			p.Update(t, "TASK_RUNNING")
			f.Take(t, "TASK_RUNNING")
			rest := f.Offer(0, 0, p.agent)
			equal(c, "cpus left (milli)", amount(items(rest, "resources"), "cpus"), before-100)
		}},
		{Name: "validation/task id too long", Doc: "§2.7", Run: func(c *C) {
			f := c.Framework(pa)
			o := f.Offer(0.2, 64, "")
			_, info := f.Executor()
			t := strings.Repeat("x", 256)
			f.Launch(o, task(t, text(o, "agent_id.value"), info))
			invalid(c, f, t, "ID must not be greater than 255 characters")
		}},
		{Name: "validation/longest task id", Doc: "§2.7", Run: func(c *C) {
			f := c.Framework(pa)
			o := f.Offer(0.2, 64, "")
			p, info := f.Executor()
			t := strings.Repeat("x", 255)
			f.Launch(o, task(t, text(o, "agent_id.value"), info))
			f.Arrived(p)
			p.Subscribe()
			p.Launched(t)
		}},
		{Name: "validation/filled in by the master", Doc: "§2.7; R03", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			e := p.Launched(ids[0])
			equal(c, "executor.framework_id", text(e.Doc, "launch.task.executor.framework_id.value"), f.ID)
			for _, path := range []string{"launch.task.resources", "launch.task.executor.resources"} {
				for _, r := range items(e.Doc, path) {
					equal(c, path+" allocation_info.role", text(r, "allocation_info.role"), "*")
				}
			}
		}},
	}
}
