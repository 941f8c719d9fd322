package conformance

import (
	"context"
	"io"
	"maps"
	"slices"
)

// Offer takes an offer that has the resources free (and on the agent, unless ""); the other
// offers are declined, and offers suppressed again. The caller must use up the offer.
func (f *Framework) Offer(cpus, mem float64, agent string) Doc {
	f.c.Helper()
	f.mu.Lock()
	wasParked := f.parked
	f.parked = false
	f.mu.Unlock()
	if wasParked {
		f.Call("REVIVE", Doc{})
	}
	ctx, cancel := context.WithTimeout(f.c.ctx, f.c.target.Patience)
	defer cancel()
	var chosen Doc
	for chosen == nil {
		f.log.mu.Lock()
		changed := f.log.changed
		f.log.mu.Unlock()
		f.mu.Lock()
		var rest []string
		for _, id := range slices.Sorted(maps.Keys(f.offers)) {
			o := f.offers[id]
			r := items(o, "resources")
			fits := amount(r, "cpus") >= milli(cpus) && amount(r, "mem") >= milli(mem) && (agent == "" || text(o, "agent_id.value") == agent)
			if chosen == nil && fits {
				chosen = o
				delete(f.offers, id)
				continue
			}
			rest = append(rest, id)
			delete(f.offers, id)
		}
		if chosen != nil {
			f.parked = wasParked
		}
		f.mu.Unlock()
		if chosen != nil && wasParked {
			f.Call("SUPPRESS", Doc{})
		}
		if rest != nil {
			f.decline(0, rest...)
		}
		if chosen != nil {
			return chosen
		}
		select {
		case <-changed:
		case <-ctx.Done():
			f.c.Fatalf("no offer with cpus %v, mem %v on agent %q within %v; events:%v", cpus, mem, agent, f.c.target.Patience, f.log)
		}
	}
	return chosen
}

func (f *Framework) decline(refuse float64, offers ...string) {
	if len(offers) > 0 {
		// Best effort: an offer may be gone, the master too.
		_, _ = f.try("DECLINE", Doc{"decline": Doc{"offer_ids": values(offers...), "filters": Doc{"refuse_seconds": refuse}}})
	}
}

// Accept accepts offers with operations; the remainder is refused for 0 s.
func (f *Framework) Accept(offers []string, operations ...Doc) {
	f.c.Helper()
	f.Call("ACCEPT", Doc{"accept": Doc{
		"offer_ids": values(offers...), "operations": list(operations...), "filters": Doc{"refuse_seconds": 0.0},
	}})
}

// Launch launches tasks on an offer.
func (f *Framework) Launch(offer Doc, tasks ...Doc) {
	f.c.Helper()
	f.Accept([]string{text(offer, "id.value")}, launch(tasks...))
}

// launch is a LAUNCH operation.
func launch(tasks ...Doc) Doc {
	return Doc{"type": "LAUNCH", "launch": Doc{"task_infos": list(tasks...)}}
}

// Executor prepares a probe executor that has not been launched yet and its ExecutorInfo.
func (f *Framework) Executor(more ...Doc) (*Probe, Doc) {
	f.c.Helper()
	p := f.c.hub.expect(f.c.name("x"))
	p.c, p.framework, p.enc = f.c, f.ID, f.enc
	f.c.mu.Lock()
	f.c.probes = append(f.c.probes, p)
	f.c.mu.Unlock()
	return p, merge(f.c.executorInfo(p.ID, p.URL), more...)
}

// executorInfo describes a probe executor.
func (c *C) executorInfo(id, control string) Doc {
	return Doc{
		"type": "CUSTOM", "executor_id": value(id), "name": "conformance probe", "resources": small(),
		"command": c.command(control),
	}
}

// command is the probe as Mesos is to fetch and start it.
func (c *C) command(args ...string) Doc {
	return Doc{
		"shell": false, "value": "./probe", "arguments": list(append([]string{"probe"}, args...)...),
		"uris": list(Doc{"value": c.hub.probeURI(""), "executable": true, "extract": false, "cache": true, "output_file": "probe"}),
	}
}

// task is a TaskInfo for an executor.
func task(id, agent string, executor Doc, more ...Doc) Doc {
	d := Doc{"name": id, "task_id": value(id), "agent_id": value(agent), "resources": small()}
	if executor != nil {
		d["executor"] = executor
	}
	return merge(d, more...)
}

// Prepared is what Start is to launch.
type Prepared struct {
	Tasks    int    // how many; 0 means 1
	Agent    string // "" means any
	Executor Doc    // further fields of ExecutorInfo
	Task     Doc    // further fields of every TaskInfo
}

// Start launches a probe executor with tasks, waits for its process and returns its task ids.
// The executor has not subscribed yet.
func (f *Framework) Start(w Prepared) (*Probe, []string) {
	f.c.Helper()
	n := max(w.Tasks, 1)
	p, info := f.Executor(w.Executor)
	offer := f.Offer(0.1+0.1*float64(n), 32+32*float64(n), w.Agent)
	p.agent = text(offer, "agent_id.value")
	var ids []string
	var tasks []Doc
	for range n {
		id := f.c.name("t")
		ids = append(ids, id)
		tasks = append(tasks, task(id, p.agent, info, w.Task))
	}
	p.tasks = ids
	f.Launch(offer, tasks...)
	f.Arrived(p)
	return p, ids
}

// Arrived waits for the process of a probe; an UPDATE that tells of its failure ends the wait.
func (f *Framework) Arrived(p *Probe) {
	f.c.Helper()
	ctx, cancel := context.WithTimeout(f.c.ctx, f.c.target.Patience)
	defer cancel()
	if !p.wait(ctx) {
		f.c.Fatalf("executor %s was not started within %v; events:%v", p.ID, f.c.target.Patience, f.log)
	}
}

// Run starts a probe, subscribes it and brings its tasks to TASK_RUNNING, acknowledged.
func (f *Framework) Run(w Prepared) (*Probe, []string) {
	f.c.Helper()
	p, ids := f.Start(w)
	p.Subscribe()
	p.Event("SUBSCRIBED", ofType("SUBSCRIBED"))
	for _, id := range ids {
		p.Launched(id)
		p.Acknowledged(p.Update(id, "TASK_RUNNING"))
		f.Take(id, "TASK_RUNNING")
	}
	return p, ids
}

func readAll(r io.Reader) string {
	b, err := io.ReadAll(r)
	if err != nil {
		return string(b) + " (" + err.Error() + ")"
	}
	return string(b)
}
