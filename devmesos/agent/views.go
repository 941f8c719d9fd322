package agent

import (
	"path/filepath"
	"strconv"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/resources"
)

// The JSON of /state. Neither the data of tasks, statuses and executors nor the messages of statuses nor the command of an
// executor are in it, as on a real agent.

type versionInfo struct {
	BuildDate string  `json:"build_date"`
	BuildTime float64 `json:"build_time"`
	BuildUser string  `json:"build_user"`
	GitBranch string  `json:"git_branch"`
	GitSHA    string  `json:"git_sha"`
	Version   string  `json:"version"`
}

// versionOf names a version, but no build: there is none of Mesos here.
func versionOf() versionInfo {
	return versionInfo{BuildDate: "1970-01-01 00:00:00 UTC", BuildUser: "devmesos", Version: Version}
}

type stateView struct {
	Version             string                      `json:"version"`
	GitSHA              string                      `json:"git_sha"`
	GitBranch           string                      `json:"git_branch"`
	BuildDate           string                      `json:"build_date"`
	BuildTime           float64                     `json:"build_time"`
	BuildUser           string                      `json:"build_user"`
	StartTime           float64                     `json:"start_time"`
	ID                  string                      `json:"id"`
	PID                 string                      `json:"pid"`
	Hostname            string                      `json:"hostname"`
	Capabilities        []string                    `json:"capabilities"`
	Resources           map[string]any              `json:"resources"`
	Reserved            map[string]any              `json:"reserved_resources"`
	Unreserved          map[string]any              `json:"unreserved_resources"`
	ReservedFull        map[string][]mesos.Resource `json:"reserved_resources_full"`
	UnreservedFull      []mesos.Resource            `json:"unreserved_resources_full"`
	ReservedAllocated   map[string]any              `json:"reserved_resources_allocated"`
	UnreservedAllocated map[string]any              `json:"unreserved_resources_allocated"`
	Providers           []string                    `json:"resource_providers"`
	Attributes          map[string]any              `json:"attributes"`
	MasterHostname      string                      `json:"master_hostname,omitempty"`
	LogDir              string                      `json:"log_dir,omitempty"`
	Flags               map[string]string           `json:"flags"`
	Frameworks          []frameworkView             `json:"frameworks"`
	Completed           []frameworkView             `json:"completed_frameworks"`
}

type frameworkView struct {
	ID              string         `json:"id"`
	Name            string         `json:"name"`
	User            string         `json:"user"`
	FailoverTimeout float64        `json:"failover_timeout"`
	Checkpoint      bool           `json:"checkpoint"`
	Hostname        string         `json:"hostname"`
	Principal       *string        `json:"principal,omitempty"`
	Role            *string        `json:"role,omitempty"`
	Roles           []string       `json:"roles,omitempty"`
	Executors       []executorView `json:"executors"`
	Completed       []executorView `json:"completed_executors"`
}

type executorView struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Source    string         `json:"source"`
	Container string         `json:"container"`
	Directory string         `json:"directory"`
	Resources map[string]any `json:"resources"`
	Role      *string        `json:"role,omitempty"`
	Labels    []mesos.Label  `json:"labels,omitempty"`
	Type      *string        `json:"type,omitempty"`
	Tasks     []taskView     `json:"tasks"`
	Queued    []taskView     `json:"queued_tasks"`
	Completed []taskView     `json:"completed_tasks"`
}

type taskView struct {
	ID          string               `json:"id"`
	Name        string               `json:"name"`
	FrameworkID string               `json:"framework_id"`
	ExecutorID  string               `json:"executor_id"`
	AgentID     string               `json:"slave_id"`
	State       *string              `json:"state,omitempty"`
	Resources   map[string]any       `json:"resources"`
	Role        *string              `json:"role,omitempty"`
	Statuses    []statusView         `json:"statuses"`
	Labels      []mesos.Label        `json:"labels,omitempty"`
	Discovery   *mesos.DiscoveryInfo `json:"discovery,omitempty"`
	Container   *mesos.ContainerInfo `json:"container,omitempty"`
	HealthCheck *mesos.HealthCheck   `json:"health_check,omitempty"`
	Command     *mesos.CommandInfo   `json:"command,omitempty"` // of queued tasks
}

type statusView struct {
	State           string               `json:"state"`
	Timestamp       float64              `json:"timestamp"`
	Labels          []mesos.Label        `json:"labels,omitempty"`
	ContainerStatus *containerStatusView `json:"container_status,omitempty"`
	Healthy         *bool                `json:"healthy,omitempty"`
}

type containerStatusView struct {
	ContainerID  *mesos.ContainerID  `json:"container_id,omitempty"`
	NetworkInfos []mesos.NetworkInfo `json:"network_infos,omitempty"`
}

// agentCapabilities are those of a real agent of this version.
var agentCapabilities = []string{
	"MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "RESOURCE_PROVIDER", "RESIZE_VOLUME",
	"AGENT_OPERATION_FEEDBACK", "AGENT_DRAINING", "TASK_RESOURCE_LIMITS",
}

func (p *process) stateView() stateView {
	total := unreserved(p.config.Resources)
	used := p.used()
	version := versionOf()
	view := stateView{
		Version:             version.Version,
		GitSHA:              version.GitSHA,
		GitBranch:           version.GitBranch,
		BuildDate:           version.BuildDate,
		BuildTime:           version.BuildTime,
		BuildUser:           version.BuildUser,
		StartTime:           float64(p.started.UnixNano()) / 1e9,
		ID:                  p.info.ID.GetValue(),
		PID:                 p.agent.pid(),
		Hostname:            p.agent.Hostname(),
		Capabilities:        agentCapabilities,
		Resources:           sums(total),
		Reserved:            map[string]any{},
		Unreserved:          sums(total),
		ReservedFull:        map[string][]mesos.Resource{},
		UnreservedFull:      total,
		ReservedAllocated:   map[string]any{},
		UnreservedAllocated: sums(used),
		Attributes:          attributes(p.config.Attributes),
		LogDir:              filepath.Dir(filepath.Join(p.config.WorkDir, logName)),
		Flags:               p.flags(),
	}
	for _, f := range p.order {
		view.Frameworks = append(view.Frameworks, p.frameworkView(f))
	}
	for _, f := range p.completed {
		view.Completed = append(view.Completed, p.frameworkView(f))
	}
	return view
}

// used are the resources of everything that lives.
func (p *process) used() []mesos.Resource {
	var all []mesos.Resource
	for _, f := range p.order {
		for _, e := range f.executors {
			if e.state != executorTerminated {
				all = append(all, allocated(e)...)
			}
		}
	}
	return all
}

// unreserved are the agent's resources as old views have them, with the role *.
func unreserved(all []mesos.Resource) []mesos.Resource {
	shown := make([]mesos.Resource, len(all))
	for i, r := range all {
		shown[i] = r
		if r.Role == nil && len(r.Reservations) == 0 {
			shown[i].Role = ptr("*")
		}
	}
	return shown
}

// sums are amounts by name; the four usual scalars are always there.
func sums(all []mesos.Resource) map[string]any {
	set := resources.From(all)
	m := map[string]any{"cpus": 0.0, "mem": 0.0, "disk": 0.0, "gpus": 0.0}
	for _, name := range set.Names() {
		if text := set.Ranges(name); text != "" && text != "[]" {
			m[name] = text
		} else {
			m[name] = set.Scalar(name).Float()
		}
	}
	return m
}

func attributes(all []mesos.Attribute) map[string]any {
	m := make(map[string]any)
	for _, a := range all {
		switch {
		case a.Text != nil:
			m[a.Name] = a.Text.Value
		case a.Scalar != nil:
			m[a.Name] = a.Scalar.Value
		case a.Ranges != nil:
			text := ""
			for _, r := range a.Ranges.Range {
				text += ", " + strconv.FormatUint(r.Begin, 10) + "-" + strconv.FormatUint(r.End, 10)
			}
			m[a.Name] = "[" + text[min(2, len(text)):] + "]"
		}
	}
	return m
}

func (p *process) frameworkView(f *framework) frameworkView {
	view := frameworkView{
		ID:              f.id(),
		Name:            f.info.Name,
		User:            f.info.User,
		FailoverTimeout: f.info.GetFailoverTimeout(),
		Checkpoint:      f.info.GetCheckpoint(),
		Hostname:        f.info.GetHostname(),
		Principal:       f.info.Principal,
	}
	if f.has(mesos.FrameworkInfo_Capability_MULTI_ROLE) {
		view.Roles = f.info.Roles
	} else {
		view.Role = ptr(f.info.GetRole())
	}
	for _, e := range f.executors {
		view.Executors = append(view.Executors, p.executorView(e))
	}
	for _, e := range f.completed {
		view.Completed = append(view.Completed, p.executorView(e))
	}
	return view
}

func (p *process) executorView(e *executor) executorView {
	view := executorView{
		ID:        e.id(),
		Name:      e.info.GetName(),
		Source:    e.info.GetSource(),
		Container: e.container,
		Directory: e.directory,
		Resources: sums(allocated(e)),
		Role:      roleOf(e.info.Resources),
		Labels:    e.info.Labels.GetLabels(),
	}
	if e.info.Type != mesos.ExecutorInfo_UNKNOWN {
		view.Type = ptr(e.info.Type.String())
	}
	for _, t := range e.tasks {
		shown := p.taskView(e, t)
		switch t.phase {
		case phaseQueued:
			shown.State = nil
			shown.Command = t.info.Command
			view.Queued = append(view.Queued, shown)
		case phaseLaunched:
			view.Tasks = append(view.Tasks, shown)
		default:
			view.Completed = append(view.Completed, shown)
		}
	}
	return view
}

func (p *process) taskView(e *executor, t *task) taskView {
	view := taskView{
		ID:          t.info.TaskID.Value,
		Name:        t.info.Name,
		FrameworkID: e.framework.id(),
		ExecutorID:  t.named().GetValue(),
		AgentID:     p.info.ID.GetValue(),
		State:       ptr(t.state.String()),
		Resources:   sums(t.info.Resources),
		Role:        roleOf(t.info.Resources),
		Labels:      t.info.Labels.GetLabels(),
		Discovery:   t.info.Discovery,
		Container:   t.info.Container,
		HealthCheck: t.info.HealthCheck,
	}
	for _, s := range t.statuses {
		shown := statusView{
			State:     s.GetState().String(),
			Timestamp: s.GetTimestamp(),
			Labels:    s.Labels.GetLabels(),
			Healthy:   s.Healthy,
		}
		if c := s.ContainerStatus; c != nil {
			shown.ContainerStatus = &containerStatusView{c.ContainerID, c.NetworkInfos}
		}
		view.Statuses = append(view.Statuses, shown)
	}
	return view
}

// roleOf is the role that resources are allocated to.
func roleOf(all []mesos.Resource) *string {
	if len(all) == 0 {
		return nil
	}
	return ptr(all[0].GetAllocationInfo().GetRole())
}
