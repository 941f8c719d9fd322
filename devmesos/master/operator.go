package master

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	operator "github.com/mesos/mesos-go/api/v1/lib/master"

	"lode/devmesos/internal/wire"
)

// serveOperator is POST /api/v1, the operator's API.
func (m *Master) serveOperator(w http.ResponseWriter, r *http.Request) {
	_, refusal := authenticate(r, m.cfg.OperatorCredentials, "mesos-master-readwrite")
	var call operator.Call
	var body *wire.Call
	if refusal == nil {
		body, refusal = wire.ReadCall(r, &call)
	}
	if refusal == nil && !body.HasType {
		refusal = wire.Refuse(http.StatusBadRequest, "Failed to validate master::Call: Expecting 'type' to be present")
	}
	if refusal == nil {
		refusal = validateOperatorCall(&call)
	}
	codec := wire.JSON
	if refusal == nil {
		codec, refusal = wire.Accept(r)
	}
	if refusal != nil {
		refusal.Write(w)
		return
	}
	if call.Type == operator.Call_SUBSCRIBE {
		m.serveOperatorStream(w, r, codec)
		return
	}
	var answer []byte
	ok := m.call(func() {
		var response *operator.Response
		if response, refusal = m.answerOperator(&call); response == nil {
			return
		}
		var err error
		if answer, err = codec.Marshal(response); err != nil {
			refusal = wire.Refuse(http.StatusInternalServerError, "%v", err)
		}
	})
	switch {
	case !ok:
		panic(http.ErrAbortHandler)
	case refusal != nil:
		refusal.Write(w)
	case answer == nil:
		wire.WriteText(w, http.StatusOK, "")
	case codec == wire.JSON:
		writeBody(w, r, answer)
	default:
		w.Header().Set("Content-Type", codec.MediaType())
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		w.Write(answer) //nolint:errcheck // the client is gone, nobody is left to tell
	}
}

// validateOperatorCall checks that the part is there which belongs to the type.
func validateOperatorCall(call *operator.Call) *wire.Refusal {
	for _, part := range []struct {
		kind    operator.Call_Type
		name    string
		present bool
	}{
		{operator.Call_DRAIN_AGENT, "drain_agent", call.DrainAgent != nil},
		{operator.Call_DEACTIVATE_AGENT, "deactivate_agent", call.DeactivateAgent != nil},
		{operator.Call_REACTIVATE_AGENT, "reactivate_agent", call.ReactivateAgent != nil},
		{operator.Call_MARK_AGENT_GONE, "mark_agent_gone", call.MarkAgentGone != nil},
		{operator.Call_TEARDOWN, "teardown", call.Teardown != nil},
		{operator.Call_UPDATE_MAINTENANCE_SCHEDULE, "update_maintenance_schedule", call.UpdateMaintenanceSchedule != nil},
		{operator.Call_START_MAINTENANCE, "start_maintenance", call.StartMaintenance != nil},
		{operator.Call_UPDATE_QUOTA, "update_quota", call.UpdateQuota != nil},
		{operator.Call_STOP_MAINTENANCE, "stop_maintenance", call.StopMaintenance != nil},
	} {
		if call.Type == part.kind && !part.present {
			return wire.Refuse(http.StatusBadRequest, "Failed to validate master::Call: Expecting '%s' to be present", part.name)
		}
	}
	return nil
}

// answerOperator does a call. Changes have neither response nor refusal: 200, no body.
func (m *Master) answerOperator(call *operator.Call) (*operator.Response, *wire.Refusal) {
	switch call.Type {
	case operator.Call_DRAIN_AGENT:
		var grace *time.Duration
		if d := call.DrainAgent.MaxGracePeriod; d != nil {
			grace = ptr(time.Duration(d.Seconds)*time.Second + time.Duration(d.Nanos))
		}
		return nil, m.drainAgent(call.DrainAgent.AgentID.Value, grace, call.DrainAgent.GetMarkGone())
	case operator.Call_DEACTIVATE_AGENT:
		return nil, m.deactivateAgent(call.DeactivateAgent.AgentID.Value)
	case operator.Call_REACTIVATE_AGENT:
		return nil, m.reactivateAgent(call.ReactivateAgent.AgentID.Value)
	case operator.Call_MARK_AGENT_GONE:
		return nil, m.markAgentGone(call.MarkAgentGone.AgentID.Value)
	case operator.Call_TEARDOWN:
		return nil, m.teardownByID(call.Teardown.FrameworkID.Value)
	case operator.Call_UPDATE_MAINTENANCE_SCHEDULE:
		return nil, m.replaceSchedule(call.UpdateMaintenanceSchedule.Schedule)
	case operator.Call_START_MAINTENANCE:
		m.machinesDown(call.StartMaintenance.Machines)
		return nil, nil
	case operator.Call_STOP_MAINTENANCE:
		m.machinesUp(call.StopMaintenance.Machines)
		return nil, nil
	case operator.Call_UPDATE_QUOTA:
		return nil, m.updateQuota(call.UpdateQuota)
	case operator.Call_LIST_FILES, operator.Call_READ_FILE:
		return nil, &wire.Refusal{Status: http.StatusNotFound}
	}
	if response := m.show(call.Type); response != nil {
		return response, nil
	}
	return nil, wire.Refuse(http.StatusNotImplemented, "501 Not Implemented.")
}

// show answers the calls that only read; nil for others.
func (m *Master) show(kind operator.Call_Type) *operator.Response {
	switch kind {
	case operator.Call_GET_HEALTH:
		return &operator.Response{Type: operator.Response_GET_HEALTH, GetHealth: &operator.Response_GetHealth{Healthy: true}}
	case operator.Call_GET_FLAGS:
		flags := new(operator.Response_GetFlags)
		all := m.flags()
		for _, name := range sortedKeys(all) {
			flags.Flags = append(flags.Flags, mesos.Flag{Name: name, Value: ptr(all[name])})
		}
		return &operator.Response{Type: operator.Response_GET_FLAGS, GetFlags: flags}
	case operator.Call_GET_VERSION:
		v := thisVersion()
		return &operator.Response{Type: operator.Response_GET_VERSION, GetVersion: &operator.Response_GetVersion{VersionInfo: mesos.VersionInfo{
			Version: v.Version, BuildDate: &v.BuildDate, BuildTime: &v.BuildTime, BuildUser: &v.BuildUser, GitSHA: &v.GitSHA, GitBranch: &v.GitBranch,
		}}}
	case operator.Call_GET_METRICS:
		metrics := new(operator.Response_GetMetrics)
		all := m.snapshot()
		for _, name := range sortedKeys(all) {
			metrics.Metrics = append(metrics.Metrics, mesos.Metric{Name: name, Value: ptr(all[name])})
		}
		return &operator.Response{Type: operator.Response_GET_METRICS, GetMetrics: metrics}
	case operator.Call_GET_LOGGING_LEVEL:
		return &operator.Response{Type: operator.Response_GET_LOGGING_LEVEL, GetLoggingLevel: new(operator.Response_GetLoggingLevel)}
	case operator.Call_GET_STATE:
		return &operator.Response{Type: operator.Response_GET_STATE, GetState: m.getState()}
	case operator.Call_GET_AGENTS:
		return &operator.Response{Type: operator.Response_GET_AGENTS, GetAgents: m.getAgents()}
	case operator.Call_GET_FRAMEWORKS:
		return &operator.Response{Type: operator.Response_GET_FRAMEWORKS, GetFrameworks: m.getFrameworks()}
	case operator.Call_GET_EXECUTORS:
		return &operator.Response{Type: operator.Response_GET_EXECUTORS, GetExecutors: m.getExecutors()}
	case operator.Call_GET_TASKS:
		return &operator.Response{Type: operator.Response_GET_TASKS, GetTasks: m.getTasks()}
	case operator.Call_GET_ROLES:
		roles := new(operator.Response_GetRoles)
		for _, name := range m.roleNames() {
			r := m.describeRole(name)
			shown := mesos.Role{Name: name, Weight: 1, Resources: quantityResources(r.used.Plus(r.offered))}
			for _, id := range r.frameworks {
				shown.Frameworks = append(shown.Frameworks, mesos.FrameworkID{Value: id})
			}
			roles.Roles = append(roles.Roles, shown)
		}
		return &operator.Response{Type: operator.Response_GET_ROLES, GetRoles: roles}
	case operator.Call_GET_QUOTA:
		return &operator.Response{Type: operator.Response_GET_QUOTA, GetQuota: &operator.Response_GetQuota{Status: m.quotaStatus()}}
	case operator.Call_GET_MASTER:
		return &operator.Response{Type: operator.Response_GET_MASTER, GetMaster: &operator.Response_GetMaster{
			MasterInfo: &m.info, StartTime: timestamp(m.started), ElectedTime: timestamp(m.started),
		}}
	case operator.Call_GET_MAINTENANCE_STATUS:
		return &operator.Response{Type: operator.Response_GET_MAINTENANCE_STATUS, GetMaintenanceStatus: &operator.Response_GetMaintenanceStatus{Status: m.maintenanceStatus()}}
	case operator.Call_GET_MAINTENANCE_SCHEDULE:
		return &operator.Response{Type: operator.Response_GET_MAINTENANCE_SCHEDULE, GetMaintenanceSchedule: &operator.Response_GetMaintenanceSchedule{Schedule: m.cfg.Registry.maintenance()}}
	default:
		return nil
	}
}

func (m *Master) getState() *operator.Response_GetState {
	return &operator.Response_GetState{
		GetTasks: m.getTasks(), GetExecutors: m.getExecutors(), GetFrameworks: m.getFrameworks(), GetAgents: m.getAgents(),
	}
}

func timeInfo(t time.Time) *mesos.TimeInfo {
	if t.IsZero() {
		return nil
	}
	return &mesos.TimeInfo{Nanoseconds: t.UnixNano()}
}

func (m *Master) getAgents() *operator.Response_GetAgents {
	v := new(operator.Response_GetAgents)
	for _, id := range sortedKeys(m.agents) {
		v.Agents = append(v.Agents, m.getAgent(m.agents[id]))
	}
	for _, id := range sortedKeys(m.recovered) {
		v.RecoveredAgents = append(v.RecoveredAgents, m.recovered[id])
	}
	return v
}

func (m *Master) getAgent(a *agent) operator.Response_GetAgents_Agent {
	v := operator.Response_GetAgents_Agent{
		AgentInfo:          a.info,
		Active:             a.schedulable(),
		Deactivated:        &a.deactivated,
		Version:            Version,
		PID:                ptr(a.pid()),
		RegisteredTime:     timeInfo(a.registered),
		ReregisteredTime:   timeInfo(a.reregistered),
		TotalResources:     a.total.Plus(a.oversubscribed).OldProto(),
		AllocatedResources: a.usedByTasks().OldProto(),
		OfferedResources:   offered(a.offers).OldProto(),
		DrainInfo:          a.drainInfo(),
	}
	for _, name := range agentCapabilities {
		v.Capabilities = append(v.Capabilities, mesos.AgentInfo_Capability{Type: mesos.AgentInfo_Capability_Type(mesos.AgentInfo_Capability_Type_value[name])})
	}
	if a.drain != nil {
		v.EstimatedDrainStartTime = timeInfo(a.drain.since.Truncate(time.Second))
	}
	return v
}

func (m *Master) getFrameworks() *operator.Response_GetFrameworks {
	v := new(operator.Response_GetFrameworks)
	for _, id := range sortedKeys(m.frameworks) {
		v.Frameworks = append(v.Frameworks, m.getFramework(m.frameworks[id]))
	}
	for _, fw := range m.completed {
		v.CompletedFrameworks = append(v.CompletedFrameworks, m.getFramework(fw))
	}
	return v
}

func (m *Master) getFramework(fw *framework) operator.Response_GetFrameworks_Framework {
	v := operator.Response_GetFrameworks_Framework{
		FrameworkInfo:      fw.info,
		Active:             fw.connected(),
		Connected:          fw.connected(),
		Recovered:          fw.recovered,
		RegisteredTime:     timeInfo(fw.registered),
		ReregisteredTime:   timeInfo(fw.reregistered),
		UnregisteredTime:   timeInfo(fw.unregistered),
		AllocatedResources: m.usedBy(fw).OldProto(),
		OfferedResources:   offered(fw.offers).OldProto(),
	}
	for _, o := range sortedOffers(fw.offers) {
		shown := m.describeOffer(o)
		shown.Resources = o.resources.Proto()
		shown.AllocationInfo = &mesos.Resource_AllocationInfo{Role: &o.role}
		v.Offers = append(v.Offers, shown)
	}
	return v
}

func (m *Master) getExecutors() *operator.Response_GetExecutors {
	v := new(operator.Response_GetExecutors)
	for _, id := range sortedKeys(m.agents) {
		a := m.agents[id]
		for _, fw := range sortedKeys(a.executors) {
			for _, executor := range sortedKeys(a.executors[fw]) {
				v.Executors = append(v.Executors, operator.Response_GetExecutors_Executor{
					ExecutorInfo: a.executors[fw][executor].info,
					AgentID:      mesos.AgentID{Value: id},
				})
			}
		}
	}
	return v
}

func (m *Master) getTasks() *operator.Response_GetTasks {
	v := new(operator.Response_GetTasks)
	for _, id := range sortedKeys(m.frameworks) {
		fw := m.frameworks[id]
		for _, task := range sortedKeys(fw.tasks) {
			v.Tasks = append(v.Tasks, fw.tasks[task].proto())
		}
		for _, task := range sortedKeys(fw.unreachable) {
			v.UnreachableTasks = append(v.UnreachableTasks, fw.unreachable[task].proto())
		}
	}
	for _, fw := range slices.Concat(m.completed, m.sortedFrameworks()) {
		for _, t := range fw.completed {
			v.CompletedTasks = append(v.CompletedTasks, t.proto())
		}
	}
	return v
}

func (m *Master) sortedFrameworks() []*framework {
	list := make([]*framework, 0, len(m.frameworks))
	for _, id := range sortedKeys(m.frameworks) {
		list = append(list, m.frameworks[id])
	}
	return list
}

// proto is the task as the operator API shows it. The messages of its statuses are
// there, data is not.
func (t *task) proto() mesos.Task {
	v := mesos.Task{
		Name:        t.info.Name,
		TaskID:      t.info.TaskID,
		FrameworkID: *t.fw.info.ID,
		AgentID:     mesos.AgentID{Value: t.agent},
		State:       &t.state,
		Resources:   t.resources.Proto(),
		Statuses:    t.statuses,
		Labels:      t.info.Labels,
		Discovery:   t.info.Discovery,
		Container:   t.info.Container,
		HealthCheck: t.info.HealthCheck,
		KillPolicy:  t.info.KillPolicy,
	}
	if t.info.Executor != nil {
		v.ExecutorID = &mesos.ExecutorID{Value: t.executor}
	}
	if len(t.statuses) > 0 {
		v.StatusUpdateState, v.StatusUpdateUUID = &t.reported, t.reportedUUID
	}
	return v
}
