package conformance

import (
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// never inherited from the agent, whatever it was started with (§5.2).
var notInherited = []string{"HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "GOPATH", "GOCACHE", "SSH_CLIENT", "http_proxy", "HTTP_PROXY"}

func environmentChecks() []Check {
	return []Check{
		{Name: "environment/variables, no checkpointing", Doc: "§5.2; R03", Run: func(c *C) { environment(c, false) }},
		{Name: "environment/variables, checkpointing", Doc: "§5.2; R03", Run: func(c *C) { environment(c, true) }},
		{Name: "environment/the agent's own is not inherited", Doc: "§5.2; R03", Run: func(c *C) {
			if flags := text(c.agentFlags, "executor_environment_variables"); flags != "" {
				c.Skip("the agents give executors variables of their own: --executor_environment_variables=" + flags)
			}
			f := c.Framework(Spec{})
			p, _ := f.Start(Prepared{})
			env := p.Process().Environ
			for _, k := range append(slices.Clone(notInherited), c.target.Forbidden...) {
				if v, ok := env[k]; ok {
					c.Errorf("the executor has %s=%q", k, v)
				}
			}
		}},
		{Name: "environment/CommandInfo wins", Doc: "§5.2; R03", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, info := f.Executor()
			info["command"] = merge(info["command"].(Doc), Doc{"environment": Doc{"variables": list(
				Doc{"name": "MY_VAR", "value": "my value"}, Doc{"name": "EMPTY", "value": ""},
				Doc{"name": "LIBPROCESS_PORT", "value": "7"},
				Doc{"name": "A_SECRET", "type": "SECRET", "secret": Doc{"type": "VALUE", "value": Doc{"data": b64("hush")}}},
			)}})
			o := f.Offer(0.2, 64, "")
			f.Launch(o, task(c.name("t"), text(o, "agent_id.value"), info))
			f.Arrived(p)
			env := p.Process().Environ
			equal(c, "MY_VAR", env["MY_VAR"], "my value")
			equal(c, "LIBPROCESS_PORT", env["LIBPROCESS_PORT"], "7")
			equal(c, "A_SECRET", env["A_SECRET"], "hush")
			if v, ok := env["EMPTY"]; !ok || v != "" {
				c.Errorf("EMPTY: %q, set: %v; expected set and empty", v, ok)
			}
			contains(c, "stderr", p.read("stderr"), "Overwriting environment variable 'LIBPROCESS_PORT'")
		}},
		{Name: "environment/shutdown grace period of the ExecutorInfo", Doc: "§5.2", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, _ := f.Start(Prepared{Executor: Doc{"shutdown_grace_period": Doc{"nanoseconds": 2e9}}})
			equal(c, "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", p.Process().Environ["MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"], "2secs")
		}},
		{Name: "environment/working directory, files, descriptors", Doc: "§5.2 Process, §7; R03", Run: process},
		{Name: "environment/session and process group", Doc: "§5.2 Process; R03", Needs: NeedPosixLauncher, Run: func(c *C) {
			f := c.Framework(Spec{})
			p, _ := f.Start(Prepared{})
			pr := p.Process()
			equal(c, "process group", pr.PGID, pr.SID)
			equal(c, "process group is the parent's", pr.PGID, pr.PPID)
			if pr.PGID == pr.PID {
				c.Errorf("the executor (pid %d) leads its process group; in Mesos its parent does", pr.PID)
			}
		}},
		{Name: "environment/shell command", Doc: "§7", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, info := f.Executor()
			info["command"] = merge(info["command"].(Doc), Doc{
				"shell": true, "value": fmt.Sprintf("V=from-shell; export V; exec ./probe %s $V", p.URL), "arguments": list("not", "looked", "at"),
			})
			o := f.Offer(0.2, 64, "")
			f.Launch(o, task(c.name("t"), text(o, "agent_id.value"), info))
			f.Arrived(p)
			pr := p.Process()
			equal(c, "arguments", strings.Join(pr.Args[1:], " "), p.URL+" from-shell")
		}},
		{Name: "environment/what the executor is told at SUBSCRIBED", Doc: "§5.3; R03", Run: func(c *C) {
			f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE", "TASK_KILLING_STATE"}, Checkpoint: true, FailoverTimeout: 30})
			p, _ := f.Start(Prepared{Executor: Doc{"source": "src-1", "data": b64("executor data"), "labels": Doc{"labels": list(Doc{"key": "k", "value": "v"})}}})
			p.Subscribe()
			s := p.Event("first event", func(Event) bool { return true })
			equal(c, "first event", s.Type, "SUBSCRIBED")
			d := at(s.Doc, "subscribed")
			equal(c, "executor_id", text(d, "executor_info.executor_id.value"), p.ID)
			equal(c, "executor's framework_id", text(d, "executor_info.framework_id.value"), f.ID)
			equal(c, "executor data", unb64(text(d, "executor_info.data")), "executor data")
			equal(c, "executor source", text(d, "executor_info.source"), "src-1")
			equal(c, "executor label", text(d, "executor_info.labels.labels.0.value"), "v")
			equal(c, "framework id", text(d, "framework_info.id.value"), f.ID)
			equal(c, "framework name", text(d, "framework_info.name"), text(f.info, "name"))
			if at(d, "framework_info.checkpoint") != true {
				c.Errorf("framework_info.checkpoint: %v", at(d, "framework_info.checkpoint"))
			}
			equal(c, "capabilities", len(items(d, "framework_info.capabilities")), 2)
			equal(c, "agent id", text(d, "agent_info.id.value"), p.agent)
			present(c, d, "agent_info.hostname")
			if id := text(d, "container_id.value"); !uuidForm.MatchString(id) {
				c.Errorf("container_id %q is no UUID", id)
			}
		}},
		{Name: "environment/what the executor is told at LAUNCH", Doc: "§5.5; R03", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, ids := f.Start(Prepared{Task: Doc{
				"data": b64("task data"), "labels": Doc{"labels": list(Doc{"key": "tk", "value": "tv"})},
				"kill_policy": Doc{"grace_period": Doc{"nanoseconds": 3e9}}, "discovery": Doc{"visibility": "FRAMEWORK", "name": "d"},
			}})
			p.Subscribe()
			t := at(p.Launched(ids[0]).Doc, "launch.task")
			equal(c, "data", unb64(text(t, "data")), "task data")
			equal(c, "label", text(t, "labels.labels.0.value"), "tv")
			equal(c, "kill_policy", number(t, "kill_policy.grace_period.nanoseconds"), 3e9)
			equal(c, "discovery", text(t, "discovery.name"), "d")
			equal(c, "agent", text(t, "agent_id.value"), p.agent)
			equal(c, "cpus (milli)", amount(items(t, "resources"), "cpus"), 100)
			equal(c, "executor", text(t, "executor.executor_id.value"), p.ID)
		}},
		{Name: "environment/tasks of one executor arrive in order", Doc: "§5.3, §6.1; R04", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, ids := f.Start(Prepared{Tasks: 5})
			p.Subscribe()
			last := -1
			for _, id := range ids {
				e := p.Launched(id)
				if e.N < last {
					c.Errorf("LAUNCH of %s came before that of the task before it", id)
				}
				last = e.N
			}
		}},
	}
}

func environment(c *C, checkpoint bool) {
	f := c.Framework(Spec{Checkpoint: checkpoint, FailoverTimeout: 30})
	p, _ := f.Start(Prepared{})
	pr := p.Process()
	env := pr.Environ
	endpoint := ""
	for _, a := range c.agents {
		if a.ID == p.agent {
			endpoint = a.Endpoint
		}
	}
	want := map[string]string{
		"MESOS_FRAMEWORK_ID": f.ID, "MESOS_EXECUTOR_ID": p.ID, "MESOS_SLAVE_ID": p.agent, "MESOS_SLAVE_PID": "slave(1)@" + endpoint,
		"MESOS_AGENT_ENDPOINT": endpoint, "MESOS_CHECKPOINT": "0", "MESOS_HTTP_COMMAND_EXECUTOR": "0", "LIBPROCESS_PORT": "0",
		"MESOS_DIRECTORY": pr.Cwd, "MESOS_SANDBOX": pr.Cwd,
	}
	if checkpoint {
		want["MESOS_CHECKPOINT"] = "1"
	} else {
		for _, k := range []string{"MESOS_RECOVERY_TIMEOUT", "MESOS_SUBSCRIPTION_BACKOFF_MAX"} {
			if v, ok := env[k]; ok {
				c.Errorf("%s=%q without checkpointing", k, v)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		equal(c, k, env[k], want[k])
	}
	durations := map[string]time.Duration{"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": c.timing.ShutdownGrace}
	if checkpoint {
		durations["MESOS_SUBSCRIPTION_BACKOFF_MAX"] = c.timing.Reregistration
		durations["MESOS_RECOVERY_TIMEOUT"] = 0
	}
	for k, d := range durations {
		got, err := parseDuration(env[k])
		if err != nil {
			c.Errorf("%s: %v", k, err)
		} else if d != 0 && got != d {
			c.Errorf("%s=%q, expected %v", k, env[k], d)
		}
	}
	if _, ok := env["MESOS_AGENT_ID"]; ok {
		c.Error("MESOS_AGENT_ID is set: there is no such variable")
	}
	if text(c.agentFlags, "executor_environment_variables") == "" {
		equal(c, "PATH", env["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	for k := range env {
		if strings.HasPrefix(k, "LIBPROCESS_SSL_") {
			c.Errorf("%s is inherited", k)
		}
	}
}

func process(c *C) {
	f := c.Framework(Spec{})
	p, _ := f.Start(Prepared{})
	pr := p.Process()
	container := path.Base(pr.Cwd)
	tail := fmt.Sprintf("/slaves/%s/frameworks/%s/executors/%s/runs/%s", p.agent, f.ID, p.ID, container)
	if !strings.HasSuffix(pr.Cwd, tail) {
		c.Errorf("working directory %s, expected it to end in %s", pr.Cwd, tail)
	}
	p.Subscribe()
	e := p.Event("SUBSCRIBED", ofType("SUBSCRIBED"))
	equal(c, "sandbox's name", container, text(e.Doc, "subscribed.container_id.value"))
	equal(c, "argv[0]", pr.Args[0], "probe")
	equal(c, "argv[1]", pr.Args[1], p.URL)
	equal(c, "stdin", pr.FDs["0"], "/dev/null")
	equal(c, "stdout", pr.FDs["1"], path.Join(pr.Cwd, "stdout"))
	equal(c, "stderr", pr.FDs["2"], path.Join(pr.Cwd, "stderr"))
	if len(pr.FDs) != 3 {
		c.Errorf("open file descriptors %v, expected 0, 1 and 2 only", pr.FDs)
	}
	equal(c, "umask", pr.Umask, 0o22)
	equal(c, "mode of the sandbox", pr.SandboxMode, 0o750)
	equal(c, "mode of the executable", pr.Files["probe"], 0o755)
	equal(c, "mode of stdout", pr.Files["stdout"], 0o644)
	equal(c, "mode of stderr", pr.Files["stderr"], 0o644)
	equal(c, "digest of the executable", pr.ExecutableDigest, c.hub.digest)
}

// read reads a file of the sandbox, as the executor sees it.
func (p *Probe) read(name string) string {
	p.c.Helper()
	return string(p.do(readCommand(name)).Data)
}

func executorCallChecks() []Check {
	return []Check{
		{Name: "executor calls/before the first SUBSCRIBE are 403", Doc: "§5.1; R17", Run: func(c *C) {
			f := c.Framework(Spec{Checkpoint: true, FailoverTimeout: 60})
			p, ids := f.Start(Prepared{})
			for _, call := range []Doc{
				{"type": "UPDATE", "update": Doc{"status": p.status(ids[0], "TASK_RUNNING")}},
				{"type": "MESSAGE", "message": Doc{"data": b64("x")}},
			} {
				a := p.Call(http.StatusForbidden, call)
				equal(c, "body", a.Body, "Executor is not subscribed")
			}
			p.Call(http.StatusAccepted, Doc{"type": "HEARTBEAT"})
		}},
		{Name: "executor calls/in protobuf", Doc: "§1, §5.1", Run: func(c *C) {
			f := c.Framework(Spec{Enc: Protobuf})
			p, ids := f.Start(Prepared{})
			a, err := p.trySubscribe(list[any](), list[any]())
			if err != nil {
				c.Fatal(err)
			}
			equal(c, "Content-Type", a.Header.Get("Content-Type"), string(Protobuf))
			equal(c, "Mesos-Stream-Id", a.Header.Get("Mesos-Stream-Id"), "")
			p.Launched(ids[0])
			p.Acknowledged(p.Update(ids[0], "TASK_RUNNING"))
			p.Call(http.StatusAccepted, Doc{"type": "HEARTBEAT"})
		}},
		{Name: "executor calls/HEARTBEAT is not looked at", Doc: "§5.1; R03c", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, _ := f.Start(Prepared{})
			p.Call(http.StatusAccepted, Doc{"type": "HEARTBEAT", "framework_id": value("x"), "executor_id": value("y")})
		}},
		{Name: "executor calls/after the end of the executor", Doc: "§5.1", Run: func(c *C) {
			// A second executor of the framework keeps the framework known to the agent.
			f := c.Framework(Spec{})
			p, _ := f.Run(Prepared{})
			q, _ := f.Run(Prepared{Agent: p.agent})
			p.Exit(0)
			f.Event("FAILURE", failure(p.agent, p.ID))
			f.Take(p.tasks[0], "TASK_FAILED")
			c.eventually("the agent forgets the executor", func() error {
				a, err := q.tryCall(Doc{"type": "MESSAGE", "executor_id": value(p.ID), "message": Doc{"data": b64("x")}})
				if err != nil {
					return err
				}
				if a.Status != http.StatusBadRequest || a.Body != "Executor cannot be found" {
					return fmt.Errorf("answer %v", a)
				}
				return nil
			})
		}},
	}
}

func executorStreamChecks() []Check {
	pa := Spec{Caps: []string{"PARTITION_AWARE"}, Checkpoint: true, FailoverTimeout: 60}
	return []Check{
		{Name: "executor stream/a second SUBSCRIBE replaces the first", Doc: "§5.3; R03c", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			first := p.current
			p.Subscribe()
			c.waitEnd(first, "the replaced stream")
			p.Event("SUBSCRIBED", ofType("SUBSCRIBED"))
			c.never(p.current, c.target.Quiet, "LAUNCH of a task that was launched already", ofType("LAUNCH"))
			f.Call("KILL", Doc{"kill": Doc{"task_id": value(ids[0])}})
			p.Event("KILL on the new stream", killed(ids[0]))
		}},
		{Name: "executor stream/without it UPDATE and MESSAGE are taken", Doc: "§5.1; R17", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			p.Close()
			c.sleep(200 * time.Millisecond)
			p.Update(ids[0], "TASK_RUNNING", Doc{"message": "no stream"})
			equal(c, "message", text(f.Take(ids[0], "TASK_RUNNING"), "message"), "no stream")
			p.Message("no stream")
			f.Event("MESSAGE", said("no stream"))
		}},
		{Name: "executor stream/without it KILL and MESSAGE are lost", Doc: "§5.1; R17", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			p.Close()
			c.sleep(500 * time.Millisecond) // the agent is to notice
			f.message(p, "to nobody")
			f.Call("KILL", Doc{"kill": Doc{"task_id": value(ids[0])}})
			c.sleep(500 * time.Millisecond)
			p.Subscribe()
			e := p.Event("first event", func(Event) bool { return true })
			equal(c, "first event", e.Type, "SUBSCRIBED")
			c.never(p.current, c.target.Quiet, "what was sent while there was no stream", func(e Event) bool { return e.Type != "HEARTBEAT" })
			f.Quiet("an end of the executor", failure(p.agent, p.ID))
		}},
		{Name: "executor stream/unacknowledged updates are taken at SUBSCRIBE", Doc: "§5.3, §5.4", Run: func(c *C) {
			f := c.Framework(pa)
			p, ids := f.Run(Prepared{})
			p.Close()
			st := p.status(ids[0], "TASK_RUNNING", Doc{"message": "in the list"})
			a, err := p.trySubscribe(list[any](), list(Doc{"status": st}))
			if err != nil || a.Status != http.StatusOK {
				c.Fatalf("SUBSCRIBE: %v %v", a, err)
			}
			p.Acknowledged(st)
			equal(c, "uuid", text(f.Take(ids[0], "TASK_RUNNING"), "uuid"), text(st, "uuid"))
		}},
	}
}
