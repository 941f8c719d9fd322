package conformance

import (
	"net/http"
	"strings"
)

func endpointChecks() []Check {
	return []Check{
		{Name: "endpoints/health", Doc: "§15; R13", Run: func(c *C) {
			for _, method := range []string{"GET", "HEAD"} {
				a, err := c.operator.send(c.ctx, method, "/health", nil, nil)
				if err != nil {
					c.Fatal(err)
				}
				equal(c, method+" status", a.Status, http.StatusOK)
				equal(c, method+" body", a.Body, "")
			}
		}},
		{Name: "endpoints/version", Doc: "§15; R13", Run: func(c *C) {
			present(c, c.get("/version"), "version")
		}},
		{Name: "endpoints/redirect", Doc: "§11, §2.1 row 2; R13", Run: func(c *C) {
			pid := text(c.get("/state"), "leader")
			_, leader, _ := strings.Cut(pid, "@")
			_, port, _ := strings.Cut(leader, ":")
			for _, path := range []string{"/redirect", "/master/redirect"} {
				a, err := c.operator.get(c.ctx, path)
				if err != nil {
					c.Fatal(err)
				}
				equal(c, path+" status", a.Status, http.StatusTemporaryRedirect)
				loc := a.Header.Get("Location") // no scheme, no path; the host may be a name
				if !strings.HasPrefix(loc, "//") || !strings.HasSuffix(loc, ":"+port) {
					c.Errorf("%s: Location %q, expected //HOST:%s", path, loc, port)
				}
			}
		}},
		{Name: "endpoints/unknown paths", Doc: "§2.1; R02, R13", Run: func(c *C) {
			for _, path := range []string{"/nope", "/state.json", "/master/state.json"} {
				a, err := c.operator.get(c.ctx, path)
				if err != nil {
					c.Fatal(err)
				}
				equal(c, path, a.Status, http.StatusNotFound)
			}
		}},
		{Name: "endpoints/operator API", Doc: "§15; R13", Run: func(c *C) {
			d := c.operate(Doc{"type": "GET_HEALTH"}).doc()
			if at(d, "get_health.healthy") != true {
				c.Errorf("GET_HEALTH: %v", d)
			}
			present(c, c.operate(Doc{"type": "GET_VERSION"}).doc(), "get_version.version_info.version")
			present(c, c.operate(Doc{"type": "GET_MASTER"}).doc(), "get_master.master_info.id")
			a, err := c.operator.postJSON(c.ctx, "/api/v1", Doc{"type": "NOPE"})
			if err != nil {
				c.Fatal(err)
			}
			equal(c, "unknown call", a.Status, http.StatusBadRequest)
			equal(c, "unknown call", a.Body, "Failed to validate master::Call: Expecting 'type' to be present")
		}},
		{Name: "endpoints/state of a running task", Doc: "§15; R13", Run: stateOfTask},
		{Name: "endpoints/agent state and what it is reached by", Doc: "§15; R13", Run: func(c *C) {
			f := c.Framework(Spec{Checkpoint: true, FailoverTimeout: 60})
			p, ids := f.Run(Prepared{})
			d := p.getFile("/state").doc()
			equal(c, "id", text(d, "id"), p.agent)
			if pid := text(d, "pid"); !strings.HasPrefix(pid, "slave(1)@") {
				c.Errorf("pid %q", pid)
			}
			found := false
			for _, fw := range items(d, "frameworks") {
				for _, ex := range items(fw, "executors") {
					if text(ex, "id") == p.ID {
						found = true
						equal(c, "framework", text(fw, "id"), f.ID)
						equal(c, "directory", text(ex, "directory"), p.Process().Cwd)
						equal(c, "task", text(ex, "tasks.0.id"), ids[0])
						equal(c, "task state", text(ex, "tasks.0.state"), "TASK_RUNNING")
					}
				}
			}
			if !found {
				c.Errorf("executor %s is not in the agent's /state", p.ID)
			}
			equal(c, "agent's /health", p.getFile("/health").Status, http.StatusOK)
			present(c, p.getFile("/version").doc(), "version")
		}},
		{Name: "endpoints/completed framework and task", Doc: "§15; R10, R13", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60})
			p, ids := f.Run(Prepared{})
			p.Update(ids[0], "TASK_FINISHED")
			f.Take(ids[0], "TASK_FINISHED")
			f.eventuallyGone(ids[0])
			equal(c, "state", text(c.taskOf(f.ID, ids[0]), "state"), "TASK_FINISHED")
			f.Teardown()
			c.removed(f.ID)
		}},
	}
}

// eventuallyGone waits until the master lists the task among the completed ones.
func (f *Framework) eventuallyGone(task string) {
	f.c.Helper()
	f.c.eventually(task+" is completed", func() error {
		for _, t := range items(f.c.framework(f.ID), "completed_tasks") {
			if text(t, "id") == task {
				return nil
			}
		}
		return stateError("not completed")
	})
}

func stateOfTask(c *C) {
	f := c.Framework(Spec{Roles: []string{"conformance-a"}, FailoverTimeout: 60, Info: Doc{
		"labels": Doc{"labels": list(Doc{"key": "k", "value": "v"})}, "webui_url": "http://ui.example/",
	}})
	p, ids := f.Run(Prepared{})
	var fw Doc
	for _, x := range items(c.get("/state"), "frameworks") {
		if text(x, "id") == f.ID {
			fw, _ = x.(Doc)
		}
	}
	if fw == nil {
		c.Fatal("the framework is not in /state")
	}
	equal(c, "name", text(fw, "name"), text(f.info, "name"))
	equal(c, "user", text(fw, "user"), c.target.User)
	equal(c, "roles", text(fw, "roles.0"), "conformance-a")
	equal(c, "webui_url", text(fw, "webui_url"), "http://ui.example/")
	equal(c, "failover_timeout", number(fw, "failover_timeout"), 60)
	equal(c, "label", text(fw, "labels.0.value"), "v")
	equal(c, "used cpus (milli)", milli(number(fw, "used_resources.cpus")), 200)
	equal(c, "used mem", number(fw, "used_resources.mem"), 64)
	t := at(fw, "tasks.0")
	equal(c, "task", text(t, "id"), ids[0])
	equal(c, "task state", text(t, "state"), "TASK_RUNNING")
	equal(c, "task agent", text(t, "slave_id"), p.agent)
	equal(c, "task executor", text(t, "executor_id"), p.ID)
	equal(c, "task role", text(t, "role"), "conformance-a")
	ex := at(fw, "executors.0")
	equal(c, "executor", text(ex, "executor_id"), p.ID)
	equal(c, "executor's agent", text(ex, "slave_id"), p.agent)
	for _, path := range []string{"/master/state", "/frameworks", "/tasks", "/slaves", "/state-summary", "/roles"} {
		if d := c.get(path); len(d) == 0 {
			c.Errorf("%s is empty", path)
		}
	}
	equal(c, "task in /tasks", text(c.taskOf(f.ID, ids[0]), "state"), "TASK_RUNNING")
}

// visibilityChecks put a marker in every field of a task and look where it is to be seen.
func visibilityChecks() []Check {
	return []Check{{Name: "visibility/markers in every field", Doc: "§8; R13", Run: visibility}}
}

func visibility(c *C) {
	labels := func(v string) Doc { return Doc{"labels": list(Doc{"key": "k", "value": v})} }
	f := c.Framework(Spec{FailoverTimeout: 60, Checkpoint: true, Info: Doc{"labels": labels("V-FWLABEL")}})
	p, info := f.Executor(Doc{"data": b64("V-EXDATA"), "labels": labels("V-EXLABEL"), "source": "V-SOURCE"})
	cmd, _ := info["command"].(Doc)
	info["command"] = merge(cmd, Doc{
		"arguments": append(items(cmd, "arguments"), "V-ARG"),
		"environment": Doc{"variables": list(Doc{"name": "V", "value": "V-ENV"},
			Doc{"name": "W", "type": "SECRET", "secret": Doc{"type": "VALUE", "value": Doc{"data": b64("V-SECRET")}}})},
	})
	o := f.Offer(0.2, 64, "")
	p.agent = text(o, "agent_id.value")
	t := c.name("t")
	f.Launch(o, task(t, p.agent, info, Doc{"data": b64("V-TASKDATA"), "labels": labels("V-TKLABEL")}))
	f.Arrived(p)
	p.Subscribe()
	p.Launched(t)
	p.Update(t, "TASK_RUNNING", Doc{"data": b64("V-STDATA"), "message": "V-STMSG", "labels": labels("V-STLABEL")})
	f.Take(t, "TASK_RUNNING")
	f.message(p, "V-MSGDOWN")
	p.Event("MESSAGE", said("V-MSGDOWN"))
	p.Message("V-MSGUP")
	f.Event("MESSAGE", said("V-MSGUP"))

	fetch := func(path string) string {
		a, err := c.operator.get(c.ctx, path)
		if err != nil {
			c.Fatal(err)
		}
		return a.Body
	}
	v1 := func(kind string) string { return c.operate(Doc{"type": kind}).Body }
	agent := func(path string) string { return p.getFile(path).Body }
	for _, row := range []struct {
		where, body  string
		shown, never []string
	}{
		{
			"master /state", fetch("/state"),
			[]string{"V-ARG", "V-ENV", "V-FWLABEL", "V-EXLABEL", "V-TKLABEL", "V-STLABEL"},
			[]string{"V-EXDATA", "V-TASKDATA", "V-STDATA", "V-STMSG", "V-MSGDOWN", "V-MSGUP"},
		},
		{
			"master /tasks", fetch("/tasks?framework_id=" + f.ID),
			[]string{"V-TKLABEL", "V-STLABEL"},
			[]string{"V-ARG", "V-ENV", "V-SECRET", "V-EXDATA", "V-TASKDATA", "V-STDATA", "V-STMSG"},
		},
		{"master GET_TASKS", v1("GET_TASKS"), []string{"V-TKLABEL", "V-STMSG"}, []string{"V-TASKDATA", "V-STDATA", "V-MSGDOWN", "V-MSGUP"}},
		{"master GET_EXECUTORS", v1("GET_EXECUTORS"), []string{"V-ARG", "V-ENV", "V-EXDATA", "V-EXLABEL"}, []string{"V-TASKDATA", "V-STDATA"}},
		{
			"agent /state", agent("/state"),
			[]string{"V-TKLABEL", "V-EXLABEL", "V-SOURCE"},
			[]string{"V-ARG", "V-ENV", "V-SECRET", "V-EXDATA", "V-TASKDATA", "V-STDATA", "V-STMSG", "V-MSGDOWN", "V-MSGUP"},
		},
	} {
		for _, m := range row.shown {
			if !strings.Contains(row.body, m) && !strings.Contains(row.body, b64(m)) {
				c.Errorf("%s does not show %s", row.where, m)
			}
		}
		for _, m := range row.never {
			if strings.Contains(row.body, m) || strings.Contains(row.body, b64(m)) {
				c.Errorf("%s shows %s, which Mesos keeps to itself", row.where, m)
			}
		}
	}
	for _, name := range []string{"stdout", "stderr"} {
		body := p.read(name)
		for _, m := range []string{"V-TASKDATA", "V-STDATA", "V-SECRET", "V-MSGDOWN", "V-ARG", "V-ENV"} {
			if strings.Contains(body, m) || strings.Contains(body, b64(m)) {
				c.Errorf("%s of the sandbox shows %s", name, m)
			}
		}
	}
}
