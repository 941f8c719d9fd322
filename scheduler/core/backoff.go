package core

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// blame says whose fault the end of a task was.
type blame int

const (
	blameNobody  blame = iota // an offer race, a lost agent, our own wish: launch anew at once
	blamePlace                // the agent would not take it: give the agent some time
	blamePreempt              // revocable resources were taken back
	blameTask                 // the task failed: back off
	blameRequest              // Mesos refuses such a task: back off far
)

// judgeEnd reads the end of a task (docs/task-state-reasons.md).
func judgeEnd(state string, s *mesos.TaskStatus) blame {
	reason := mesos.REASON_COMMAND_EXECUTOR_FAILED
	if s.Reason != nil {
		reason = *s.Reason
	}
	switch reason {
	case mesos.REASON_INVALID_OFFERS, mesos.REASON_RESOURCES_UNKNOWN, mesos.REASON_MASTER_DISCONNECTED:
		return blameNobody
	case mesos.REASON_CONTAINER_PREEMPTED:
		return blamePreempt
	case mesos.REASON_AGENT_DRAINING:
		return blamePlace
	case mesos.REASON_AGENT_REMOVED, mesos.REASON_AGENT_REMOVED_BY_OPERATOR, mesos.REASON_AGENT_DISCONNECTED,
		mesos.REASON_AGENT_RESTARTED, mesos.REASON_AGENT_UNKNOWN, mesos.REASON_EXECUTOR_REREGISTRATION_TIMEOUT:
		return blameNobody
	case mesos.REASON_TASK_INVALID, mesos.REASON_TASK_UNAUTHORIZED, mesos.REASON_INVALID_FRAMEWORKID:
		return blameRequest
	}
	switch state {
	case stateError:
		return blameRequest
	case stateFailed, stateFinished:
		return blameTask
	case stateDropped, stateKilled:
		return blamePlace
	}
	return blameNobody
}

// blameEnd makes the end of an unkilled task count, and returns a short name of its
// cause. An agent is left alone for what failed there; all agents only when the same
// thing fails on most of those that there are.
func (c *Core) blameEnd(t *Task, b blame, s *mesos.TaskStatus) (cause string) {
	a := t.run.agent
	switch b {
	case blameNobody:
		return ""
	case blamePreempt:
		c.leaveAlone(a, 2*time.Minute)
		return "preempted"
	case blamePlace:
		a.failures.add(c.clock, 0.5)
		c.leaveAlone(a, exponential(2*time.Second, time.Minute, 2*a.failures.count(c.clock)-1))
	case blameTask, blameRequest:
		a.failures.add(c.clock, 1)
		c.leaveAlone(a, exponential(2*time.Second, 10*time.Minute, a.failures.count(c.clock)-1))
	}
	if fetchFailed(s) { // in the other form, it may have no copy or one that is not damaged
		a.plain = t.run.packed
	}
	if progress(t.State) < progress(stateStarting) && !fetchFailed(s) && b != blameRequest || strings.Contains(s.GetMessage(), "not the one that was sent") {
		// It never spoke: the file in the agent's cache may be damaged.
		a.badCache = t.Digest
	}
	if b == blamePlace && s.GetReason() == mesos.REASON_AGENT_DRAINING {
		return "agent is drained"
	}
	if t.Kind == KindProxy {
		c.proxies.failed(c, b == blameRequest)
	}
	cause = causeOf(s)
	c.causes.failed(c, t, cause, s.GetMessage())
	c.rolloutFailed(t, cause, b != blameRequest)
	return cause
}

// Causes that no other executor would mend.
const (
	causeNoUser  = "the agent does not know the user"
	causeNoFetch = "the executor cannot be fetched"
)

// causeOf names what was wrong, so that the same trouble has the same name on every
// agent.
func causeOf(s *mesos.TaskStatus) string {
	if cause := causeIn(s.GetMessage()); cause != "" {
		return cause
	}
	if strings.Contains(strings.ToLower(s.GetMessage()), "fetch") {
		return causeNoFetch
	}
	if s.Reason == nil {
		return "the executor failed"
	}
	return strings.ToLower(strings.TrimPrefix(s.Reason.String(), "REASON_"))
}

// causeIn finds a cause that has a name in what Mesos says, or what an executor wrote;
// "": there is none.
func causeIn(text string) string {
	text = strings.ToLower(text)
	for _, k := range []struct{ text, cause string }{
		{"failed to get user information", causeNoUser},
		{"failed to chown", causeNoUser},
		{"no such user", causeNoUser},
		{"not the one that was sent", "the fetched executor is damaged"},
		{"permission denied", "the executor may not be run"},
		{"error while loading shared libraries", "a library is missing"},
		{"exec format error", "the executor is for machines of another kind"},
		{"no space left on device", "the agent's disk is full"},
	} {
		if strings.Contains(text, k.text) {
			return k.cause
		}
	}
	return ""
}

// mostOutput bounds what is kept of what an executor wrote, in bytes.
const mostOutput = 2 << 10

// wrote takes in what the executor of a task wrote before it ended: often Mesos knows no
// more than that it did.
func (c *Core) wrote(e Wrote) {
	i := slices.IndexFunc(c.ended.entries, func(d Ended) bool { return d.ID == e.ID })
	if i < 0 {
		return
	}
	var lines []string
	telling := ""
	for line := range strings.Lines(e.Text[max(0, len(e.Text)-mostOutput):]) {
		if line = limit(strings.TrimRight(line, "\r\n"), 500); strings.TrimSpace(line) != "" {
			lines = append(lines, line)
			if telling == "" || causeIn(telling) == "" || causeIn(line) != "" {
				telling = line
			}
		}
	}
	if telling == "" {
		return
	}
	d := &c.ended.entries[i]
	d.Output = strings.Join(lines, "\n")
	k := c.causes[d.Kind+" "+d.Cause]
	if cause := causeIn(telling); cause != "" {
		d.Cause = cause
	}
	if k != nil {
		k.cause, k.output = d.Cause, telling
	}
	c.notice(slog.LevelWarn, "what an executor wrote before it ended", "task", d.ID, "agent", d.Hostname, "cause", d.Cause, "output", telling)
}

// causes are the obstacles of launches, by kind and cause.
type causes map[string]*obstacle

// obstacle is one cause that keeps tasks of a kind from running.
type obstacle struct {
	kind, cause, message string
	output               string              // of an executor: the line that tells the most; "": not known
	agents               map[string]struct{} // since a launch last went well
	since                time.Time
	tries                int
	until                time.Duration // no launch before
	open                 bool          // most agents have it
}

const (
	mostCauses = 32
	// mostAgents is on how many agents a cause must show up, and on more than run
	// miners well, to hold all agents back.
	mostAgents   = 3
	breakerFirst = 5 * time.Second
	breakerMost  = 10 * time.Minute
	// probeLimit is how long a launch that is to show whether tasks can run again is
	// waited for before one more is tried beside it.
	probeLimit = time.Minute
)

func (cs causes) failed(c *Core, t *Task, cause, message string) {
	key := t.Kind + " " + cause
	k := cs[key]
	if k == nil {
		if len(cs) >= mostCauses {
			cs.forgetOldest()
		}
		k = &obstacle{kind: t.Kind, cause: cause, agents: make(map[string]struct{}), since: c.now}
		cs[key] = k
	}
	k.message = limit(message, 500)
	if len(k.agents) < mostOrphans {
		k.agents[t.AgentID] = struct{}{}
	}
	if len(k.agents) < mostAgents || len(k.agents) <= c.sums.good {
		return
	}
	if !k.open {
		k.open = true
		c.notice(slog.LevelWarn, "tasks do not come to run on most agents, for one cause; launches wait, and one is tried from time to time",
			"kind", k.kind, "cause", k.cause, "agents", len(k.agents), "error", k.message)
	}
	c.troubled(k.kind, k.text())
	if c.clock >= k.until {
		k.until = c.clock + c.jitter(exponential(breakerFirst, breakerMost, float64(k.tries)))
		k.tries++
	}
}

func (cs causes) forgetOldest() {
	keys := sortedKeysOf(cs)
	oldest := slices.MinFunc(keys, func(a, b string) int { return cs[a].since.Compare(cs[b].since) })
	delete(cs, oldest)
}

// forget ends all obstacles.
func (cs causes) forget(c *Core) {
	for _, k := range cs {
		if k.open {
			c.settle(k.kind)
		}
	}
	clear(cs)
}

// succeeded ends the obstacles of a kind: its tasks can run after all.
func (cs causes) succeeded(c *Core, t *Task) {
	for key, k := range cs {
		if k.kind == t.Kind {
			delete(cs, key)
			if k.open {
				c.settle(k.kind)
			}
		}
	}
}

func (k *obstacle) text() string {
	text := fmt.Sprintf("%s on %d agents: %s", k.cause, len(k.agents), k.message)
	if k.output != "" {
		text += " (" + k.output + ")"
	}
	return text
}

// worst is the open obstacle of a kind on the most agents; nil: there is none.
func (cs causes) worst(kind string) (worst *obstacle) {
	for _, key := range sortedKeysOf(cs) {
		if k := cs[key]; k.kind == kind && k.open && (worst == nil || len(k.agents) > len(worst.agents)) {
			worst = k
		}
	}
	return worst
}

// wait is for how long tasks of a kind are not to be launched, and how many are tried at
// a time then; 0: there is no obstacle.
func (cs causes) wait(kind string, clock time.Duration) (wait time.Duration, probes int) {
	for _, k := range cs {
		if k.kind == kind && k.open {
			wait = max(wait, k.until-clock)
			n := 1 + int(max(0, clock-k.until)/probeLimit)
			if probes == 0 || n < probes {
				probes = n
			}
		}
	}
	return wait, probes
}

// proxyBackoff delays launches of proxies while none of them comes to serve.
type proxyBackoff struct {
	failures int
	until    time.Duration
}

func (b *proxyBackoff) reset() { *b = proxyBackoff{} }

func (b *proxyBackoff) failed(c *Core, refused bool) {
	b.failures++
	switch {
	case refused:
		b.until = c.clock + c.jitter(exponential(10*time.Second, 10*time.Minute, float64(b.failures-1)))
	case b.failures > 1:
		// The first failure may be a matter of the agent; from the second on, with
		// nothing running in between, the fault is probably our own.
		b.until = c.clock + c.jitter(exponential(time.Second, time.Minute, float64(b.failures-2)))
	}
}

// pace bounds how many launched miners may be on their way at a time: they all fetch
// from one server, and an agent gives an executor a minute to register. It starts
// small, so that what cannot run at all fails on few agents, and grows with each that
// comes to run. When they take long, by whatever is the narrowest on the way, it shrinks:
// so there are about as many on the way as can be served within paceGoal.
type pace struct {
	window int
	until  time.Duration // no smaller before: what is on the way was launched by the former
}

const (
	paceFirst = 16
	paceMost  = 400
	paceLeast = 4
	// paceGoal is how long a launch may take: a quarter of what Mesos gives it.
	paceGoal = 15 * time.Second
)

func newPace() pace { return pace{window: paceFirst} }

// took notes how long a launch took, until it ran or came to nothing.
func (p *pace) took(d, clock time.Duration, ran bool) {
	switch {
	case d > paceGoal && clock >= p.until:
		p.window = max(paceLeast, p.window*2/3)
		p.until = clock + d
	case d <= paceGoal && ran:
		p.window = min(p.window+1, paceMost)
	}
}
