package master

import (
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/resources"
)

// The JSON that the operator endpoints show. Neither the data of tasks, statuses and
// executors nor the messages of statuses are in it.

type versionView struct {
	BuildDate string  `json:"build_date"`
	BuildTime float64 `json:"build_time"`
	BuildUser string  `json:"build_user"`
	GitBranch string  `json:"git_branch"`
	GitSHA    string  `json:"git_sha"`
	Version   string  `json:"version"`
}

// thisVersion has no build of Mesos to tell of; the user says whose it is.
func thisVersion() versionView {
	return versionView{BuildDate: "1970-01-01 00:00:00 UTC", BuildUser: "devmesos", Version: Version}
}

type stateView struct {
	versionView
	StartTime   float64           `json:"start_time"`
	ElectedTime float64           `json:"elected_time"`
	ID          string            `json:"id"`
	PID         string            `json:"pid"`
	Hostname    string            `json:"hostname"`
	Domain      *mesos.DomainInfo `json:"domain,omitempty"`
	Caps        []string          `json:"capabilities"`
	Activated   float64           `json:"activated_slaves"`
	Deactivated float64           `json:"deactivated_slaves"`
	Unreachable float64           `json:"unreachable_slaves"`
	Leader      string            `json:"leader"`
	LeaderInfo  leaderView        `json:"leader_info"`
	Flags       map[string]string `json:"flags"`
	slavesView[slaveView]
	frameworksView
	Orphans []taskView `json:"orphan_tasks"`
}

type leaderView struct {
	ID       string `json:"id"`
	PID      string `json:"pid"`
	Port     uint32 `json:"port"`
	Hostname string `json:"hostname"`
}

type slavesView[T any] struct {
	Slaves    []T             `json:"slaves"`
	Recovered []recoveredView `json:"recovered_slaves"`
}

type slaveView struct {
	ID           string            `json:"id"`
	Hostname     string            `json:"hostname"`
	Port         int32             `json:"port"`
	Attributes   map[string]any    `json:"attributes"`
	Domain       *mesos.DomainInfo `json:"domain,omitempty"`
	PID          string            `json:"pid"`
	Registered   float64           `json:"registered_time"`
	Reregistered *float64          `json:"reregistered_time,omitempty"`
	Resources    map[string]any    `json:"resources"`
	Used         map[string]any    `json:"used_resources"`
	Offered      map[string]any    `json:"offered_resources"`
	Reserved     map[string]any    `json:"reserved_resources"`
	Unreserved   map[string]any    `json:"unreserved_resources"`
	Active       bool              `json:"active"`
	Deactivated  bool              `json:"deactivated"`
	Version      string            `json:"version"`
	Caps         []string          `json:"capabilities"`
	Drain        *mesos.DrainInfo  `json:"drain_info,omitempty"`
	DrainStart   *mesos.TimeInfo   `json:"estimated_drain_start_time,omitempty"`
}

// slaveFullView is an agent as /slaves shows it.
type slaveFullView struct {
	slaveView
	ReservedFull   map[string][]mesos.Resource `json:"reserved_resources_full"`
	UnreservedFull []mesos.Resource            `json:"unreserved_resources_full"`
	UsedFull       []mesos.Resource            `json:"used_resources_full"`
	OfferedFull    []mesos.Resource            `json:"offered_resources_full"`
}

type recoveredView struct {
	ID         string         `json:"id"`
	Hostname   string         `json:"hostname"`
	Port       int32          `json:"port"`
	Attributes map[string]any `json:"attributes"`
}

func (m *Master) stateView() stateView {
	v := stateView{
		versionView: thisVersion(),
		StartTime:   *timestamp(m.started),
		ElectedTime: *timestamp(m.started),
		ID:          m.id,
		PID:         *m.info.PID,
		Hostname:    *m.info.Hostname,
		Domain:      m.info.Domain,
		Caps:        []string{"AGENT_UPDATE", "AGENT_DRAINING", "QUOTA_V2"},
		Unreachable: float64(m.cfg.Registry.unreachableCount()),
		Leader:      *m.info.PID,
		LeaderInfo:  leaderView{m.id, *m.info.PID, *m.info.Port, *m.info.Hostname},
		Flags:       m.flags(),
		slavesView:  slavesView[slaveView]{Recovered: m.recoveredView()},
	}
	v.frameworksView = m.frameworksView("")
	for _, id := range sortedKeys(m.agents) {
		a := m.agents[id]
		v.Slaves = append(v.Slaves, m.slaveView(a))
		if a.schedulable() {
			v.Activated++
		} else {
			v.Deactivated++
		}
	}
	return v
}

// slavesFull is /slaves, of one agent if an id is given.
func (m *Master) slavesFull(only string) slavesView[slaveFullView] {
	v := slavesView[slaveFullView]{Recovered: m.recoveredView()}
	for _, id := range sortedKeys(m.agents) {
		if only != "" && id != only {
			continue
		}
		a := m.agents[id]
		reserved := make(map[string][]mesos.Resource)
		for role, set := range reservations(a.total) {
			reserved[role] = set.OldProto()
		}
		v.Slaves = append(v.Slaves, slaveFullView{
			slaveView:      m.slaveView(a),
			ReservedFull:   reserved,
			UnreservedFull: a.total.Plus(a.oversubscribed).Filter(isUnreserved).OldProto(),
			UsedFull:       a.usedByTasks().OldProto(),
			OfferedFull:    offered(a.offers).OldProto(),
		})
	}
	return v
}

func (m *Master) slaveView(a *agent) slaveView {
	v := slaveView{
		ID:          a.id,
		Hostname:    a.info.Hostname,
		Port:        a.port,
		Attributes:  attributesView(a.info.Attributes),
		Domain:      a.info.Domain,
		PID:         a.pid(),
		Registered:  *timestamp(a.registered),
		Resources:   resourcesView(a.total.Plus(a.oversubscribed)),
		Used:        resourcesView(a.usedByTasks()),
		Offered:     resourcesView(offered(a.offers)),
		Reserved:    make(map[string]any),
		Unreserved:  resourcesView(a.total.Plus(a.oversubscribed).Filter(isUnreserved)),
		Active:      a.schedulable(),
		Deactivated: a.deactivated,
		Version:     Version,
		Caps:        agentCapabilities,
		Drain:       a.drainInfo(),
	}
	for role, set := range reservations(a.total) {
		v.Reserved[role] = resourcesView(set)
	}
	if !a.reregistered.IsZero() {
		v.Reregistered = timestamp(a.reregistered)
	}
	if a.drain != nil {
		v.DrainStart = &mesos.TimeInfo{Nanoseconds: a.drain.since.Truncate(time.Second).UnixNano()}
	}
	return v
}

var agentCapabilities = []string{
	"MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "RESOURCE_PROVIDER",
	"RESIZE_VOLUME", "AGENT_OPERATION_FEEDBACK", "AGENT_DRAINING", "TASK_RESOURCE_LIMITS",
}

func (m *Master) recoveredView() []recoveredView {
	var list []recoveredView
	for _, id := range sortedKeys(m.recovered) {
		info := m.recovered[id]
		list = append(list, recoveredView{id, info.Hostname, info.GetPort(), attributesView(info.Attributes)})
	}
	return list
}

func isUnreserved(r mesos.Resource) bool { return len(r.Reservations) == 0 }

// reservations splits what is reserved by role.
func reservations(s resources.Set) map[string]resources.Set {
	roles := make(map[string]resources.Set)
	for _, r := range s.Proto() {
		if n := len(r.Reservations); n > 0 {
			role := r.Reservations[n-1].GetRole()
			roles[role] = roles[role].Plus(resources.From([]mesos.Resource{r}))
		}
	}
	return roles
}

func attributesView(list []mesos.Attribute) map[string]any {
	v := make(map[string]any, len(list))
	for _, a := range list {
		switch a.Type {
		case mesos.SCALAR:
			v[a.Name] = a.GetScalar().GetValue()
		case mesos.RANGES:
			v[a.Name] = resources.From([]mesos.Resource{{Name: a.Name, Type: &a.Type, Ranges: a.Ranges}}).Ranges(a.Name)
		default:
			v[a.Name] = a.GetText().GetValue()
		}
	}
	return v
}

// resourcesView shows amounts by name; four names are always there, revocable
// amounts have names of their own.
func resourcesView(s resources.Set) map[string]any {
	lasting := s.Filter(func(r mesos.Resource) bool { return r.Revocable == nil })
	v := map[string]any{"cpus": 0.0, "gpus": 0.0, "mem": 0.0, "disk": 0.0}
	show := func(s resources.Set, suffix string) {
		for _, name := range s.Names() {
			if ranges := s.Ranges(name); ranges != "" {
				v[name+suffix] = ranges
			} else {
				v[name+suffix] = s.Scalar(name).Float()
			}
		}
	}
	show(lasting, "")
	show(s.Filter(isRevocable), "_revocable")
	return v
}

// usedByTasks is what tasks and executors hold.
func (a *agent) usedByTasks() resources.Set {
	var used resources.Set
	for _, t := range a.allTasks() {
		if t.held {
			used = used.Plus(t.resources)
		}
	}
	for _, fw := range sortedKeys(a.executors) {
		for _, id := range sortedKeys(a.executors[fw]) {
			used = used.Plus(a.executors[fw][id].resources)
		}
	}
	return used
}

func offered(offers map[string]*offer) resources.Set {
	var sum resources.Set
	for _, o := range sortedOffers(offers) {
		sum = sum.Plus(o.resources)
	}
	return sum
}

func (a *agent) drainInfo() *mesos.DrainInfo {
	if a.drain == nil {
		return nil
	}
	info := &mesos.DrainInfo{State: mesos.DrainState_DRAINING, Config: mesos.DrainConfig{MarkGone: ptr(a.drain.markGone)}}
	if a.drain.done {
		info.State = mesos.DrainState_DRAINED
	}
	if a.drain.grace != nil {
		info.Config.MaxGracePeriod = &mesos.DurationInfo{Nanoseconds: a.drain.grace.Nanoseconds()}
	}
	return info
}

func capabilityNames(info *mesos.FrameworkInfo) []string {
	names := make([]string, len(info.Capabilities))
	for i, c := range info.Capabilities {
		names[i] = c.Type.String()
	}
	return slices.Clip(names)
}
