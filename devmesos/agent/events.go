package agent

import (
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	executorapi "github.com/mesos/mesos-go/api/v1/lib/executor"
)

// send puts an event on the executor's stream. Without a stream it is lost, as on a real agent.
func (e *executor) send(event *executorapi.Event) {
	if e.stream != nil {
		_ = e.stream.Send(event) // a stream that is at its end loses events too
	}
}

func (e *executor) sendSubscribed(info mesos.AgentInfo) {
	e.send(&executorapi.Event{
		Type: executorapi.Event_SUBSCRIBED,
		Subscribed: &executorapi.Event_Subscribed{
			ExecutorInfo:  e.info,
			FrameworkInfo: e.framework.info,
			AgentInfo:     info,
			ContainerID:   &mesos.ContainerID{Value: e.container},
		},
	})
}

func (e *executor) sendLaunch(task mesos.TaskInfo) {
	e.send(&executorapi.Event{Type: executorapi.Event_LAUNCH, Launch: &executorapi.Event_Launch{Task: task}})
}

func (e *executor) sendKill(task mesos.TaskID, policy *mesos.KillPolicy) {
	e.send(&executorapi.Event{Type: executorapi.Event_KILL, Kill: &executorapi.Event_Kill{TaskID: task, KillPolicy: policy}})
}

func (e *executor) sendAcknowledged(task mesos.TaskID, uuid []byte) {
	e.send(&executorapi.Event{
		Type:         executorapi.Event_ACKNOWLEDGED,
		Acknowledged: &executorapi.Event_Acknowledged{TaskID: task, UUID: slices.Clone(uuid)},
	})
}

func (e *executor) sendMessage(data []byte) {
	if data == nil {
		data = []byte{} // a required field, even if empty
	}
	e.send(&executorapi.Event{Type: executorapi.Event_MESSAGE, Message: &executorapi.Event_Message{Data: data}})
}

func (e *executor) sendShutdown() { e.send(shutdownEvent()) }

func shutdownEvent() *executorapi.Event {
	return &executorapi.Event{Type: executorapi.Event_SHUTDOWN}
}

// beat sends heartbeats until the stream is replaced.
func (p *process) beat(e *executor) {
	e.heartbeat = p.after(p.config.Timing.ExecutorHeartbeat, func() {
		e.send(&executorapi.Event{Type: executorapi.Event_HEARTBEAT})
		p.beat(e)
	})
}

// endStream ends the executor's stream in good order.
func (e *executor) endStream() {
	e.heartbeat()
	if e.stream != nil {
		e.stream.Close()
		e.stream = nil
	}
}
