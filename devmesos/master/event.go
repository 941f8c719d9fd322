package master

import (
	"fmt"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func sprintID(master, format string, n int) string { return fmt.Sprintf(format, master, n) }

func errorEvent(message string) *scheduler.Event {
	return &scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: message}}
}

func updateEvent(status mesos.TaskStatus) *scheduler.Event {
	return &scheduler.Event{Type: scheduler.Event_UPDATE, Update: &scheduler.Event_Update{Status: status}}
}

func rescindEvent(id string) *scheduler.Event {
	return &scheduler.Event{Type: scheduler.Event_RESCIND, Rescind: &scheduler.Event_Rescind{OfferID: mesos.OfferID{Value: id}}}
}

// failureEvent tells of the end of an executor, or, without one, of an agent.
func failureEvent(agent, executor string, status *int32) *scheduler.Event {
	failure := &scheduler.Event_Failure{AgentID: &mesos.AgentID{Value: agent}, Status: status}
	if executor != "" {
		failure.ExecutorID = &mesos.ExecutorID{Value: executor}
	}
	return &scheduler.Event{Type: scheduler.Event_FAILURE, Failure: failure}
}
