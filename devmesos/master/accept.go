package master

import (
	"fmt"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/resources"
)

// accept answers an ACCEPT: all offers are used up, the operations are applied in
// order, the rest is refused for a while. One bad offer spoils the whole call.
func (m *Master) accept(fw *framework, call *scheduler.Call_Accept) {
	offers, problem := m.checkOffers(fw, call.OfferIDs)
	var used []*offer
	for _, id := range call.OfferIDs {
		if o := fw.offers[id.Value]; o != nil {
			used = append(used, o)
			m.removeOffer(o)
		}
	}
	if problem != "" {
		m.log.Info("accept with invalid offers", "framework", fw.id, "reason", problem)
		m.dropLaunches(fw, call.Operations, mesos.REASON_INVALID_OFFERS, "Task launched with invalid offers: "+problem)
		return
	}
	a, role := offers[0].agent, offers[0].role
	var rest resources.Set
	for _, o := range used {
		rest = rest.Plus(o.resources)
	}
	for i := range call.Operations {
		rest = m.apply(fw, a, role, rest, &call.Operations[i])
	}
	m.refuseAgain(fw, role, a, rest, call.Filters)
}

// checkOffers finds the offers of a call, all of one agent and one role, or says what
// is wrong (validation::offer::validate).
func (m *Master) checkOffers(fw *framework, ids []mesos.OfferID) ([]*offer, string) {
	if len(ids) == 0 {
		return nil, "No offers specified"
	}
	seen := make(map[string]bool)
	for _, id := range ids {
		if seen[id.Value] {
			return nil, fmt.Sprintf("Duplicate offer %s in offer list", id.Value)
		}
		seen[id.Value] = true
	}
	offers := make([]*offer, len(ids))
	for i, id := range ids {
		o := m.offers[id.Value]
		if o == nil {
			return nil, fmt.Sprintf("Offer %s is no longer valid", id.Value)
		}
		if o.fw != fw {
			return nil, fmt.Sprintf("Offer %s has invalid framework %s while framework %s is expected", o.id, o.fw.id, fw.id)
		}
		offers[i] = o
	}
	first := offers[0]
	for _, o := range offers[1:] {
		if o.role != first.role {
			return nil, fmt.Sprintf("Aggregated offers must be allocated to the same role. Offer %s uses role '%s' but another is using role '%s'", o.id, o.role, first.role)
		}
	}
	for _, o := range offers[1:] {
		if o.agent != first.agent {
			return nil, fmt.Sprintf("Aggregated offers must belong to one single agent. Offer %s uses agent %s and agent %s", o.id, o.agent.id, first.agent.id)
		}
	}
	return offers, ""
}

// dropLaunches answers for all tasks of operations that are not applied.
func (m *Master) dropLaunches(fw *framework, operations []mesos.Offer_Operation, reason mesos.TaskStatus_Reason, message string) {
	for i := range operations {
		for _, info := range launched(&operations[i]) {
			m.refuse(fw, &info, fw.orLost(mesos.TASK_DROPPED), reason, message)
		}
	}
}

// launched lists the tasks of an operation.
func launched(op *mesos.Offer_Operation) []mesos.TaskInfo {
	switch op.Type {
	case mesos.Offer_Operation_LAUNCH:
		return op.GetLaunch().GetTaskInfos()
	case mesos.Offer_Operation_LAUNCH_GROUP:
		if group := op.GetLaunchGroup(); group != nil {
			return group.TaskGroup.Tasks
		}
	}
	return nil
}

// apply does one operation on what is left of the offers and returns what is left
// after it.
func (m *Master) apply(fw *framework, a *agent, role string, rest resources.Set, op *mesos.Offer_Operation) resources.Set {
	switch op.Type {
	case mesos.Offer_Operation_LAUNCH:
		if op.ID != nil {
			for _, info := range launched(op) {
				m.refuse(fw, &info, mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, "The `id` field cannot be set on LAUNCH operations")
			}
			return rest
		}
		// Amounts that make no sense spoil the whole operation, before anything else.
		if err := validateAmounts(launched(op)); err != nil {
			for _, info := range launched(op) {
				m.refuse(fw, &info, mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, err.Error())
			}
			return rest
		}
		for _, info := range launched(op) {
			rest = m.launch(fw, a, role, rest, info)
		}
		return rest
	case mesos.Offer_Operation_LAUNCH_GROUP:
		for _, info := range launched(op) {
			m.refuse(fw, &info, mesos.TASK_ERROR, mesos.REASON_TASK_GROUP_INVALID, "This master has no default executor: LAUNCH_GROUP is not supported")
		}
		return rest
	case mesos.Offer_Operation_RESERVE, mesos.Offer_Operation_UNRESERVE:
		return m.reserve(fw, a, role, rest, op)
	default:
		m.dropOperation(fw, a, op, fmt.Sprintf("This master does not support %s operations", op.Type))
		return rest
	}
}

func validateAmounts(tasks []mesos.TaskInfo) error {
	for i := range tasks {
		if err := resources.Validate(tasks[i].Resources); err != nil {
			return err
		}
		if err := resources.Validate(tasks[i].GetExecutor().GetResources()); err != nil {
			return err
		}
	}
	return nil
}

// dropOperation gives up an operation; the scheduler is told if it gave it an id.
func (m *Master) dropOperation(fw *framework, a *agent, op *mesos.Offer_Operation, message string) {
	m.log.Info("operation dropped", "framework", fw.id, "type", op.Type.String(), "reason", message)
	if op.ID == nil {
		return
	}
	m.send(fw, &scheduler.Event{
		Type: scheduler.Event_UPDATE_OPERATION_STATUS,
		UpdateOperationStatus: &scheduler.Event_UpdateOperationStatus{Status: mesos.OperationStatus{
			OperationID: op.ID,
			State:       mesos.OPERATION_ERROR,
			Message:     &message,
			AgentID:     &mesos.AgentID{Value: a.id},
		}},
	})
}

// launch starts one task, if it is valid, and takes its resources off the rest.
func (m *Master) launch(fw *framework, a *agent, role string, rest resources.Set, info mesos.TaskInfo) resources.Set {
	info.Resources = resources.Upgrade(info.Resources, role)
	if info.Executor != nil {
		executor := *info.Executor
		executor.Resources = resources.Upgrade(executor.Resources, role)
		if executor.FrameworkID == nil {
			executor.FrameworkID = fw.info.ID
		}
		info.Executor = &executor
	}
	if problem := m.refuseTask(fw, a, rest, &info); problem != "" {
		m.log.Info("task refused", "framework", fw.id, "task", info.TaskID.Value, "reason", problem)
		m.refuse(fw, &info, mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, problem)
		return rest
	}
	t := m.newTask(fw, a, info, mesos.TASK_STAGING)
	rest = rest.Minus(t.resources)
	start := false
	if info.Executor != nil && a.executors[fw.id][info.Executor.ExecutorID.Value] == nil {
		start = true
		m.addExecutor(a, fw, *info.Executor)
		rest = rest.Minus(resources.From(info.Executor.Resources))
	}
	a.link.RunTask(link.RunTask{Framework: fw.info, Task: info, LaunchExecutor: start || info.Executor == nil})
	return rest
}
