package conformance

// reconcile asks for tasks, given as pairs of task id and agent id ("" = none).
func (f *Framework) reconcile(pairs ...[2]string) {
	f.c.Helper()
	l := list[any]()
	for _, p := range pairs {
		t := Doc{"task_id": value(p[0])}
		if p[1] != "" {
			t["agent_id"] = value(p[1])
		}
		l = append(l, t)
	}
	f.Call("RECONCILE", Doc{"reconcile": Doc{"tasks": l}})
}

// reconciled checks an answer to a reconciliation.
func (f *Framework) reconciled(task, state, message, agent string) Doc {
	f.c.Helper()
	st := f.UpdateAny(task)
	equal(f.c, "state of "+task, text(st, "state"), state)
	equal(f.c, "message", text(st, "message"), "Reconciliation: "+message)
	equal(f.c, "reason", text(st, "reason"), "REASON_RECONCILIATION")
	equal(f.c, "source", text(st, "source"), "SOURCE_MASTER")
	equal(f.c, "agent", text(st, "agent_id.value"), agent)
	absent(f.c, st, "uuid")
	absent(f.c, st, "data")
	absent(f.c, st, "labels")
	present(f.c, st, "timestamp")
	return st
}

const (
	latest        = "Latest task state"
	unknownToThat = "Task is unknown to the agent"
	unknown       = "Task is unknown"
)

func reconcileChecks() []Check {
	pa := Spec{Caps: []string{"PARTITION_AWARE"}}
	checks := []Check{
		{Name: "reconcile/implicit", Doc: "§2.8; R09", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{Tasks: 3})
			p.Update(ids[2], "TASK_FINISHED")
			f.Take(ids[2], "TASK_FINISHED")
			f.eventuallyForgotten(ids[2], p.agent)
			f.reconcile()
			for _, id := range ids[:2] {
				f.reconciled(id, "TASK_RUNNING", latest, p.agent)
			}
			f.Quiet("an answer for a task that is over", update(ids[2], ""))
		}},
		{Name: "reconcile/implicit without tasks is silence", Doc: "§2.8; R12", Run: func(c *C) {
			f := c.Framework(pa)
			f.reconcile()
			f.Quiet("an answer", ofType("UPDATE"))
		}},
		{Name: "reconcile/answers hold nothing of the executor", Doc: "§2.8; R09", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			p.Update(ids[0], "TASK_RUNNING", Doc{
				"message": "mm", "data": b64("dd"), "healthy": true, "labels": Doc{"labels": list(Doc{"key": "a", "value": "b"})},
			})
			f.Take(ids[0], "TASK_RUNNING")
			f.reconcile([2]string{ids[0], p.agent})
			st := f.reconciled(ids[0], "TASK_RUNNING", latest, p.agent)
			if at(st, "healthy") != true {
				c.Errorf("healthy: %v, expected true as reported", at(st, "healthy"))
			}
			equal(c, "executor", text(st, "executor_id.value"), p.ID)
			present(c, st, "container_status.container_id.value")
		}},
		{Name: "reconcile/the agent of a known task is not looked at", Doc: "§2.8; R09", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			for _, agent := range []string{p.agent, "", "nope-S5"} {
				f.reconcile([2]string{ids[0], agent})
				f.reconciled(ids[0], "TASK_RUNNING", latest, p.agent)
			}
		}},
		{Name: "reconcile/a task that is being launched", Doc: "§2.8; R05", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			f.reconcile([2]string{ids[0], ""})
			f.reconciled(ids[0], "TASK_STAGING", latest, p.agent)
		}},
		{Name: "reconcile/a task whose update is unacknowledged", Doc: "§2.8; R09", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Start(Prepared{})
			p.Subscribe()
			p.Update(ids[0], "TASK_RUNNING")
			f.Update(ids[0], "TASK_RUNNING")
			f.reconcile([2]string{ids[0], p.agent})
			f.reconciled(ids[0], "TASK_RUNNING", latest, p.agent)
		}},
		{Name: "reconcile/terminal and acknowledged", Doc: "§2.8; R09", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			p.Update(ids[0], "TASK_FINISHED")
			f.Take(ids[0], "TASK_FINISHED")
			f.eventuallyForgotten(ids[0], p.agent)
			f.reconcile([2]string{ids[0], ""})
			f.reconciled(ids[0], "TASK_UNKNOWN", unknown, "")
		}},
		{Name: "reconcile/several at once, one twice, in order", Doc: "§2.8; R09", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			f.reconcile([2]string{ids[0], p.agent}, [2]string{"nope", p.agent}, [2]string{ids[0], p.agent})
			f.reconciled(ids[0], "TASK_RUNNING", latest, p.agent)
			f.reconciled("nope", "TASK_GONE", unknownToThat, p.agent)
			f.reconciled(ids[0], "TASK_RUNNING", latest, p.agent)
		}},
		{Name: "reconcile/another framework's task is unknown", Doc: "§2.8", Run: func(c *C) {
			f, g := c.Framework(pa), c.Framework(pa)
			_, ids := f.Run(Prepared{})
			g.reconcile([2]string{ids[0], ""})
			g.reconciled(ids[0], "TASK_UNKNOWN", unknown, "")
		}},
	}
	for _, row := range []struct {
		what            string
		caps            []string
		agent           string // "S" stands for a registered one
		state, message_ string
	}{
		{"unknown task, known agent", pa.Caps, "S", "TASK_GONE", unknownToThat},
		{"unknown task, no agent", pa.Caps, "", "TASK_UNKNOWN", unknown},
		{"unknown task, unknown agent", pa.Caps, "nope-S5", "TASK_UNKNOWN", unknown},
		{"unknown task, known agent, not PARTITION_AWARE", nil, "S", "TASK_LOST", unknownToThat},
		{"unknown task, no agent, not PARTITION_AWARE", nil, "", "TASK_LOST", unknown},
		{"unknown task, unknown agent, not PARTITION_AWARE", nil, "nope-S5", "TASK_LOST", unknown},
	} {
		checks = append(checks, Check{Name: "reconcile/" + row.what, Doc: "§2.8; R09", Run: func(c *C) {
			f := c.Framework(Spec{Caps: row.caps})
			agent := row.agent
			if agent == "S" {
				agent = c.anyAgent()
			}
			f.reconcile([2]string{"nope", agent})
			f.reconciled("nope", row.state, row.message_, agent)
		}})
	}
	return checks
}

// eventuallyForgotten waits until the master has seen the acknowledgement of a terminal update.
func (f *Framework) eventuallyForgotten(task, agent string) {
	f.c.Helper()
	f.c.eventually("master forgets "+task, func() error {
		f.reconcile([2]string{task, agent})
		st := f.UpdateAny(task)
		if s := text(st, "state"); s != "TASK_GONE" {
			return stateError(s)
		}
		equal(f.c, "message", text(st, "message"), "Reconciliation: "+unknownToThat)
		return nil
	})
}

type stateError string

func (e stateError) Error() string { return "state is still " + string(e) }
