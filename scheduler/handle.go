package scheduler

import (
	"strings"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler/api"
	"lode/scheduler/core"
	"lode/scheduler/driver"
)

// handle turns what the driver says into events of the core. It returns when the
// event is queued; with some of them when all is done that follows from it, so that
// the driver does not subscribe again meanwhile: ERROR may end the scheduler, and
// without the id that SUBSCRIBED brings the master would make another framework.
func (s *Scheduler) handle(e driver.Event) {
	event := translate(e)
	if event == nil {
		if e.Mesos == nil {
			return
		}
		switch t := e.Mesos.GetType(); t {
		case scheduler.Event_HEARTBEAT, scheduler.Event_RESCIND_INVERSE_OFFER: // each of those was answered at once
		default:
			s.log.Warn("event of the master ignored: it is not understood", "type", t.String())
		}
		return
	}
	q := queued{event: event}
	switch event.(type) {
	case core.Error, core.Subscribed, core.Offers: // and not more offers than can be looked at
		q.done = make(chan struct{})
	}
	if s.enqueue(q) && q.done != nil {
		select {
		case <-q.done:
		case <-s.stopped:
		}
	}
}

// translate returns nil for what the core needs not know: heartbeats, inverse offers
// that are taken back, and events that a newer Mesos may have.
func translate(e driver.Event) core.Event {
	switch {
	case e.Lost != nil:
		return core.Disconnected{Reason: e.Lost.Error()}
	case e.Refused != nil:
		refused := core.Refused{Session: e.Session, Tasks: launched(e.Refused), Unsure: e.Unsure}
		if e.Why != nil {
			refused.Why = e.Why.Error()
		}
		return refused
	case e.Mesos == nil:
		return nil
	}
	m := e.Mesos
	switch m.Type {
	case scheduler.Event_SUBSCRIBED:
		if m.Subscribed != nil && m.Subscribed.FrameworkID != nil {
			return core.Subscribed{FrameworkID: m.Subscribed.FrameworkID.Value, Master: e.Master, Session: e.Session}
		}
	case scheduler.Event_OFFERS:
		if m.Offers != nil {
			return core.Offers{Offers: m.Offers.Offers}
		}
	case scheduler.Event_RESCIND:
		if m.Rescind != nil {
			return core.Rescind{OfferID: m.Rescind.OfferID.Value}
		}
	case scheduler.Event_INVERSE_OFFERS:
		if m.InverseOffers != nil {
			return core.InverseOffers{Offers: m.InverseOffers.InverseOffers}
		}
	case scheduler.Event_UPDATE:
		if m.Update != nil {
			return core.Update{Status: m.Update.Status}
		}
	case scheduler.Event_MESSAGE:
		if m.Message != nil {
			return core.Message{
				AgentID: m.Message.AgentID.Value, ExecutorID: m.Message.ExecutorID.Value, Data: m.Message.Data,
			}
		}
	case scheduler.Event_FAILURE:
		if f := m.Failure; f != nil && f.AgentID != nil {
			event := core.Failure{AgentID: f.AgentID.Value}
			if f.ExecutorID != nil {
				event.ExecutorID = f.ExecutorID.Value
			}
			return event
		}
	case scheduler.Event_ERROR:
		if m.Error != nil {
			return core.Error{Message: m.Error.Message}
		}
	}
	return nil
}

// launched are the ids of the tasks that an ACCEPT launches.
func launched(call *scheduler.Call) (ids []string) {
	for _, o := range call.GetAccept().GetOperations() {
		for _, t := range o.GetLaunch().GetTaskInfos() {
			ids = append(ids, t.TaskID.Value)
		}
	}
	return ids
}

// progress tells those who watch.
func (s *Scheduler) progress(a core.Action) {
	switch a := a.(type) {
	case core.Connected:
		s.log.Info("subscribed", "framework", a.FrameworkID, "master", a.Master)
		s.tell(Event{Type: EventSubscribed, FrameworkID: a.FrameworkID, Master: a.Master})
	case core.Lost:
		s.log.Warn("subscription lost", "reason", a.Reason)
		s.tell(Event{Type: EventLost, Message: a.Reason})
	case core.Accepted:
		d := decisionOf(&a.Decision)
		s.log.Info("offer accepted", "offer", d.OfferID, "agent", d.Hostname, "resources", d.Resources, "tasks", d.Tasks)
		s.tell(Event{Type: EventOffer, Decision: d})
	case core.TaskChanged:
		s.log.Info("task", "task", a.Task.ID, "state", a.Task.State, "agent", a.Task.Hostname, "killing", string(a.Task.Kill))
		message := ""
		if a.Why != "" {
			message = "killing: " + string(a.Why)
		}
		s.tell(Event{Type: EventTask, Task: taskOf(&a.Task), Message: message})
	case core.Ran:
		s.metrics.launch.Observe(a.Took.Seconds())
	case core.TaskEnded:
		e := &a.Ended
		s.tally.ended(e.ID)
		s.log.Info("task ended", "task", e.ID, "state", e.State, "reason", e.Reason, "cause", e.Cause,
			"message", e.Message, "agent", e.Hostname, "wanted", e.Wanted)
		s.tell(Event{Type: EventEnded, Ended: endedOf(e)})
		s.failed(*e)
	case core.ProxiesChanged:
		addresses := strings.Join(a.Addresses, ", ")
		s.log.Info("miners are told of proxies", "addresses", addresses)
		s.tell(Event{Type: EventProxies, Message: addresses})
	case core.BlockChanged:
		b := blockOf(&a.Block)
		s.log.Info("block", "height", b.Height, "hash", b.Hash, "state", b.State, "finder", b.Finder)
		s.tell(Event{Type: EventBlock, Block: b})
	case core.Operated:
		s.log.Info("audit: " + a.What)
		s.tell(Event{Type: EventOperator, Message: a.What})
	case core.Hopeless:
		s.tell(Event{Type: EventHopeless, Message: a.Text})
	case core.SecretsGiven:
		s.log.Info("audit: secrets given out", "task", a.Task.ID, "agent", a.Task.AgentID, "host", a.Task.Hostname, "what", a.What)
		s.tell(Event{Type: EventSecrets, Task: taskOf(&a.Task), Message: a.What})
	case core.Reported:
		t := taskOf(&a.Task)
		s.tally.report(t)
		s.tell(Event{Type: EventReport, Task: t})
	}
}

func (s *Scheduler) tell(e Event) {
	e.Time = time.Now()
	if e.Type != EventReport { // thousands a second, and in the status anyway
		s.feed.Add(api.Event{
			Time: e.Time, Type: string(e.Type), Message: e.Message, Agent: e.Agent, Master: e.Master,
			Task: e.Task, Ended: e.Ended, Block: e.Block, Decision: e.Decision,
		})
	}
	if s.config.OnEvent == nil {
		return
	}
	s.tellMu.Lock()
	defer s.tellMu.Unlock()
	s.config.OnEvent(e)
}
