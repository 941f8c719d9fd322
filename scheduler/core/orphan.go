package core

import (
	"log/slog"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// An orphan is a task that Mesos has and we do not know: it is killed. That is safe
// because a Core never works without its complete state.

const mostOrphans = 10000

func (c *Core) updateOrphan(s *mesos.TaskStatus, state string) {
	id := s.TaskID.Value
	c.skipNumber(id)
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

// mostSkipped is how far the number of an unknown task may be ahead: it may be a lie.
const mostSkipped = 1 << 32

// skipNumber keeps the number of an unknown task from being used again: it is from before
// the state was brought back from a copy.
func (c *Core) skipNumber(id string) {
	if !strings.HasPrefix(id, "miner-") && !strings.HasPrefix(id, "proxy-") {
		return
	}
	n, err := strconv.ParseUint(id[strings.LastIndexByte(id, '-')+1:], 10, 64)
	if next := c.state.NextTask; err == nil && n > next && n-next < mostSkipped {
		c.state.NextTask, c.dirty = n, true
	}
}
