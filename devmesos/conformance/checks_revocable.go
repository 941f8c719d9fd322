package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Preempter is what Faults may also be: something that makes the QoS controller of an agent
// kill an executor.
type Preempter interface {
	PreemptExecutor(ctx context.Context, agentID, frameworkID, executorID string) error
}

func revocable(name string, v float64) Doc { return merge(scalar(name, v), Doc{"revocable": Doc{}}) }

// revocableAgent is an agent that lends revocable cpus, and how many; the check is skipped if there is none.
func (c *C) revocableAgent() (string, float64) {
	c.Helper()
	for _, s := range items(c.get("/slaves"), "slaves") {
		if n := number(s, "resources.cpus_revocable"); n >= 1 {
			return text(s, "id"), n
		}
	}
	c.Skip("no agent has revocable resources (--resource_estimator)")
	return "", 0
}

func revocableChecks() []Check {
	spec := Spec{Caps: []string{"PARTITION_AWARE", "REVOCABLE_RESOURCES"}, FailoverTimeout: 30}
	// refused launches a task with an executor of the given resources and checks the refusal.
	refused := func(c *C, message string, taskRes, execRes func(lent float64) []any) {
		agent, lent := c.revocableAgent()
		f := c.Framework(spec)
		o := f.Offer(0.1, 128, agent)
		_, info := f.Executor(Doc{"resources": execRes(lent)})
		t := c.name("t")
		f.Launch(o, task(t, agent, info, Doc{"resources": taskRes(lent)}))
		st := f.UpdateAny(t)
		equal(c, "state", text(st, "state"), "TASK_ERROR")
		equal(c, "reason", text(st, "reason"), "REASON_TASK_INVALID")
		equal(c, "message", essence(text(st, "message")), essence(message))
	}
	lends := func(r ...Doc) func(float64) []any { return func(float64) []any { return list(r...) } }
	return []Check{
		{Name: "revocable/only with the capability", Doc: "§2.6, §13; R14", Run: func(c *C) {
			agent, _ := c.revocableAgent()
			offered := func(f *Framework) (revocable bool) {
				o := f.Offer(0.1, 0, agent)
				for _, r := range items(o, "resources") {
					revocable = revocable || has(r, "revocable")
				}
				f.decline(0, text(o, "id.value"))
				return revocable
			}
			if offered(c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}})) {
				c.Error("revocable resources are offered without REVOCABLE_RESOURCES")
			}
			// Another framework may hold all of them for a moment.
			f := c.Framework(Spec{Caps: []string{"REVOCABLE_RESOURCES"}})
			c.eventually("revocable resources are offered with REVOCABLE_RESOURCES", func() error {
				if !offered(f) {
					return errors.New("an offer has none")
				}
				return nil
			})
		}},
		{Name: "revocable/regular executor, revocable task", Doc: "§2.7, §13; R14", Run: func(c *C) {
			refused(c, "Task and its executor mix revocable and non-revocable resources: Cannot use both revocable and non-revocable 'cpus' at the same time",
				lends(revocable("cpus", 0.5), scalar("mem", 64)), lends(scalar("cpus", 0.1), scalar("mem", 32)))
		}},
		{Name: "revocable/task that mixes", Doc: "§2.7, §13; R14", Run: func(c *C) {
			refused(c, "Task mixes revocable and non-revocable resources: Cannot use both revocable and non-revocable 'cpus' at the same time",
				lends(revocable("cpus", 0.5), scalar("mem", 64), scalar("cpus", 0.1)), lends(revocable("cpus", 0.1), scalar("mem", 32)))
		}},
		{Name: "revocable/more than is lent", Doc: "§2.7, §13; R14", Run: func(c *C) {
			_, lent := c.revocableAgent()
			refused(c, fmt.Sprintf("Total resources cpus(allocated: *){REV}:%g; mem(allocated: *):96 required by task and its executor is more than available ", lent+5.5),
				func(lent float64) []any { return list(revocable("cpus", lent+5), scalar("mem", 64)) }, lends(revocable("cpus", 0.5), scalar("mem", 32)))
		}},
		{Name: "revocable/cpus with regular memory", Doc: "§13; R14", Run: func(c *C) {
			f := c.Framework(spec)
			p, id := f.runRevocable()
			f.reconcile([2]string{id, ""})
			f.reconciled(id, "TASK_RUNNING", latest, p.agent)
		}},
		{Name: "revocable/preempted by the QoS controller", Doc: "§6.3, §13; R14b", Run: func(c *C) {
			preempter, ok := c.target.Faults.(Preempter)
			if !ok {
				c.Skip("this target cannot preempt an executor on demand")
			}
			f := c.Framework(spec)
			p, id := f.runRevocable()
			c.broken("preempt an executor", preempter.PreemptExecutor(c.ctx, p.agent, f.ID, p.ID))
			e := f.Event("FAILURE", failure(p.agent, p.ID))
			equal(c, "status", number(e.Doc, "failure.status"), 9)
			f.terminated(id, "TASK_GONE", "REASON_CONTAINER_PREEMPTED", "Container preempted by QoS correction")
		}},
	}
}

// runRevocable runs a task on revocable cpus and regular memory.
func (f *Framework) runRevocable() (*Probe, string) {
	f.c.Helper()
	agent, _ := f.c.revocableAgent()
	res := func(cpus float64) Doc { return Doc{"resources": list(revocable("cpus", cpus), scalar("mem", 32))} }
	p, ids := f.Run(Prepared{Agent: agent, Executor: res(0.1), Task: res(0.2)})
	return p, ids[0]
}

// redirectChecks ask masters that do not lead.
func redirectChecks() []Check {
	return []Check{{Name: "redirect/masters that do not lead", Doc: "§2.1 row 2, §11; R13", Run: func(c *C) {
		if len(c.target.Followers) == 0 {
			c.Skip("no master is known that does not lead (-followers)")
		}
		leader := strings.TrimPrefix(c.target.Master, "http:")
		for _, url := range c.target.Followers {
			cl := newClient(url, basicAuth(c.target.Principal, c.target.Secret))
			for _, row := range []struct{ method, path, location string }{
				{"POST", "/api/v1/scheduler", leader + "/api/v1/scheduler"},
				{"POST", "/master/api/v1/scheduler", leader + "/master/api/v1/scheduler"},
				{"GET", "/redirect", leader},
				{"GET", "/master/redirect", leader},
			} {
				a, err := cl.send(c.ctx, row.method, row.path, header{"Content-Type": string(JSON), "Accept": string(JSON)},
					mustJSON(Doc{"type": "SUBSCRIBE", "subscribe": Doc{"framework_info": c.frameworkInfo(Spec{})}}))
				if err != nil {
					c.Fatal(err)
				}
				what := row.method + " " + url + row.path
				equal(c, what, a.Status, http.StatusTemporaryRedirect)
				if strings.HasPrefix(row.path, "/master/api") {
					continue // the recordings do not tell which of its two paths is named
				}
				equal(c, what+" Location", a.Header.Get("Location"), row.location)
			}
			cl.close()
		}
	}}}
}
