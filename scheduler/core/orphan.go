package core

import (
	"log/slog"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// An orphan is a task that Mesos has and we do not know: it is killed. That is safe
// because a Core never works without its complete state.

const mostOrphans = 10000

func (c *Core) updateOrphan(s *mesos.TaskStatus, state string) {
	id := s.TaskID.Value
	k := c.orphans[id]
	if terminal(state) || away(state) {
		c.endKill(k)
		delete(c.orphans, id)
		return
	}
	if s.AgentID == nil || len(c.orphans) >= mostOrphans || k != nil {
		return
	}
	c.counters.Orphans++
	k = &killing{task: id, agent: s.AgentID.Value, executor: id, begun: c.clock, orphan: true}
	if s.ExecutorID != nil {
		k.executor = s.ExecutorID.Value
	}
	c.orphans[id] = k
	c.queueKill(k)
	c.notice(slog.LevelWarn, "killing a task that is not in the state", "task", id, "state", state, "agent", k.agent)
}
