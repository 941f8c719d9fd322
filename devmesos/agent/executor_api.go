package agent

import (
	"net/http"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	executorapi "github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/devmesos/internal/wire"
)

const notRecovered = "Agent has not finished recovery"

// serveExecutor is POST /api/v1/executor. The order of its checks is that of Http::executor
// in src/slave/http.cpp of Mesos, the texts were recorded (traces 03b, 03c, 17).
func (p *process) serveExecutor(w http.ResponseWriter, r *http.Request) {
	claims, refusal := p.authenticate(r)
	if refusal != nil {
		refusal.Write(w)
		return
	}
	if !p.may(func() bool { return p.reconnect }) {
		wire.WriteText(w, http.StatusServiceUnavailable, notRecovered)
		return
	}
	var call executorapi.Call
	read, refusal := wire.ReadCall(r, &call)
	if refusal == nil {
		refusal = validateCall(&call, read.HasType)
	}
	if refusal != nil {
		refusal.Write(w)
		return
	}
	var codec wire.Codec
	switch call.Type {
	case executorapi.Call_SUBSCRIBE:
		if codec, refusal = wire.Accept(r); refusal != nil {
			refusal.Write(w)
			return
		}
	case executorapi.Call_HEARTBEAT:
		wire.WriteText(w, http.StatusAccepted, "")
		return
	}
	var stream *wire.Stream
	if !p.inbox.do(func() { stream, refusal = p.executorCall(&call, claims, codec) }) {
		panic(http.ErrAbortHandler) // the agent was killed meanwhile
	}
	switch {
	case refusal != nil:
		refusal.Write(w)
	case stream != nil:
		stream.Serve(w, r)
	default:
		wire.WriteText(w, http.StatusAccepted, "")
	}
}

// may asks the actor a question; a dead one says no.
func (p *process) may(question func() bool) (yes bool) {
	p.inbox.do(func() { yes = question() })
	return yes
}

// executorCall acts on a call that is valid in itself.
func (p *process) executorCall(call *executorapi.Call, claims *claims, codec wire.Codec) (*wire.Stream, *wire.Refusal) {
	if p.state == recovering && call.Type != executorapi.Call_SUBSCRIBE {
		return nil, wire.Refuse(http.StatusServiceUnavailable, notRecovered)
	}
	f := p.frameworks[call.FrameworkID.Value]
	if f == nil {
		return nil, wire.Refuse(http.StatusBadRequest, "Framework cannot be found")
	}
	e := f.executor(call.ExecutorID.Value)
	if e == nil {
		return nil, wire.Refuse(http.StatusBadRequest, "Executor cannot be found")
	}
	if refusal := claims.verify(e); refusal != nil {
		return nil, refusal
	}
	if e.state == executorRegistering && call.Type != executorapi.Call_SUBSCRIBE {
		return nil, wire.Refuse(http.StatusForbidden, "Executor is not subscribed")
	}
	switch call.Type {
	case executorapi.Call_SUBSCRIBE:
		return p.subscribe(e, call.Subscribe, codec), nil
	case executorapi.Call_UPDATE:
		p.statusUpdate(f, call.Update.Status)
	case executorapi.Call_MESSAGE:
		p.executorMessage(e, call.Message.Data)
	default:
		return nil, wire.Refuse(http.StatusNotImplemented, "501 Not Implemented.")
	}
	return nil, nil
}

// subscribe connects an executor (Slave::subscribe).
func (p *process) subscribe(e *executor, call *executorapi.Call_Subscribe, codec wire.Codec) *wire.Stream {
	stream := wire.NewStream(codec)
	if p.state == terminating || e.framework.terminating || e.state == executorTerminating || e.state == executorTerminated {
		_ = stream.Send(shutdownEvent())
		stream.Close()
		return stream
	}
	e.endStream()
	e.stream = stream
	e.state = executorRunning
	p.findPid(e)
	p.beat(e)
	if e.checkpoint {
		p.checkpointHTTP(e)
	}
	for _, u := range call.UnacknowledgedUpdates {
		p.statusUpdate(e.framework, u.Status)
	}
	known := make(map[string]bool)
	for _, t := range call.UnacknowledgedTasks {
		known[t.TaskID.Value] = true
	}
	for _, t := range e.in(phaseLaunched) {
		if t.state == mesos.TASK_STAGING && !known[t.info.TaskID.Value] {
			// The agent died before the executor got the task.
			t.beforeLaunch = true
			p.ownUpdate(e.framework, t.info.TaskID, &e.info.ExecutorID, e.framework.dropped(), mesos.REASON_AGENT_RESTARTED,
				"Task launched during agent restart", nil)
		}
	}
	if p.shutDownIfUseless(e) {
		return stream
	}
	e.sendSubscribed(p.info)
	p.deliver(e)
	return stream
}

// validateCall checks a call by itself (validateExecutorCall in src/common/validation.cpp of Mesos).
func validateCall(call *executorapi.Call, hasType bool) *wire.Refusal {
	fail := func(format string, args ...any) *wire.Refusal {
		return wire.Refuse(http.StatusBadRequest, "Failed to validate Executor::Call: "+format, args...)
	}
	if !hasType {
		return fail("Expecting 'type' to be present")
	}
	switch call.Type {
	case executorapi.Call_SUBSCRIBE:
		if call.Subscribe == nil {
			return fail("Expecting 'subscribe' to be present")
		}
	case executorapi.Call_MESSAGE:
		if call.Message == nil {
			return fail("Expecting 'message' to be present")
		}
	case executorapi.Call_UPDATE:
		if call.Update == nil {
			return fail("Expecting 'update' to be present")
		}
		status := call.Update.Status
		switch {
		case status.UUID == nil:
			return fail("Expecting 'uuid' to be present")
		case !wire.ValidUUID(status.UUID):
			return fail("Not a valid UUID")
		case status.ExecutorID != nil && *status.ExecutorID != call.ExecutorID:
			return fail("ExecutorID in Call: %s does not match ExecutorID in TaskStatus: %s", call.ExecutorID.Value, status.ExecutorID.Value)
		case status.GetSource() != mesos.SOURCE_EXECUTOR || status.Source == nil:
			return fail("Received Call from executor %s of framework %s with invalid source, expecting 'SOURCE_EXECUTOR'",
				call.ExecutorID.Value, call.FrameworkID.Value)
		case status.GetState() == mesos.TASK_STAGING:
			return fail("Received TASK_STAGING from executor %s of framework %s which is not allowed",
				call.ExecutorID.Value, call.FrameworkID.Value)
		}
	}
	return nil
}

// handler routes by the longest prefix, with and without the actor's name.
func (p *process) handler() http.Handler {
	routes := p.routes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if rest, ok := strings.CutPrefix(path, "/slave(1)"); ok && (rest == "" || rest[0] == '/') {
			path = rest
		}
		for at := strings.TrimRight(path, "/"); at != ""; at = at[:strings.LastIndexByte(at, '/')] {
			if serve := routes[at]; serve != nil {
				serve(w, r)
				return
			}
		}
		wire.WriteText(w, http.StatusNotFound, "404 Not Found.")
	})
}
