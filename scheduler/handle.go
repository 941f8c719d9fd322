package scheduler

import (
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
		return core.Refused{Session: e.Session, Tasks: launched(e.Refused), Unsure: e.Unsure}
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
func (s *Scheduler) progress(p core.Progress) {
	switch EventType(p.Type) {
	case EventReport:
		s.tally.report(p.Task)
	case EventEnded:
		s.tally.ended(p.Ended.ID)
	}
	s.logProgress(p)
	s.tell(Event{
		Type: EventType(p.Type), FrameworkID: p.FrameworkID, Master: p.Master, Message: p.Message,
		Task: p.Task, Ended: p.Ended, Block: p.Block, Decision: p.Decision,
	})
}

func (s *Scheduler) logProgress(p core.Progress) {
	switch EventType(p.Type) {
	case EventSubscribed:
		s.log.Info("subscribed", "framework", p.FrameworkID, "master", p.Master)
	case EventLost:
		s.log.Warn("subscription lost", "reason", p.Message)
	case EventOffer:
		s.log.Info("offer accepted", "offer", p.Decision.OfferID, "agent", p.Decision.Hostname,
			"resources", p.Decision.Resources, "tasks", p.Decision.Tasks)
	case EventTask:
		s.log.Info("task", "task", p.Task.ID, "state", p.Task.State, "agent", p.Task.Hostname, "killing", p.Task.Killing)
	case EventEnded:
		s.log.Info("task ended", "task", p.Ended.ID, "state", p.Ended.State, "reason", p.Ended.Reason,
			"message", p.Ended.Message, "agent", p.Ended.Hostname, "wanted", p.Ended.Wanted)
	case EventProxies:
		s.log.Info("miners are told of proxies", "addresses", p.Message)
	case EventBlock:
		s.log.Info("block", "height", p.Block.Height, "hash", p.Block.Hash, "state", p.Block.State, "finder", p.Block.Finder)
	case EventOperator:
		s.log.Info("audit: " + p.Message)
	case EventSecrets:
		s.log.Info("audit: secrets given out", "task", p.Task.ID, "agent", p.Task.AgentID, "host", p.Task.Hostname, "what", p.Message)
	case EventReport:
		s.log.Debug("report", "task", p.Task.ID, "hashrate", p.Task.Hashrate)
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
