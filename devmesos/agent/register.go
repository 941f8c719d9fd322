package agent

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
)

// detected follows a new leader, or waits for one.
func (p *process) detected(m link.Master) {
	p.master = m
	if p.state != running && p.state != disconnected {
		return // recovery goes on, or the end does
	}
	p.state = disconnected
	p.updates.Pause()
	p.registrant++ // attempts at the last leader are over
	if m == nil {
		p.log.Info("lost the leading master")
		return
	}
	p.register()
}

// register announces the agent to the master until it answers.
func (p *process) register() {
	p.registrant++
	p.attempt(p.registrant, p.config.Timing.RegistrationBackoff)
}

func (p *process) attempt(number int, backoff time.Duration) {
	if number != p.registrant || p.state != disconnected || p.master == nil {
		return
	}
	p.after(backoff, func() { p.attempt(number, min(2*backoff, registrationBackoffMax)) })
	switch {
	case p.agent.faults.partitioned():
	case p.info.ID == nil:
		p.log.Debug("registering")
		p.master.RegisterAgent(p.agent, p.info)
	default:
		p.log.Debug("reregistering", "agent", p.info.ID.Value)
		p.master.ReregisterAgent(p.agent, p.reregistration())
	}
}

// reregistration is everything that the master has to know of an agent that comes back.
func (p *process) reregistration() link.Reregistration {
	r := link.Reregistration{ID: *p.info.ID, Info: p.info, Draining: p.draining != nil}
	for _, f := range p.order {
		r.Frameworks = append(r.Frameworks, f.info)
		for _, e := range f.executors {
			if e.state == executorTerminated || e.generated {
				continue
			}
			r.Executors = append(r.Executors, link.Executor{FrameworkID: *f.info.ID, Info: e.info})
		}
		for _, e := range f.executors {
			for _, t := range e.tasks {
				if t.phase != phaseCompleted {
					r.Tasks = append(r.Tasks, p.describeTask(f, e, t))
				}
			}
		}
	}
	return r
}

func (p *process) describeTask(f *framework, e *executor, t *task) link.Task {
	described := link.Task{
		FrameworkID: *f.info.ID,
		Info:        t.info,
		ExecutorID:  e.info.ExecutorID,
		State:       t.state,
		Unacked:     p.updates.Pending(f.id(), t.info.TaskID.Value),
	}
	described.Info.Data = nil // agents do not keep it, masters never see it again
	if n := len(t.statuses); n > 0 {
		described.Status = &t.statuses[n-1]
	}
	return described
}

// registered is the answer to a first registration.
func (p *process) registered(m link.Master, id mesos.AgentID) {
	if m != p.master || p.state == recovering || p.state == terminating {
		return
	}
	p.pinged = time.Now()
	if p.state == running {
		return // an answer to a retry
	}
	p.log.Info("registered", "agent", id.Value)
	p.info.ID = &id
	p.state = running
	p.registrant++
	if err := p.checkpointAgent(); err != nil {
		p.log.Error("cannot checkpoint the agent", "error", err)
	}
	p.updates.Resume()
	p.reportOversubscribed()
	p.watchPings()
}

// reregistered is the answer to a return. Every head of an update stream goes out twice then, back to back, as
// recorded: once for the registration, and once for the framework information that a real master sends along.
func (p *process) reregistered(m link.Master, id mesos.AgentID) {
	if m != p.master || p.info.ID == nil || *p.info.ID != id || p.state == recovering || p.state == terminating {
		return
	}
	p.pinged = time.Now()
	if p.state == running {
		return
	}
	p.log.Info("reregistered", "agent", id.Value)
	p.state = running
	p.registrant++
	p.updates.Resume()
	p.updates.Resume()
	p.reportOversubscribed()
	p.watchPings()
}

func (p *process) ping(m link.Master) {
	if m != p.master {
		return
	}
	p.pinged = time.Now()
	p.say(func(m link.Master, id mesos.AgentID) { m.Pong(id) })
}

// watchPings registers again when the master is silent for too long: it may have given the agent up.
func (p *process) watchPings() {
	number := p.registrant
	wait := p.config.Timing.PingTimeout - time.Since(p.pinged)
	p.after(wait, func() {
		switch {
		case number != p.registrant || p.state != running:
		case time.Since(p.pinged) < p.config.Timing.PingTimeout:
			p.watchPings()
		default:
			p.log.Info("no pings from the master, registering again")
			p.detected(p.master)
		}
	})
}
