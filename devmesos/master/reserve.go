package master

import (
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/resources"
)

// reserve does a RESERVE or UNRESERVE on what is left of the offers: the agent's
// resources change their kind, and stay so.
func (m *Master) reserve(fw *framework, a *agent, role string, rest resources.Set, op *mesos.Offer_Operation) resources.Set {
	var from, to resources.Set
	switch {
	case op.Reserve != nil:
		to = resources.From(resources.Upgrade(op.Reserve.Resources, role))
		from = to.PopReservation()
	case op.Unreserve != nil:
		from = resources.From(resources.Upgrade(op.Unreserve.Resources, role))
		to = from.PopReservation()
	default:
		m.dropOperation(fw, a, op, "The operation has no resources")
		return rest
	}
	switch {
	case from.Equal(to):
		m.dropOperation(fw, a, op, "The resources have no reservation")
		return rest
	case !rest.Contains(from):
		m.dropOperation(fw, a, op, "Invalid resources: "+from.String()+" is more than available "+rest.String())
		return rest
	}
	a.total = a.total.Minus(from.Unallocated()).Plus(to.Unallocated())
	m.log.Info("resources reserved or unreserved", "framework", fw.id, "agent", a.id, "from", from.String(), "to", to.String())
	if op.ID != nil {
		m.finishOperation(fw, a, op)
	}
	return rest.Minus(from).Plus(to)
}

// finishOperation tells a scheduler that asked for it that an operation is done.
func (m *Master) finishOperation(fw *framework, a *agent, op *mesos.Offer_Operation) {
	m.send(fw, &scheduler.Event{
		Type: scheduler.Event_UPDATE_OPERATION_STATUS,
		UpdateOperationStatus: &scheduler.Event_UpdateOperationStatus{Status: mesos.OperationStatus{
			OperationID: op.ID,
			State:       mesos.OPERATION_FINISHED,
			AgentID:     &mesos.AgentID{Value: a.id},
		}},
	})
}
