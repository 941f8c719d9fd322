package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Operator is what operators decided while the scheduler ran. It goes before what
// the scheduler was started with, and is stored.
type Operator struct {
	Paused bool `json:"paused,omitempty"`
	// PausedBy is who paused mining, and why.
	PausedBy string `json:"paused_by,omitempty"`
	// MaxMiners and MaxCPUs bound miners; nil: as Settings have it.
	MaxMiners *int     `json:"max_miners,omitempty"`
	MaxCPUs   *float64 `json:"max_cpus,omitempty"`
	// AgentCPUs bound the cpus of miners on an agent, by id or hostname.
	AgentCPUs map[string]float64 `json:"agent_cpus,omitempty"`
	Drained   map[string]Drain   `json:"drained,omitempty"`
	// Upgrade is running or paused; "": as Settings have it.
	Upgrade string `json:"upgrade,omitempty"`
	// Pinned is the digest that an operator went back to; "": the newest is used.
	Pinned string   `json:"pinned,omitempty"`
	Log    []Record `json:"log,omitempty"` // newest first
}

// Drain says who wanted nothing on an agent, and why.
type Drain struct {
	Since  time.Time `json:"since"`
	Who    string    `json:"who"`
	Reason string    `json:"reason,omitempty"`
}

// Record is a command that was carried out.
type Record struct {
	Time time.Time `json:"time"`
	Who  string    `json:"who"`
	What string    `json:"what"`
}

const (
	mostRecords = 100
	// mostDrained bounds what operators may say of agents: it is stored as a whole.
	mostDrained = 10_000
	// killedPause is for how long the agent of a task that an operator killed is left
	// alone.
	killedPause = 10 * time.Minute

	upgradeRunning = "running"
	upgradePaused  = "paused"
)

// Artifact is an executor binary. Archive is where it is in a .tar.gz, too, which is
// smaller; "": nowhere.
type Artifact struct{ URL, Digest, Archive string }

// Operate is a command of an operator. What became of it is written into Result.
type Operate struct {
	Who    string
	Reason string

	Pause, Resume bool
	Scale         *Scale
	Drain         string // agent
	Undrain       string
	Restart       string // task
	Kill          string
	Upgrade       string // start, pause or rollback
	Artifact      *Artifact
	Rotate        *RotateKeys

	Result *Result
}

// Scale bounds miners. nil: as it is.
type Scale struct {
	MaxMiners *int // negative: as Settings have it
	MaxCPUs   *float64
	Agent     string // "": the cluster
}

// Result is what became of a command.
type Result struct {
	Done, Refused string
	NotFound      bool
}

func (Operate) event() {}

func (c *Core) operate(e Operate) {
	done, err := c.carryOut(&e)
	if err != nil {
		e.Result.Refused = err.Error()
		_, e.Result.NotFound = err.(notFound)
		return
	}
	e.Result.Done = done
	what := done
	if e.Reason != "" {
		what += ": " + limit(e.Reason, 255)
	}
	o := &c.state.Operator
	o.Log = slices.Insert(o.Log, 0, Record{Time: c.now, Who: limit(e.Who, 255), What: what})
	o.Log = o.Log[:min(len(o.Log), mostRecords)]
	c.dirty = true
	c.revive.had = need{} // what is wanted again may have been refused for minutes
	c.tell(Operated{limit(e.Who, 255) + ": " + what})
}

// notFound is the error of a command for something that is not there.
type notFound string

func (n notFound) Error() string { return string(n) }

func (c *Core) carryOut(e *Operate) (done string, err error) {
	o := &c.state.Operator
	switch {
	case e.Pause:
		return c.operatorPause(e), nil
	case e.Resume:
		return c.operatorResume(), nil
	case e.Scale != nil:
		return c.scale(e.Scale)
	case e.Drain != "":
		return c.drain(e)
	case e.Undrain != "":
		if _, ok := o.Drained[e.Undrain]; !ok {
			return "", notFound(fmt.Sprintf("%s is not drained", e.Undrain))
		}
		delete(o.Drained, e.Undrain)
		return e.Undrain + " may be used again", nil
	case e.Restart != "", e.Kill != "":
		return c.endTask(e)
	case e.Upgrade != "":
		return c.upgrade(e)
	case e.Rotate != nil:
		c.rotateKeys(*e.Rotate)
		return "the key of the miners' passwords is rotated", nil
	}
	return "", fmt.Errorf("the command says nothing")
}

func (c *Core) scale(s *Scale) (string, error) {
	o := &c.state.Operator
	if s.Agent != "" {
		if !c.knowsAgent(s.Agent) {
			return "", notFound(fmt.Sprintf("no agent %s is known", s.Agent))
		}
		if *s.MaxCPUs == 0 {
			delete(o.AgentCPUs, s.Agent)
			return s.Agent + " may be used without a bound", nil
		}
		if len(o.AgentCPUs) >= mostDrained {
			return "", fmt.Errorf("%d agents have bounds already", len(o.AgentCPUs))
		}
		if o.AgentCPUs == nil {
			o.AgentCPUs = make(map[string]float64)
		}
		o.AgentCPUs[s.Agent] = *s.MaxCPUs
		c.trim()
		return fmt.Sprintf("at most %g cpus are used on %s", *s.MaxCPUs, s.Agent), nil
	}
	if s.MaxMiners != nil {
		if o.MaxMiners = s.MaxMiners; *s.MaxMiners < 0 {
			o.MaxMiners = nil
		}
	}
	if s.MaxCPUs != nil {
		if o.MaxCPUs = s.MaxCPUs; *s.MaxCPUs == 0 {
			o.MaxCPUs = nil
		}
	}
	c.trim()
	text := "any number of miners"
	if n := c.maxMiners(); n >= 0 {
		text = fmt.Sprintf("at most %d miners", n)
	}
	if o.MaxCPUs != nil {
		text += fmt.Sprintf(" with at most %g cpus", *o.MaxCPUs)
	}
	return text, nil
}

// maxMiners is how many miners there may be; -1: there is no bound.
func (c *Core) maxMiners() int {
	switch o := c.state.Operator; {
	case o.MaxMiners != nil:
		return *o.MaxMiners
	case c.set.MaxMiners > 0:
		return c.set.MaxMiners
	}
	return -1
}

// trim ends miners that are above the bounds, the newest first. What is away does not
// count: it was replaced, and is looked at when it comes back.
func (c *Core) trim() {
	var miners []*Task
	for _, t := range c.tasks {
		if t.Kind == KindMiner && t.Kill == "" && !away(t.State) {
			miners = append(miners, t)
		}
	}
	slices.SortFunc(miners, func(a, b *Task) int {
		if d := a.LaunchedAt.Compare(b.LaunchedAt); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	n, cpus, agents := 0, int64(0), make(map[string]int64)
	for _, t := range miners {
		most, bounded := c.agentBound(t.AgentID, t.Hostname)
		switch {
		case c.maxMiners() >= 0 && n >= c.maxMiners(),
			c.state.Operator.MaxCPUs != nil && cpus+t.CPUs > toMilli(*c.state.Operator.MaxCPUs),
			bounded && agents[t.AgentID]+t.CPUs > most:
			c.kill(t, WhyFewer)
			continue
		}
		n, cpus = n+1, cpus+t.CPUs
		agents[t.AgentID] += t.CPUs
	}
}

// exceeded says that there are more miners than there may be, in all or on an agent.
func (c *Core) exceeded(a *agent) bool {
	if most := c.maxMiners(); most >= 0 && c.sums.live > most {
		return true
	}
	if most := c.state.Operator.MaxCPUs; most != nil && c.sums.cpus > toMilli(*most) {
		return true
	}
	most, bounded := c.agentBound(a.id, a.hostname)
	return bounded && a.cpus > most
}

func (c *Core) agentBound(id, hostname string) (milli int64, bounded bool) {
	for _, name := range []string{id, hostname} {
		if most, ok := c.state.Operator.AgentCPUs[name]; ok && name != "" {
			return toMilli(most), true
		}
	}
	return 0, false
}

// cpuRoom is how many cpus, in thousandths, miners on an agent may have beside those
// that they have and the launches that are planned; negative: there is no bound. Of an
// agent without a name it is what is left for all.
func (c *Core) cpuRoom(a *agent, planned []launch) int64 {
	o := &c.state.Operator
	if o.MaxCPUs == nil && len(o.AgentCPUs) == 0 {
		return -1
	}
	most, bounded := c.agentBound(a.id, a.hostname)
	if !bounded && o.MaxCPUs == nil {
		return -1
	}
	here, all := a.cpus, c.sums.cpus
	for _, l := range planned {
		if l.task.Kind == KindMiner {
			all, here = all+l.task.CPUs, here+l.task.CPUs
		}
	}
	room := int64(1) << 60
	if bounded {
		room = most - here
	}
	if o.MaxCPUs != nil {
		room = min(room, toMilli(*o.MaxCPUs)-all)
	}
	return max(0, room)
}

func (c *Core) knowsAgent(name string) bool {
	for _, a := range c.agents {
		if a.id == name || a.hostname == name {
			return true
		}
	}
	for _, t := range c.tasks {
		if t.AgentID == name || t.Hostname == name {
			return true
		}
	}
	return false
}

func (c *Core) drain(e *Operate) (string, error) {
	o := &c.state.Operator
	switch {
	case !c.knowsAgent(e.Drain):
		return "", notFound(fmt.Sprintf("no agent %s is known: no offer of it came lately, and no task is on it", e.Drain))
	case len(o.Drained) >= mostDrained:
		return "", fmt.Errorf("%d agents are drained already", len(o.Drained))
	}
	if o.Drained == nil {
		o.Drained = make(map[string]Drain)
	}
	o.Drained[e.Drain] = Drain{Since: c.now, Who: limit(e.Who, 255), Reason: limit(e.Reason, 255)}
	n := 0
	for _, id := range sortedKeysOf(c.state.Tasks) {
		if t := c.state.Tasks[id]; t.AgentID == e.Drain || t.Hostname == e.Drain {
			n++
			if t.Kind == KindProxy && c.slotOf(t).active == t && c.slotOf(t).health >= healthDoubtful {
				c.slotOf(t).stale = true
				c.watchDrain(t) // another one takes over first
				continue
			}
			c.kill(t, WhyDrained)
		}
	}
	return fmt.Sprintf("%s is drained: %d tasks end", e.Drain, n), nil
}

// drained says who wanted nothing on an agent, if anybody did.
func (c *Core) drained(id, hostname string) (d Drain, yes bool) {
	for _, name := range []string{id, hostname} {
		if d, ok := c.state.Operator.Drained[name]; ok && name != "" {
			return d, true
		}
	}
	return Drain{}, false
}

func (c *Core) endTask(e *Operate) (string, error) {
	id := e.Restart + e.Kill
	t := c.state.Tasks[id]
	switch {
	case t == nil:
		return "", notFound(fmt.Sprintf("there is no task %s", id))
	case t.Kill != "":
		return "", fmt.Errorf("%s is being killed already: %s", id, t.Kill)
	}
	a := c.agent(t.AgentID, t.Hostname)
	if e.Kill != "" {
		c.leaveAlone(a, killedPause)
		c.kill(t, "an operator killed it")
		return id + " is killed", nil
	}
	a.until = 0
	c.proxies.reset()
	clear(c.causes)
	c.kill(t, "an operator restarts it")
	return id + " is restarted", nil
}

// upgrading says that tasks of another executor are to be replaced.
func (c *Core) upgrading() bool {
	switch c.state.Operator.Upgrade {
	case upgradeRunning:
		return true
	case upgradePaused:
		return false
	}
	return c.set.Upgrade
}

func (c *Core) upgrade(e *Operate) (string, error) {
	o := &c.state.Operator
	former := c.artifact()
	c.rollout = rollout{begun: true} // a command tries again what failed before
	c.state.Bad = nil
	c.settle("upgrade")
	defer c.beginRollout()
	if e.Artifact != nil {
		c.set.ArtifactURL, c.set.ArtifactDigest, c.set.ArtifactArchive = e.Artifact.URL, e.Artifact.Digest, e.Artifact.Archive
		if former.Digest != e.Artifact.Digest {
			c.set.Fallback = former
		}
	}
	switch e.Upgrade {
	case "pause":
		if !c.upgrading() {
			return "", fmt.Errorf("no upgrade is under way")
		}
		o.Upgrade = upgradePaused
		return "the upgrade is paused", nil
	case "rollback":
		c.set.Fallback = Artifact{} // the other one is what it goes back from
		o.Upgrade, o.Pinned = upgradeRunning, c.set.ArtifactDigest
		return "tasks go back to executor " + short(c.set.ArtifactDigest), nil
	}
	o.Upgrade, o.Pinned = upgradeRunning, ""
	return fmt.Sprintf("%d tasks are replaced by ones with executor %s", c.oldTasks(), short(c.set.ArtifactDigest)), nil
}

func short(digest string) string { return digest[:min(12, len(digest))] }

func (c *Core) oldTasks() int { return len(c.tasks) - c.digests[c.artifact().Digest] }

// UpgradeStopped is why an upgrade does not go on; "": nothing stopped it.
func (c *Core) UpgradeStopped() string { return c.rollout.stopped }

// UpgradeState is idle, running, paused, stopped or done; old and fresh count tasks.
func (c *Core) UpgradeState() (state string, old, fresh int) {
	old = c.oldTasks()
	switch {
	case c.state.Operator.Upgrade == upgradePaused:
		state = "paused"
	case c.rollout.stopped != "":
		state = "stopped"
	case c.upgrading() && old > 0:
		state = "running"
	case c.state.Operator.Upgrade == upgradeRunning:
		state = "done"
	default:
		state = "idle"
	}
	return state, old, len(c.tasks) - old
}

// Artifact is the executor that new tasks get.
func (c *Core) Artifact() Artifact { return c.artifact() }

// Operator returns what operators decided; the caller may keep it.
func (c *Core) Operator() Operator {
	o := c.state.Operator
	o.AgentCPUs, o.Drained, o.Log = maps.Clone(o.AgentCPUs), maps.Clone(o.Drained), slices.Clone(o.Log)
	return o
}

// Connected says whether there is a subscription.
func (c *Core) Connected() bool { return c.connected }

// MaxMiners is how many miners there may be; -1: there is no bound.
func (c *Core) MaxMiners() int { return c.maxMiners() }
