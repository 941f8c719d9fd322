package master

import (
	"cmp"
	"maps"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/resources"
)

// offer is an outstanding offer: what is left of one agent, for one role of one
// framework.
type offer struct {
	id        string
	number    int
	fw        *framework
	agent     *agent
	role      string
	resources resources.Set // allocated to role
	timeout   *timer
}

func sortedOffers(offers map[string]*offer) []*offer {
	return slices.SortedFunc(maps.Values(offers), func(a, b *offer) int { return cmp.Compare(a.number, b.number) })
}

func (m *Master) offerID() (string, int) {
	n := m.nextOffer
	m.nextOffer++
	return sprintID(m.id, "%s-O%d", n), n
}

// newOffer holds resources for a framework.
func (m *Master) newOffer(fw *framework, a *agent, role string, r resources.Set) *offer {
	id, number := m.offerID()
	o := &offer{id: id, number: number, fw: fw, agent: a, role: role, resources: r.Allocated(role)}
	m.offers[id], fw.offers[id], a.offers[id] = o, o, o
	m.hold(a, fw, role, o.resources)
	if d := m.cfg.Timing.OfferTimeout; d > 0 {
		o.timeout = m.after(d, func() { m.rescind(o) })
	}
	return o
}

// removeOffer takes an offer back without telling.
func (m *Master) removeOffer(o *offer) {
	o.timeout.stop()
	m.free(o.agent, o.fw, o.role, o.resources)
	delete(m.offers, o.id)
	delete(o.fw.offers, o.id)
	delete(o.agent.offers, o.id)
}

func (m *Master) rescind(o *offer) {
	m.send(o.fw, rescindEvent(o.id))
	m.removeOffer(o)
}

func (m *Master) sendOffers(fw *framework, offers []*offer) {
	if len(offers) == 0 {
		return
	}
	list := make([]mesos.Offer, len(offers))
	for i, o := range offers {
		list[i] = m.describeOffer(o)
	}
	m.send(fw, &scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: list}})
}

// describeOffer shows an offer in the form that the framework understands.
func (m *Master) describeOffer(o *offer) mesos.Offer {
	a, fw := o.agent, o.fw
	show := o.resources
	multi := fw.can(mesos.FrameworkInfo_Capability_MULTI_ROLE)
	if !multi {
		show = show.Unallocated()
	}
	list := show.OldProto()
	if fw.can(mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT) {
		list = show.Proto()
	}
	description := mesos.Offer{
		ID:             mesos.OfferID{Value: o.id},
		FrameworkID:    *fw.info.ID,
		AgentID:        mesos.AgentID{Value: a.id},
		Hostname:       a.info.Hostname,
		URL:            a.url(),
		Resources:      list,
		Attributes:     a.info.Attributes,
		Unavailability: m.unavailability(a),
		Domain:         a.info.Domain,
	}
	for _, id := range sortedKeys(a.executors[fw.id]) {
		description.ExecutorIDs = append(description.ExecutorIDs, mesos.ExecutorID{Value: id})
	}
	if multi {
		description.AllocationInfo = &mesos.Resource_AllocationInfo{Role: ptr(o.role)}
	}
	return description
}

// filterKey is what a filter is for.
type filterKey struct{ role, agent string }

// filter hides an agent while no more of it is free than what was refused.
type filter struct {
	refused resources.Set
	expiry  *timer
}

// The limits of Filters.refuse_seconds.
const (
	defaultRefusal = 5 * time.Second
	maxRefusal     = 365 * 24 * time.Hour
)

func refusal(f *mesos.Filters) time.Duration {
	if f == nil || f.RefuseSeconds == nil {
		return defaultRefusal
	}
	seconds := *f.RefuseSeconds
	switch {
	case seconds < 0 || seconds != seconds:
		return defaultRefusal
	case seconds >= maxRefusal.Seconds():
		return maxRefusal
	default:
		return time.Duration(seconds * float64(time.Second))
	}
}

// refuseAgain keeps resources from being offered to a framework for a while: at least
// until the next allocation is over.
func (m *Master) refuseAgain(fw *framework, role string, a *agent, r resources.Set, f *mesos.Filters) {
	d := refusal(f)
	if d == 0 || r.Empty() {
		return
	}
	key := filterKey{role, a.id}
	hide := &filter{refused: r.Unallocated()}
	hide.expiry = m.after(max(d, m.cfg.Timing.AllocationInterval), func() {
		fw.filters[key] = slices.DeleteFunc(fw.filters[key], func(other *filter) bool { return other == hide })
		if len(fw.filters[key]) == 0 {
			delete(fw.filters, key)
		}
	})
	fw.filters[key] = append(fw.filters[key], hide)
}

// clearFilters drops the filters of some roles, nil: of all.
func (m *Master) clearFilters(fw *framework, roles map[string]bool) {
	for key, filters := range fw.filters {
		if roles != nil && !roles[key.role] {
			continue
		}
		for _, f := range filters {
			f.expiry.stop()
		}
		delete(fw.filters, key)
	}
}

func (fw *framework) refuses(role string, a *agent, r resources.Set) bool {
	return slices.ContainsFunc(fw.filters[filterKey{role, a.id}], func(f *filter) bool { return f.refused.Contains(r) })
}

// decline answers a DECLINE; offers that are gone are passed over.
func (m *Master) decline(fw *framework, call *scheduler.Call_Decline) {
	for _, id := range call.OfferIDs {
		o := fw.offers[id.Value]
		if o == nil {
			m.log.Debug("decline of an offer that is gone", "framework", fw.id, "offer", id.Value)
			continue
		}
		m.removeOffer(o)
		m.refuseAgain(fw, o.role, o.agent, o.resources, call.Filters)
	}
}

// knownRoles is the set of roles named, all of the framework's if none is; false if
// one of them is not subscribed, which makes Mesos ignore the call.
func (m *Master) knownRoles(fw *framework, named []string) (map[string]bool, bool) {
	if len(named) == 0 {
		return maps.Clone(fw.roles), true
	}
	for _, role := range named {
		if !fw.roles[role] {
			m.log.Info("call for a role that is not subscribed", "framework", fw.id, "role", role)
			return nil, false
		}
	}
	return setOf(named), true
}

func (m *Master) revive(fw *framework, named []string) {
	roles, ok := m.knownRoles(fw, named)
	if !ok {
		return
	}
	m.clearFilters(fw, roles)
	for role := range roles {
		delete(fw.suppress, role)
	}
	m.allocateSoon()
}

func (m *Master) suppress(fw *framework, named []string) {
	roles, ok := m.knownRoles(fw, named)
	if !ok {
		return
	}
	maps.Copy(fw.suppress, roles)
}
