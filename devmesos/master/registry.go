package master

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/maintenance"
	"github.com/mesos/mesos-go/api/v1/lib/quota"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Registry is what outlives a master: the agents that were admitted, those that were
// lost, the maintenance schedule and the quotas. Give the same one to the next master and it has
// a durable registry (--registry=replicated_log); a new one has amnesia
// (--registry=in_memory). The zero value is empty and ready.
type Registry struct {
	mu          sync.Mutex
	admitted    map[string]mesos.AgentInfo
	unreachable map[string]time.Time
	gone        map[string]time.Time
	drains      map[string]drain
	deactivated map[string]bool
	schedule    maintenance.Schedule
	down        []mesos.MachineID
	quotaOf     map[string]quota.QuotaConfig // by role
}

// load copies the admitted agents.
func (r *Registry) load() map[string]mesos.AgentInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.admitted)
}

func (r *Registry) admit(id string, info mesos.AgentInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admitted == nil {
		r.admitted = make(map[string]mesos.AgentInfo)
	}
	r.admitted[id] = info
	delete(r.unreachable, id)
}

func (r *Registry) markUnreachable(id string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.admitted, id)
	if r.unreachable == nil {
		r.unreachable = make(map[string]time.Time)
	}
	r.unreachable[id] = at
}

func (r *Registry) markGone(id string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(id)
	if r.gone == nil {
		r.gone = make(map[string]time.Time)
	}
	r.gone[id] = at
}

// remove forgets an agent.
func (r *Registry) remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(id)
}

func (r *Registry) forgetLocked(id string) {
	delete(r.admitted, id)
	delete(r.unreachable, id)
	delete(r.drains, id)
	delete(r.deactivated, id)
}

func (r *Registry) unreachableSince(id string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.unreachable[id]
	return t, ok
}

func (r *Registry) unreachableCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.unreachable)
}

func (r *Registry) isGone(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.gone[id]
	return ok
}

// setState records whether an agent is deactivated and how it is drained.
func (r *Registry) setState(id string, deactivated bool, d *drain) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.drains == nil {
		r.drains = make(map[string]drain)
		r.deactivated = make(map[string]bool)
	}
	delete(r.drains, id)
	delete(r.deactivated, id)
	if deactivated {
		r.deactivated[id] = true
	}
	if d != nil {
		r.drains[id] = *d
	}
}

func (r *Registry) state(id string) (deactivated bool, d *drain) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if found, ok := r.drains[id]; ok {
		d = &found
	}
	return r.deactivated[id], d
}

func (r *Registry) maintenance() maintenance.Schedule {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.schedule
}

func (r *Registry) setMaintenance(s maintenance.Schedule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.schedule = s
}

// quotas copies the quotas of roles.
func (r *Registry) quotas() map[string]quota.QuotaConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.quotaOf == nil {
		return make(map[string]quota.QuotaConfig)
	}
	return maps.Clone(r.quotaOf)
}

func (r *Registry) setQuotas(quotas map[string]quota.QuotaConfig) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quotaOf = quotas
}

func (r *Registry) isDown(machine mesos.MachineID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.down, func(id mesos.MachineID) bool { return id.Equal(&machine) })
}

func (r *Registry) setDown(machines []mesos.MachineID, down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = slices.DeleteFunc(r.down, func(id mesos.MachineID) bool {
		return slices.ContainsFunc(machines, func(other mesos.MachineID) bool { return other.Equal(&id) })
	})
	if down {
		r.down = append(r.down, machines...)
		sortMachines(r.down)
	}
}

// isDownAgent says whether an agent's machine is out of service.
func (r *Registry) isDownAgent(a *agent) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.down, func(id mesos.MachineID) bool { return isMachine(id, a) })
}
