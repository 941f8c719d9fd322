package master

import (
	"cmp"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/resources"
)

type frameworksView struct {
	Frameworks   []frameworkView `json:"frameworks"`
	Completed    []frameworkView `json:"completed_frameworks"`
	Unregistered []string        `json:"unregistered_frameworks"`
}

type frameworkView struct {
	ID           string         `json:"id"`
	Name         string         `json:"name"`
	Used         map[string]any `json:"used_resources"`
	Offered      map[string]any `json:"offered_resources"`
	Caps         []string       `json:"capabilities"`
	Hostname     string         `json:"hostname"`
	WebUI        string         `json:"webui_url"`
	Active       bool           `json:"active"`
	Connected    bool           `json:"connected"`
	Recovered    bool           `json:"recovered"`
	User         string         `json:"user"`
	Failover     float64        `json:"failover_timeout"`
	Checkpoint   bool           `json:"checkpoint"`
	Registered   float64        `json:"registered_time"`
	Unregistered float64        `json:"unregistered_time"`
	Principal    *string        `json:"principal,omitempty"`
	Resources    map[string]any `json:"resources"`
	Reregistered *float64       `json:"reregistered_time,omitempty"`
	Role         *string        `json:"role,omitempty"`
	Roles        *[]string      `json:"roles,omitempty"`
	Tasks        []taskView     `json:"tasks"`
	Unreachable  []taskView     `json:"unreachable_tasks"`
	Completed    []taskView     `json:"completed_tasks"`
	Offers       []offerView    `json:"offers"`
	Executors    []executorView `json:"executors"`
	Labels       []mesos.Label  `json:"labels,omitempty"`
	Constraints  *constraints   `json:"offer_constraints"`
}

type offerView struct {
	ID          string                        `json:"id"`
	FrameworkID string                        `json:"framework_id"`
	Allocation  mesos.Resource_AllocationInfo `json:"allocation_info"`
	SlaveID     string                        `json:"slave_id"`
	Resources   map[string]any                `json:"resources"`
}

type executorView struct {
	ID          string         `json:"executor_id"`
	Name        string         `json:"name"`
	FrameworkID string         `json:"framework_id"`
	Command     *commandView   `json:"command,omitempty"`
	Resources   map[string]any `json:"resources"`
	Role        string         `json:"role"`
	Labels      []mesos.Label  `json:"labels,omitempty"`
	Type        string         `json:"type"`
	SlaveID     string         `json:"slave_id"`
}

type commandView struct {
	Shell       bool               `json:"shell"`
	Value       *string            `json:"value,omitempty"`
	Argv        []string           `json:"argv"`
	Environment *mesos.Environment `json:"environment,omitempty"`
	URIs        []uriView          `json:"uris"`
}

type uriView struct {
	Value      string `json:"value"`
	Executable bool   `json:"executable"`
}

type taskView struct {
	ID          string               `json:"id"`
	Name        string               `json:"name"`
	FrameworkID string               `json:"framework_id"`
	ExecutorID  string               `json:"executor_id"`
	SlaveID     string               `json:"slave_id"`
	State       string               `json:"state"`
	Resources   map[string]any       `json:"resources"`
	Role        string               `json:"role"`
	Statuses    []statusView         `json:"statuses"`
	User        *string              `json:"user,omitempty"`
	Labels      []mesos.Label        `json:"labels,omitempty"`
	Discovery   *mesos.DiscoveryInfo `json:"discovery,omitempty"`
	Container   *mesos.ContainerInfo `json:"container,omitempty"`
	Health      *mesos.HealthCheck   `json:"health_check,omitempty"`
}

type statusView struct {
	State     string            `json:"state"`
	Timestamp float64           `json:"timestamp"`
	Labels    []mesos.Label     `json:"labels,omitempty"`
	Container *containerSummary `json:"container_status,omitempty"`
	Healthy   *bool             `json:"healthy,omitempty"`
}

type containerSummary struct {
	ContainerID  *mesos.ContainerID  `json:"container_id,omitempty"`
	NetworkInfos []mesos.NetworkInfo `json:"network_infos,omitempty"`
}

// frameworksView shows all frameworks, or one.
func (m *Master) frameworksView(only string) frameworksView {
	var v frameworksView
	for _, id := range sortedKeys(m.frameworks) {
		if only == "" || only == id {
			v.Frameworks = append(v.Frameworks, m.frameworkView(m.frameworks[id]))
		}
	}
	for _, fw := range m.completed {
		if only == "" || only == fw.id {
			v.Completed = append(v.Completed, m.frameworkView(fw))
		}
	}
	return v
}

func (m *Master) frameworkView(fw *framework) frameworkView {
	inUse := m.usedBy(fw)
	inOffers := offered(fw.offers)
	v := frameworkView{
		ID: fw.id, Name: fw.info.Name,
		Used: resourcesView(inUse), Offered: resourcesView(inOffers), Resources: resourcesView(inUse.Plus(inOffers)),
		Caps:     capabilityNames(&fw.info),
		Hostname: fw.info.GetHostname(), WebUI: fw.info.GetWebUiURL(),
		Active: fw.connected(), Connected: fw.connected(), Recovered: fw.recovered,
		User: fw.info.User, Failover: fw.info.GetFailoverTimeout(), Checkpoint: fw.info.GetCheckpoint(),
		Principal:   fw.info.Principal,
		Labels:      fw.info.GetLabels().GetLabels(),
		Constraints: cmp.Or(fw.constraints, new(constraints)),
	}
	if !fw.registered.IsZero() {
		v.Registered = *timestamp(fw.registered)
	}
	if !fw.unregistered.IsZero() {
		v.Unregistered = *timestamp(fw.unregistered)
	}
	if !fw.reregistered.Equal(fw.registered) {
		v.Reregistered = timestamp(fw.reregistered)
	}
	if fw.can(mesos.FrameworkInfo_Capability_MULTI_ROLE) {
		v.Roles = &fw.info.Roles
	} else {
		v.Role = ptr(rolesOf(&fw.info)[0])
	}
	for _, id := range sortedKeys(fw.tasks) {
		v.Tasks = append(v.Tasks, fw.tasks[id].view())
	}
	for _, id := range sortedKeys(fw.unreachable) {
		v.Unreachable = append(v.Unreachable, fw.unreachable[id].view())
	}
	for _, t := range fw.completed {
		v.Completed = append(v.Completed, t.view())
	}
	for _, o := range sortedOffers(fw.offers) {
		v.Offers = append(v.Offers, offerView{o.id, fw.id, mesos.Resource_AllocationInfo{Role: &o.role}, o.agent.id, resourcesView(o.resources)})
	}
	for _, id := range sortedKeys(m.agents) {
		for _, executor := range sortedKeys(m.agents[id].executors[fw.id]) {
			v.Executors = append(v.Executors, m.agents[id].executors[fw.id][executor].view(id))
		}
	}
	return v
}

// usedBy is what a framework's tasks and executors hold.
func (m *Master) usedBy(fw *framework) resources.Set {
	var used resources.Set
	for _, id := range sortedKeys(fw.tasks) {
		if t := fw.tasks[id]; t.held {
			used = used.Plus(t.resources)
		}
	}
	for _, id := range sortedKeys(m.agents) {
		for _, executor := range sortedKeys(m.agents[id].executors[fw.id]) {
			used = used.Plus(m.agents[id].executors[fw.id][executor].resources)
		}
	}
	return used
}

func (e *executor) view(agent string) executorView {
	v := executorView{
		ID:          e.info.ExecutorID.Value,
		Name:        e.info.GetName(),
		FrameworkID: e.fw.id,
		Resources:   resourcesView(e.resources),
		Role:        e.role,
		Labels:      e.info.GetLabels().GetLabels(),
		Type:        e.info.Type.String(),
		SlaveID:     agent,
	}
	if c := e.info.Command; c != nil {
		v.Command = &commandView{Shell: c.GetShell(), Value: c.Value, Argv: c.Arguments, Environment: c.Environment}
		for _, uri := range c.URIs {
			v.Command.URIs = append(v.Command.URIs, uriView{uri.Value, uri.GetExecutable()})
		}
	}
	return v
}

func (t *task) view() taskView {
	v := taskView{
		ID: t.info.TaskID.Value, Name: t.info.Name, FrameworkID: t.fw.id, ExecutorID: t.info.GetExecutor().GetExecutorID().Value, SlaveID: t.agent,
		State: t.state.String(), Resources: resourcesView(t.resources), Role: t.role,
		Labels: t.info.GetLabels().GetLabels(), Discovery: t.info.Discovery, Container: t.info.Container, Health: t.info.HealthCheck,
	}
	if user := t.info.GetCommand().GetUser(); user != "" {
		v.User = &user
	} else if user := t.info.GetExecutor().GetCommand().GetUser(); user != "" {
		v.User = &user
	}
	for _, s := range t.statuses {
		status := statusView{
			State: s.GetState().String(), Timestamp: s.GetTimestamp(), Healthy: s.Healthy,
			Labels: s.GetLabels().GetLabels(),
		}
		if c := s.ContainerStatus; c != nil {
			status.Container = &containerSummary{c.ContainerID, c.NetworkInfos}
		}
		v.Statuses = append(v.Statuses, status)
	}
	return v
}

// lastChange is when the task's latest status was made, in seconds since 1970.
func (t *task) lastChange() float64 {
	if n := len(t.statuses); n > 0 {
		return t.statuses[n-1].GetTimestamp()
	}
	return 0
}

// allTasks lists the tasks of all frameworks, those of completed ones too, the newest
// change first.
func (m *Master) allTasks() []*task {
	var all []*task
	add := func(fw *framework) {
		for _, id := range sortedKeys(fw.tasks) {
			all = append(all, fw.tasks[id])
		}
		for _, id := range sortedKeys(fw.unreachable) {
			all = append(all, fw.unreachable[id])
		}
		all = append(all, fw.completed...)
	}
	for _, id := range sortedKeys(m.frameworks) {
		add(m.frameworks[id])
	}
	for _, fw := range m.completed {
		add(fw)
	}
	slices.SortStableFunc(all, func(a, b *task) int { return cmp.Compare(b.lastChange(), a.lastChange()) })
	return all
}
