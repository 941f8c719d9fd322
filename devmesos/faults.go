package devmesos

import (
	"context"
	"fmt"
	"time"

	"lode/devmesos/internal/wire"
	"lode/devmesos/master"
)

// Failover says how a master is replaced.
type Failover struct {
	// Amnesia loses the registry, as with --registry=in_memory: the new master knows
	// no agent until it comes back.
	Amnesia bool
	// Downtime is how long nobody leads.
	Downtime time.Duration
}

// FailoverMaster ends the leading master as kill -9 does and has another one lead: on
// the next node if there are several, else at the same address.
func (c *Cluster) FailoverMaster(how Failover) error {
	c.KillMaster()
	time.Sleep(how.Downtime)
	return c.StartMaster(how.Amnesia)
}

// KillMaster ends the leading master as kill -9 does. Nobody leads until StartMaster.
func (c *Cluster) KillMaster() {
	c.mu.Lock()
	n := c.leader
	c.leader = -1
	c.mu.Unlock()
	if n < 0 {
		return
	}
	c.nodes[n].crash(true)
	for _, a := range c.agents {
		a.Detected(nil)
	}
}

// StartMaster has a new master lead after KillMaster.
func (c *Cluster) StartMaster(amnesia bool) error {
	if c.Master() != nil {
		return fmt.Errorf("start a master: one leads already at %s", c.MasterURL())
	}
	if amnesia {
		c.registry = new(master.Registry)
	}
	c.nodes[c.last].crash(len(c.nodes) == 1)
	return c.elect((c.last + 1) % len(c.nodes))
}

// Framing is how the master lays records out in the chunks of a stream; clients must
// not care. Use it with Master().Framing.
type Framing = wire.Framing

// The framings. A real master uses PlainFrames.
const (
	PlainFrames  = wire.Plain  // one record, one chunk
	SplitFrames  = wire.Split  // a record is spread over several chunks
	JoinedFrames = wire.Joined // several records share a chunk
)

// PartitionFor cuts the agent off from the master for a while; executors go on. It
// returns when the network is whole again, or ctx ends.
func (a *Agent) PartitionFor(ctx context.Context, d time.Duration) {
	a.Partition(true)
	defer a.Partition(false)
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Lose takes the agent away for good, like the loss of its host: every process on it
// ends, and the master learns of it only by missing answers to its pings.
func (a *Agent) Lose() {
	a.Partition(true)
	a.Close()
}
