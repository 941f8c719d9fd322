package master

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"pgregory.net/rapid"

	"lode/devmesos/internal/resources"
)

// audit recounts what is held and compares it with the master's books.
func (m *Master) audit() error {
	byRole := make(map[*framework]map[string]resources.Set)
	hold := func(fw *framework, role string, r resources.Set) {
		if byRole[fw] == nil {
			byRole[fw] = make(map[string]resources.Set)
		}
		byRole[fw][role] = byRole[fw][role].Plus(r.Unallocated())
	}
	for _, a := range m.agents {
		var used resources.Set
		count := func(fw *framework, role string, r resources.Set) {
			used = used.Plus(r.Unallocated())
			hold(fw, role, r)
		}
		for _, t := range a.allTasks() {
			if t.held {
				count(t.fw, t.role, t.resources)
			}
			if t.held == isTerminal(t.state) {
				return fmt.Errorf("task %s is %s, held is %t", t.info.TaskID.Value, t.state, t.held)
			}
			if m.frameworks[t.fw.id] != t.fw || t.fw.tasks[t.info.TaskID.Value] != t {
				return fmt.Errorf("task %s on agent %s is unknown to its framework", t.info.TaskID.Value, a.id)
			}
		}
		for _, of := range a.executors {
			for _, e := range of {
				count(e.fw, e.role, e.resources)
			}
		}
		for _, o := range a.offers {
			count(o.fw, o.role, o.resources)
			if m.offers[o.id] != o || o.fw.offers[o.id] != o {
				return fmt.Errorf("offer %s is not in all books", o.id)
			}
		}
		if !used.Equal(a.used) {
			return fmt.Errorf("agent %s: %v is used, the books say %v", a.id, used, a.used)
		}
		if !a.total.Contains(used) {
			return fmt.Errorf("agent %s: %v is used of %v", a.id, used, a.total)
		}
		if (len(a.offers) > 0) && !a.schedulable() {
			return fmt.Errorf("agent %s is offered, but not schedulable", a.id)
		}
	}
	for id, fw := range m.frameworks {
		for role, r := range fw.allocated {
			if !r.Equal(byRole[fw][role]) {
				return fmt.Errorf("framework %s, role %s: %v is allocated, the books say %v", id, role, byRole[fw][role], r)
			}
		}
		for role, r := range byRole[fw] {
			if !r.Equal(fw.allocated[role]) {
				return fmt.Errorf("framework %s, role %s: %v is allocated, the books say %v", id, role, r, fw.allocated[role])
			}
		}
		if len(fw.offers) > 0 && !fw.connected() {
			return fmt.Errorf("framework %s is not connected and holds offers", id)
		}
	}
	return nil
}

// TestBooksBalance does what comes to mind with a cluster, and recounts its resources
// after each step.
func TestBooksBalance(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 20, 60).Draw(rt, "steps")
		var failure error
		onBench(t, Config{Timing: Timing{AgentPing: time.Second, AgentPings: 2}}, 3, func(b *bench) {
			failure = (&walk{bench: b}).run(steps)
		})
		if failure != nil {
			rt.Fatal(failure)
		}
	})
}

// walk is a history of a cluster.
type walk struct {
	*bench
	clients []*client
	tasks   int
	trail   []string
}

func (w *walk) run(steps []int) error {
	for _, n := range steps {
		kind, pick := n%12, n/12
		w.step(kind, pick)
		synctest.Wait()
		var err error
		w.Master.call(func() { err = w.audit() })
		if err != nil {
			return fmt.Errorf("%w\nafter %q", err, w.trail)
		}
	}
	return nil
}

func (w *walk) note(format string, args ...any) {
	w.trail = append(w.trail, fmt.Sprintf(format, args...))
}

func (w *walk) step(kind, pick int) {
	a := w.agents[pick%len(w.agents)]
	var c *client
	if len(w.clients) > 0 {
		c = w.clients[pick%len(w.clients)]
	}
	switch {
	case kind == 0 || c == nil:
		info := testFramework([]string{"PARTITION_AWARE", "MULTI_ROLE"}[:pick%3]...)
		info["checkpoint"] = pick%2 == 0
		info["failover_timeout"] = pick % 3
		w.clients = append(w.clients, w.subscribe(info))
		w.note("subscribe %d", len(w.clients))
	case kind <= 3:
		w.acceptSomething(c, pick)
	case kind == 4:
		c.try("DECLINE", jsonObject{"offer_ids": w.offersOf(c), "filters": jsonObject{"refuse_seconds": pick % 4}})
		w.note("decline")
	case kind == 5:
		w.reportSomething(a, pick)
	case kind == 6:
		a.mu.Lock()
		silent := a.silent
		a.mu.Unlock()
		if silent {
			a.comeBack(w.Master)
			w.note("back %s", a.id)
		} else {
			a.die()
			w.note("die %s", a.id)
		}
	case kind == 7:
		c.stream.cancel()
		w.note("disconnect")
	case kind == 8:
		c.try("TEARDOWN", nil)
		w.note("teardown")
	case kind == 9:
		if id := c.id; pick%2 == 0 && !w.completedID(id) {
			info := testFramework("PARTITION_AWARE")
			info["id"] = jsonObject{"value": id}
			info["checkpoint"] = true
			w.clients[pick%len(w.clients)] = w.subscribe(info)
			w.note("take over")
		}
	case kind == 10:
		time.Sleep(time.Duration(pick%4000) * time.Millisecond)
		w.note("wait")
	default:
		a.mu.Lock()
		var executor string
		for id := range a.executors {
			executor = max(executor, id)
		}
		a.mu.Unlock()
		if executor != "" {
			a.exited(executor, 9)
			w.note("executor %s ends", executor)
		}
	}
}

func (w *walk) completedID(id string) (completed bool) {
	w.Master.call(func() { completed = w.isCompleted(id) })
	return completed
}

// offersOf lists offers that a client was ever made, be they good or not.
func (w *walk) offersOf(c *client) []any {
	var ids []any
	for _, h := range c.stream.events() {
		offers, _ := dig(h.body, "offers", "offers").([]any)
		for _, o := range offers {
			ids = append(ids, dig(o, "id"))
		}
	}
	return ids[max(0, len(ids)-2):]
}

func (w *walk) acceptSomething(c *client, pick int) {
	w.tasks++
	ids := w.offersOf(c)
	if len(ids) > 1 && pick%5 > 0 {
		ids = ids[1:]
	}
	agent := w.agents[pick%len(w.agents)].id
	var operations []any
	for i := range pick % 3 {
		operations = append(operations, jsonObject{"type": "LAUNCH", "launch": jsonObject{"task_infos": []any{
			taskInfo(fmt.Sprintf("t%d-%d", w.tasks%7, i), agent),
		}}})
	}
	c.try("ACCEPT", jsonObject{"offer_ids": ids, "operations": operations, "filters": jsonObject{"refuse_seconds": pick % 3}})
	w.note("accept")
}

func (w *walk) reportSomething(a *fakeAgent, pick int) {
	a.mu.Lock()
	var tasks []string
	for _, t := range a.tasks {
		tasks = append(tasks, t.Info.TaskID.Value)
	}
	silent := a.silent
	a.mu.Unlock()
	if len(tasks) == 0 || silent {
		return
	}
	slices.Sort(tasks)
	task := tasks[pick%len(tasks)]
	state := []mesos.TaskState{mesos.TASK_RUNNING, mesos.TASK_FINISHED, mesos.TASK_FAILED}[pick%3]
	a.says(task, state, byte(pick%5))
	w.note("%s %s", task, state)
}
