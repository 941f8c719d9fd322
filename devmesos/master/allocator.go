package master

import (
	"cmp"
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/resources"
)

// allocateSoon allocates after what is being done now, so that what a call says is
// answered before the offers that it causes.
func (m *Master) allocateSoon() { m.post(m.allocateAll) }

// allocateAll offers what is free: agent by agent, each as a whole (or what quotas leave of
// it) to the first framework that wants it, where roles and then the frameworks of a role
// stand in the order of their dominant share (DRF). Roles that lack what is guaranteed to
// them come before all others.
func (m *Master) allocateAll() {
	m.metrics.count("allocator/mesos/allocation_runs")
	total := m.clusterTotal()
	offers := make(map[*framework][]*offer)
	room := m.newRoom()
	stage := func(guarantee bool) {
		for _, a := range m.shuffledAgents() {
			if !a.schedulable() {
				continue
			}
			for _, role := range m.rolesByShare(total) {
				for _, fw := range m.frameworksByShare(role, total) {
					if guarantee && !room.lacking(role) {
						break
					}
					if o := m.offerTo(fw, role, a, room, guarantee); o != nil {
						offers[fw] = append(offers[fw], o)
					}
				}
			}
		}
	}
	if room != nil {
		stage(true)
	}
	stage(false)
	for _, id := range sortedKeys(m.frameworks) {
		m.sendOffers(m.frameworks[id], offers[m.frameworks[id]])
	}
	m.offerInverse()
}

// offerTo offers to a framework what is free of an agent for a role, or for its guarantee;
// nil if there is nothing, or nothing that it wants.
func (m *Master) offerTo(fw *framework, role string, a *agent, room *room, guarantee bool) *offer {
	if !m.mayUse(fw, a) || !fw.constraints.allow(role, a) {
		return nil
	}
	free := room.fit(role, m.freeFor(fw, role, a), guarantee)
	if !fw.allocatable(role, free) || fw.refuses(role, a, free) {
		return nil
	}
	room.take(role, free)
	return m.newOffer(fw, a, role, free.ScalarsLast())
}

// mayUse says whether a framework has what it takes to see an agent at all.
func (m *Master) mayUse(fw *framework, a *agent) bool {
	if !m.cfg.NoGPUFilter && a.total.Scalar("gpus") > 0 && !fw.can(mesos.FrameworkInfo_Capability_GPU_RESOURCES) {
		return false
	}
	region := a.info.GetDomain().GetFaultDomain().GetRegion().Name
	ours := m.info.GetDomain().GetFaultDomain().GetRegion().Name
	return region == "" || region == ours || fw.can(mesos.FrameworkInfo_Capability_REGION_AWARE)
}

// freeFor is what of an agent may be offered to a role of a framework: unreserved
// resources, and those that are reserved for the role or an ancestor of it.
func (m *Master) freeFor(fw *framework, role string, a *agent) resources.Set {
	revocable := fw.can(mesos.FrameworkInfo_Capability_REVOCABLE_RESOURCES)
	refined := fw.can(mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT)
	shared := fw.can(mesos.FrameworkInfo_Capability_SHARED_RESOURCES)
	return a.available().Filter(func(r mesos.Resource) bool {
		switch {
		case r.Revocable != nil && !revocable, r.Shared != nil && !shared, len(r.Reservations) > 1 && !refined:
			return false
		case len(r.Reservations) == 0:
			return true
		}
		reserved := r.Reservations[len(r.Reservations)-1].GetRole()
		return role == reserved || strings.HasPrefix(role, reserved+"/")
	})
}

// The default of --min_allocatable_resources: cpus:0.01|mem:32.
const (
	minCPUs resources.Milli = 10
	minMem  resources.Milli = 32_000
)

// allocatable says whether an amount is worth an offer to a role.
func (fw *framework) allocatable(role string, r resources.Set) bool {
	if r.Empty() {
		return false
	}
	minimum := fw.info.OfferFilters[role].MinAllocatableResources
	if minimum == nil {
		return r.Scalar("cpus") >= minCPUs || r.Scalar("mem") >= minMem
	}
	for _, quantities := range minimum.Quantities {
		enough := true
		for name, amount := range quantities.Quantities {
			enough = enough && r.Quantity(name) >= resources.ToMilli(amount.Value)
		}
		if enough {
			return true
		}
	}
	return len(minimum.Quantities) == 0
}

func (m *Master) clusterTotal() resources.Set {
	var total resources.Set
	for _, a := range m.agents {
		total = total.Plus(a.total)
	}
	return total
}

// shuffledAgents gives every agent its turn at being first.
func (m *Master) shuffledAgents() []*agent {
	agents := make([]*agent, 0, len(m.agents))
	for _, id := range sortedKeys(m.agents) {
		agents = append(agents, m.agents[id])
	}
	m.random.Shuffle(len(agents), func(i, j int) { agents[i], agents[j] = agents[j], agents[i] })
	return agents
}

// wants says whether a framework takes offers for a role.
func (fw *framework) wants(role string) bool {
	return fw.connected() && fw.roles[role] && !fw.suppress[role]
}

func (m *Master) rolesByShare(total resources.Set) []string {
	held := make(map[string]resources.Set)
	for _, fw := range m.frameworks {
		for role := range fw.roles {
			if fw.wants(role) {
				held[role] = held[role].Plus(resources.Set{})
			}
		}
	}
	for _, fw := range m.frameworks {
		for role, r := range fw.allocated {
			if _, ok := held[role]; ok {
				held[role] = held[role].Plus(r)
			}
		}
	}
	share := make(map[string]float64, len(held))
	for role, r := range held {
		share[role] = dominantShare(r, total)
	}
	return slices.SortedFunc(slices.Values(sortedKeys(held)), func(a, b string) int {
		return cmp.Or(cmp.Compare(share[a], share[b]), cmp.Compare(a, b))
	})
}

func (m *Master) frameworksByShare(role string, total resources.Set) []*framework {
	var list []*framework
	share := make(map[*framework]float64)
	for _, id := range sortedKeys(m.frameworks) {
		if fw := m.frameworks[id]; fw.wants(role) {
			list = append(list, fw)
			share[fw] = dominantShare(fw.allocated[role], total)
		}
	}
	slices.SortStableFunc(list, func(a, b *framework) int { return cmp.Compare(share[a], share[b]) })
	return list
}

// dominantShare is the largest part that is held of any scalar resource.
func dominantShare(held, total resources.Set) float64 {
	share := 0.0
	for _, name := range held.Names() {
		if all := total.Scalar(name); all > 0 {
			share = max(share, held.Scalar(name).Float()/all.Float())
		}
	}
	return share
}
