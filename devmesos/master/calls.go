package master

import (
	"bytes"
	"net/http"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/wire"
)

// callMetrics are the names under which calls are counted.
var callMetrics = map[scheduler.Call_Type]string{
	scheduler.Call_TEARDOWN:             "master/messages_unregister_framework",
	scheduler.Call_ACCEPT:               "master/messages_launch_tasks",
	scheduler.Call_DECLINE:              "master/messages_decline_offers",
	scheduler.Call_REVIVE:               "master/messages_revive_offers",
	scheduler.Call_SUPPRESS:             "master/messages_suppress_offers",
	scheduler.Call_KILL:                 "master/messages_kill_task",
	scheduler.Call_ACKNOWLEDGE:          "master/messages_status_update_acknowledgement",
	scheduler.Call_RECONCILE:            "master/messages_reconcile_tasks",
	scheduler.Call_MESSAGE:              "master/messages_framework_to_executor",
	scheduler.Call_REQUEST:              "master/messages_resource_request",
	scheduler.Call_RECONCILE_OPERATIONS: "master/messages_reconcile_operations",
}

// handleCall does a call of a subscribed scheduler, other than SUBSCRIBE. It runs in
// the loop; a refusal of nil means 202 with no body.
func (m *Master) handleCall(fw *framework, call *scheduler.Call, limits *constraints) *wire.Refusal {
	if name := callMetrics[call.Type]; name != "" {
		m.metrics.count(name)
	}
	switch call.Type {
	case scheduler.Call_TEARDOWN:
		m.removeFramework(fw)
	case scheduler.Call_ACCEPT:
		m.accept(fw, call.Accept)
	case scheduler.Call_DECLINE:
		m.decline(fw, call.Decline)
	case scheduler.Call_ACCEPT_INVERSE_OFFERS:
		m.answerInverse(fw, call.AcceptInverseOffers.InverseOfferIDs, true, call.AcceptInverseOffers.Filters)
	case scheduler.Call_DECLINE_INVERSE_OFFERS:
		m.answerInverse(fw, call.DeclineInverseOffers.InverseOfferIDs, false, call.DeclineInverseOffers.Filters)
	case scheduler.Call_REVIVE:
		m.revive(fw, call.GetRevive().GetRoles())
	case scheduler.Call_SUPPRESS:
		m.suppress(fw, call.GetSuppress().GetRoles())
	case scheduler.Call_KILL:
		m.kill(fw, call.Kill)
	case scheduler.Call_SHUTDOWN:
		if a := m.agents[call.Shutdown.AgentID.Value]; a != nil && a.connected {
			a.link.ShutdownExecutor(*fw.info.ID, call.Shutdown.ExecutorID)
		}
	case scheduler.Call_ACKNOWLEDGE:
		m.acknowledge(fw, call.Acknowledge)
	case scheduler.Call_RECONCILE:
		m.reconcile(fw, call.Reconcile.Tasks)
	case scheduler.Call_MESSAGE:
		m.message(fw, call.Message)
	case scheduler.Call_UPDATE_FRAMEWORK:
		return m.updateFramework(fw, call.UpdateFramework, limits)
	case scheduler.Call_REQUEST, scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS, scheduler.Call_RECONCILE_OPERATIONS:
		// The built-in allocator has no ear for REQUEST; operations here leave no status behind.
	default:
		return wire.Refuse(http.StatusNotImplemented, "501 Not Implemented.")
	}
	return nil
}

// kill passes a KILL on. Of a task that is not known it is a question for its state.
func (m *Master) kill(fw *framework, call *scheduler.Call_Kill) {
	t := fw.tasks[call.TaskID.Value]
	if t == nil {
		m.reconcile(fw, []scheduler.Call_Reconcile_Task{{TaskID: call.TaskID, AgentID: call.AgentID}})
		return
	}
	if call.AgentID != nil && call.AgentID.Value != t.agent {
		m.log.Info("kill with the wrong agent", "framework", fw.id, "task", call.TaskID.Value, "agent", call.AgentID.Value)
		return
	}
	a := m.agents[t.agent]
	if a == nil {
		return
	}
	if a.connected {
		a.link.KillTask(*fw.info.ID, call.TaskID, call.KillPolicy)
		return
	}
	// Remembered until the agent is back, by this master only.
	if a.kills[fw.id] == nil {
		a.kills[fw.id] = make(map[string]*mesos.KillPolicy)
	}
	a.kills[fw.id][call.TaskID.Value] = call.KillPolicy
}

// acknowledge passes an ACKNOWLEDGE on; that of a terminal update forgets the task.
func (m *Master) acknowledge(fw *framework, call *scheduler.Call_Acknowledge) {
	a := m.agents[call.AgentID.Value]
	if a == nil || !a.connected {
		m.log.Info("acknowledgement dropped: agent is not there", "framework", fw.id, "agent", call.AgentID.Value)
		return
	}
	if t := a.tasks[fw.id][call.TaskID.Value]; t != nil && isTerminal(t.reported) && bytes.Equal(t.reportedUUID, call.UUID) {
		m.removeTask(t)
		m.checkDrained(a)
	}
	a.link.AcknowledgeUpdate(*fw.info.ID, call.TaskID, call.UUID)
}

func (m *Master) message(fw *framework, call *scheduler.Call_Message) {
	a := m.agents[call.AgentID.Value]
	if a == nil || !a.connected || m.faults.dropMessage() {
		m.metrics.count("master/invalid_framework_to_executor_messages")
		return
	}
	m.metrics.count("master/valid_framework_to_executor_messages")
	a.link.FrameworkMessage(*fw.info.ID, call.ExecutorID, call.Data)
}

func (m *Master) updateFramework(fw *framework, call *scheduler.Call_UpdateFramework, limits *constraints) *wire.Refusal {
	info := call.FrameworkInfo
	if reason := m.refuseInfo(&info, call.SuppressedRoles); reason != "" {
		return wire.Refuse(http.StatusBadRequest, "Supplied FrameworkInfo is not valid: %s", reason)
	}
	if reason := refuseUpdate(&fw.info, &info); reason != "" {
		return wire.Refuse(http.StatusBadRequest, "FrameworkInfo update is not valid: %s", reason)
	}
	if limits != nil {
		if err := limits.validate(&info); err != nil {
			return wire.Refuse(http.StatusBadRequest, "'UpdateFramework.offer_constraints' are not valid: %v", err)
		}
	}
	fw.setInfo(info)
	fw.suppress, fw.constraints = setOf(call.SuppressedRoles), limits
	for _, o := range sortedOffers(fw.offers) {
		if !fw.roles[o.role] {
			m.rescind(o)
		}
	}
	for key := range fw.filters {
		if !fw.roles[key.role] {
			m.clearFilters(fw, map[string]bool{key.role: true})
		}
	}
	for _, a := range m.agents {
		a.link.UpdateFramework(fw.info)
	}
	m.allocateSoon()
	return &wire.Refusal{Status: http.StatusOK}
}
