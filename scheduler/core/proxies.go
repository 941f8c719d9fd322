package core

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"lode/message"
)

// The list is sent again until the miner says that it has it.
const (
	listFirst = 3 * time.Second
	listMost  = 30 * time.Second
	// awayPatience is how long a proxy may be out of Mesos' sight before it is
	// replaced. It may well serve its miners all the while, and comes back within
	// seconds when only the master is new.
	awayPatience = 10 * time.Second
)

// convergeProxy keeps the list of proxies true to what runs, replaces a proxy that
// is away for too long, and notes when miners lost their proxy.
func (c *Core) convergeProxy() {
	p := c.proxy()
	if p != nil && away(p.State) && c.now.Sub(p.Since) >= awayPatience && c.settled() {
		// Its successor has a higher epoch. It is killed when it is seen again.
		c.kill(p, "it was replaced while its agent was away")
		p = nil
	}
	switch {
	case p == nil:
		if c.proxyNeededSince.IsZero() {
			c.proxyNeededSince = c.now
		}
		c.publish(nil)
		if c.state.ProxyLost.IsZero() && c.tally().miners > 0 {
			c.state.ProxyLost = c.now
			c.dirty = true
		}
		if c.set.ProxyGrace == 0 {
			c.graceOver()
		}
	case p.State == stateRunning:
		c.proxyNeededSince = time.Time{}
		if addresses := p.Addresses; c.state.Operator.Paused {
			c.publish(nil) // miners idle, and keep their places
		} else {
			c.publish(addresses)
		}
		if !c.state.ProxyLost.IsZero() {
			c.state.ProxyLost = time.Time{}
			c.dirty = true
		}
	default:
		c.proxyNeededSince = time.Time{}
	}
}

// settled says that the scheduler can see what is going on: it is subscribed, and
// tasks of before were heard of or given their time.
func (c *Core) settled() bool { return c.connected && !c.launchesHeld() }

// publish changes the list that miners are told, if it is another one.
func (c *Core) publish(addresses []string) {
	if slices.Equal(addresses, c.state.Proxies.Addresses) && c.paused == c.state.Proxies.Paused {
		return
	}
	c.state.Epoch++
	c.state.Proxies = ProxyList{Epoch: c.state.Epoch, Addresses: slices.Clone(addresses), Paused: c.paused}
	c.dirty = true
	c.tell(Progress{Type: "proxies", Message: strings.Join(addresses, ", ")})
	for _, id := range c.taskIDs() {
		if t := c.state.Tasks[id]; t.Kind == KindMiner {
			c.runs[id].listSends = 0
			c.sendProxies(t)
		}
	}
}

func (c *Core) proxyList() *message.Proxies {
	return &message.Proxies{Epoch: c.state.Proxies.Epoch, Addresses: c.state.Proxies.Addresses, Paused: c.state.Proxies.Paused}
}

func (c *Core) sendProxies(t *Task) {
	if !c.connected || t.State != stateRunning || t.Kill != "" {
		return
	}
	r := c.runs[t.ID]
	r.listAt = c.now
	r.listSends++
	c.send(t, &message.ToExecutor{
		Event: &message.ToExecutor_Proxies{Proxies: c.proxyList()},
	})
}

// resendProxies repeats the list to miners that have not said that they have it.
func (c *Core) resendProxies() {
	for _, id := range c.taskIDs() {
		t, r := c.state.Tasks[id], c.runs[id]
		if t.Kind != KindMiner || r.knownEpoch >= c.state.Proxies.Epoch {
			continue
		}
		pause := exponential(listFirst, listMost, float64(r.listSends-1))
		if r.listSends == 0 || c.now.Sub(r.listAt) >= pause {
			c.sendProxies(t)
		}
	}
}

// send sends a framework message to the executor of a task.
func (c *Core) send(t *Task, m *message.ToExecutor) { c.sendTo(c.peerOf(t), m) }

// graceOver kills the miners when they were without a proxy for too long: idle tasks
// hold cpus that others could use.
func (c *Core) graceOver() {
	lost := c.state.ProxyLost
	if lost.IsZero() || c.state.Operator.Paused || !c.settled() || c.now.Sub(lost) < c.set.ProxyGrace {
		return
	}
	n := 0
	for _, id := range c.taskIDs() {
		if t := c.state.Tasks[id]; t.Kind == KindMiner && t.Kill == "" {
			c.kill(t, "there was no proxy for "+c.set.ProxyGrace.String())
			n++
		}
	}
	c.state.ProxyLost = time.Time{}
	c.dirty = true
	if n > 0 {
		c.notice(slog.LevelWarn, "killed all miners for want of a proxy", "miners", n, "grace", c.set.ProxyGrace)
	}
}
