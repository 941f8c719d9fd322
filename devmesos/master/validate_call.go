package master

import (
	"net/http"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/wire"
)

// validateCall checks a scheduler's call before anything is looked up (namespace
// scheduler::call of src/master/validation.cpp). The principal is the authenticated
// one, or empty.
func validateCall(call *scheduler.Call, hasType bool, principal string) *wire.Refusal {
	refuse := func(format string, args ...any) *wire.Refusal {
		return wire.Refuse(http.StatusBadRequest, "Failed to validate scheduler::Call: "+format, args...)
	}
	if !hasType {
		return refuse("Expecting 'type' to be present")
	}
	id := call.GetFrameworkID().GetValue()
	if call.Type == scheduler.Call_SUBSCRIBE {
		if call.Subscribe == nil {
			return refuse("Expecting 'subscribe' to be present")
		}
		info := call.Subscribe.FrameworkInfo
		switch {
		case info.GetID().GetValue() != id:
			return refuse("'framework_id' differs from 'subscribe.framework_info.id'")
		case principal != "" && info.Principal != nil && *info.Principal != principal:
			return refuse("Authenticated principal '%s' does not match principal '%s' set in `FrameworkInfo`", principal, *info.Principal)
		}
		return nil
	}
	if call.FrameworkID == nil {
		return refuse("Expecting 'framework_id' to be present")
	}
	if name, present := subMessage(call); !present {
		return refuse("Expecting '%s' to be present", name)
	}
	switch call.Type {
	case scheduler.Call_ACKNOWLEDGE:
		if !wire.ValidUUID(call.Acknowledge.UUID) {
			return refuse("Not a valid UUID")
		}
	case scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS:
		if !wire.ValidUUID(call.AcknowledgeOperationStatus.UUID) {
			return refuse("Not a valid UUID")
		}
		if call.AcknowledgeOperationStatus.AgentID == nil {
			return refuse("Expecting 'agent_id' to be present")
		}
	case scheduler.Call_UPDATE_FRAMEWORK:
		info := call.UpdateFramework.FrameworkInfo
		switch {
		case info.GetID().GetValue() != id:
			return refuse("'framework_id' differs from 'update_framework.framework_info.id'")
		case principal != "" && info.Principal != nil && *info.Principal != principal:
			return refuse("Authenticated principal '%s' does not match principal '%s' set in `FrameworkInfo`", principal, *info.Principal)
		}
	}
	return nil
}

// subMessage names the part that belongs to the type of a call and says whether it is
// there. TEARDOWN, REVIVE, SUPPRESS need none.
func subMessage(call *scheduler.Call) (string, bool) {
	switch call.Type {
	case scheduler.Call_ACCEPT:
		return "accept", call.Accept != nil
	case scheduler.Call_DECLINE:
		return "decline", call.Decline != nil
	case scheduler.Call_ACCEPT_INVERSE_OFFERS:
		return "accept_inverse_offers", call.AcceptInverseOffers != nil
	case scheduler.Call_DECLINE_INVERSE_OFFERS:
		return "decline_inverse_offers", call.DeclineInverseOffers != nil
	case scheduler.Call_KILL:
		return "kill", call.Kill != nil
	case scheduler.Call_SHUTDOWN:
		return "shutdown", call.Shutdown != nil
	case scheduler.Call_ACKNOWLEDGE:
		return "acknowledge", call.Acknowledge != nil
	case scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS:
		return "acknowledge_operation_status", call.AcknowledgeOperationStatus != nil
	case scheduler.Call_RECONCILE:
		return "reconcile", call.Reconcile != nil
	case scheduler.Call_RECONCILE_OPERATIONS:
		return "reconcile_operations", call.ReconcileOperations != nil
	case scheduler.Call_MESSAGE:
		return "message", call.Message != nil
	case scheduler.Call_REQUEST:
		return "request", call.Request != nil
	case scheduler.Call_UPDATE_FRAMEWORK:
		return "update_framework", call.UpdateFramework != nil
	default:
		return "", true
	}
}
