package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lode/devmesos"
	"lode/scheduler/api"
)

// TestPlaces has agents in racks and regions, one with GPUs, and reservations, and looks
// who runs where.
func TestPlaces(t *testing.T) {
	w := newWorld(t, options{
		agents: 4,
		change: func(c *devmesos.Config) {
			c.Domain = "eu/a"
			for i, rack := range []string{"a", "a", "b", "c"} {
				c.Agents[i].Attributes = "rack:" + rack
			}
			c.Agents[0].Domain, c.Agents[1].Domain, c.Agents[3].Domain = "eu/a", "eu/b", "us/a"
			c.Agents[2].Resources += ";gpus:2;cpus(batch):0.5;mem(batch):256"
		},
		flags: []string{
			"--role=mining", "--role=batch", "--gpu-agents", "--region-aware",
			"--constraint=rack:MAX_PER:1", "--proxy-constraint=rack:IS:a;@zone:IS:b",
		},
	})
	// The agents of rack a have one miner together; that with GPUs may have one for each
	// role, but has one for its rack.
	s := w.mining(3)
	where := map[string][]string{}
	for _, task := range s.Tasks {
		where[task.Hostname] = append(where[task.Hostname], task.Kind)
	}
	if p := tasks(s, "proxy")[0]; p.Hostname != "127.0.0.2" {
		t.Errorf("the proxy is on %s", p.Hostname)
	}
	racks := map[string]int{}
	for _, m := range tasks(s, "miner") {
		racks[map[string]string{"127.0.0.1": "a", "127.0.0.2": "a", "127.0.0.3": "b", "127.0.0.4": "c"}[m.Hostname]]++
	}
	if racks["a"] != 1 || racks["b"] != 1 || racks["c"] != 1 {
		t.Errorf("tasks are at %v, miners in racks %v", where, racks)
	}
	w.moreBlocks(1)

	// An idle agent says why.
	idle := "127.0.0.1"
	if len(where[idle]) > 0 {
		idle = "127.0.0.2"
	}
	w.until("the idle agent's offers were declined", func(s api.Status) bool {
		return slices.ContainsFunc(s.Decisions, func(d api.Decision) bool {
			return d.Hostname == idle && strings.HasPrefix(d.Reason, "constraint rack:MAX_PER:1: there are as many as may be where rack is a")
		})
	})
	w.does(0, "constraint rack:MAX_PER:1", "why", idle)
	if racks["a"] == 1 && len(where["127.0.0.1"]) == 1 { // its miner gone, the other agent of the rack may have one
		w.does(0, "is drained", "drain", "127.0.0.1")
		w.until("the other agent of the rack has a miner", func(s api.Status) bool {
			return slices.ContainsFunc(tasks(s, "miner"), func(m api.Task) bool { return m.Hostname == "127.0.0.2" })
		})
	}

	// Each task is of one role, and nobody has GPUs.
	var state struct {
		Frameworks []struct {
			Roles []string
			Tasks []struct {
				ID        string
				Role      string
				Resources map[string]any
			}
		}
	}
	if err := getJSON(t.Context(), w.mesos.MasterURL()+"/state", &state); err != nil {
		t.Fatal(err)
	}
	if len(state.Frameworks) != 1 || !slices.Equal(state.Frameworks[0].Roles, []string{"mining", "batch"}) {
		t.Fatalf("%+v", state.Frameworks)
	}
	for _, task := range state.Frameworks[0].Tasks {
		if task.Role != "mining" && task.Role != "batch" {
			t.Errorf("task %s has role %q", task.ID, task.Role)
		}
		if gpus, _ := task.Resources["gpus"].(float64); gpus != 0 {
			t.Errorf("task %s has %v gpus", task.ID, gpus)
		}
	}
	w.noOrphans()
}

// TestCheckBesideAScheduler asks a good cluster: nothing is wrong, and exit code 0.
func TestCheckBesideAScheduler(t *testing.T) {
	w := newWorld(t, options{agents: 1})
	w.mining(1)
	check := append([]string{"scheduler", "check"}, w.args[1:]...)
	p := start(t, nil, lode(), check...)
	<-p.done
	for _, want := range []string{
		"ok     master http://127.0.0.1:", "Mesos 1.11.0, 1 agents", "ok     executor ", "static, linux/", "in use by the scheduler at ",
		"a scheduler answers there", "ok     address for agents 127.0.0.1:", "ok     upstream node:", "trial block would be accepted",
	} {
		if !strings.Contains(p.output(), want) {
			t.Errorf("%q is not printed", want)
		}
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 || strings.Contains(p.output(), "FAILED") {
		t.Errorf("exit code %d\n%s", code, p.output())
	}
}

// TestLogs prints what an executor wrote into its sandbox, and goes on with it.
func TestLogs(t *testing.T) {
	w := newWorld(t, options{agents: 1})
	s := w.mining(1)
	task := tasks(s, "miner")[0].ID
	file := sandboxFile(t, w, task, "stderr")
	inSandbox := func() string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	// More than one piece of the agent's files API.
	appendTo(t, file, strings.Repeat("a line of which there are many\n", 5000))
	var printed string
	eventually(t, "lode logs prints the file", func() bool {
		printed = w.does(0, "", "logs", task)
		return strings.HasPrefix(inSandbox(), printed) && len(printed) > 150_000
	}, func() string { return lastLines(printed, 5) })
	w.does(1, "there is no task", "logs", "nobody")
	w.does(1, "", "logs", task, "--file=../../../../secret")
	w.does(2, "", "logs")

	follow := start(t, nil, lode(), "logs", "-f", task, "--scheduler="+w.url)
	eventually(t, "lode logs -f prints what is there", func() bool { return len(follow.output()) >= len(printed) }, follow.output)
	for i := range 3 {
		appendTo(t, file, fmt.Sprintf("news %d\n", i))
		eventually(t, "lode logs -f prints what comes", func() bool { return strings.Contains(follow.output(), fmt.Sprintf("news %d\n", i)) }, func() string { return lastLines(follow.output(), 5) })
	}
	follow.stop(t)
	if code := follow.cmd.ProcessState.ExitCode(); code != 0 && code != 130 {
		t.Errorf("lode logs -f ends with %d", code)
	}
	if n := strings.Count(follow.output(), "news 0\n"); n != 1 {
		t.Errorf("a line is printed %d times", n)
	}
}

// sandboxFile finds a file in the sandbox of a task.
func sandboxFile(t *testing.T, w *world, task, name string) (found string) {
	t.Helper()
	err := filepath.WalkDir(w.workDir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == name && strings.Contains(path, "/"+task+"/") && !strings.Contains(path, "/latest/") {
			found = path
		}
		return nil
	})
	if err != nil || found == "" {
		t.Fatalf("no %s in the sandbox of %s: %v", name, task, err)
	}
	return found
}

func appendTo(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
}
