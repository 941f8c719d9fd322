package miner

import (
	"log/slog"
	"sync"
)

// cookie is that of core scheduling (Documentation/admin-guide/hw-vuln/core-scheduling.rst of
// the kernel) which the hashing threads of an engine share: nobody else runs on the other cpu
// of a core while one of them does. Whoever has the higher priority is the one that runs.
type cookie struct {
	mu    sync.Mutex
	owner int32 // thread that made it; 0: nobody yet
	vain  bool  // the system has none
}

// join gives the calling thread the cookie. Where the system has none, that is logged once.
func (c *cookie) join(tid int32, s *system, log *slog.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.vain {
		return
	}
	var err error
	if c.owner == 0 {
		err = s.makeCookie()
	} else {
		err = s.copyCookie(c.owner)
	}
	if err != nil {
		c.vain = true
		if log != nil {
			log.Warn("no core scheduling for hashing threads: it needs Linux 5.14 or later with CONFIG_SCHED_CORE, and cores of two cpus", "error", err)
		}
		return
	}
	if c.owner == 0 {
		c.owner = tid
	}
}

// givesWay says whether the group loses its cpus to any other group that wants them: by
// cpu.idle, or by the least weight, which Mesos gives to revocable resources.
func (h *Host) givesWay() bool {
	return h.IdleGroup || h.Cgroup == 2 && h.Weight == 1 || h.Cgroup == 1 && h.Weight > 0 && h.Weight <= 10
}
