package scheduler

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"lode/message"
	"lode/scheduler/api"
	"lode/scheduler/artifact"
	"lode/scheduler/control"
	"lode/scheduler/core"
)

func (s *Scheduler) controlConfig() control.Config {
	c := control.Config{Scheduler: s, Events: s.feed, Logger: s.log}
	if s.config.Auth != nil {
		c.Auth = *s.config.Auth
	}
	return c
}

// Control tells what operators decided.
func (s *Scheduler) Control() api.Control {
	s.mu.Lock()
	o := s.core.Operator()
	most := s.core.MaxMiners()
	state, old, fresh := s.core.UpgradeState()
	why, digest := s.core.UpgradeStopped(), s.core.Artifact().Digest
	s.mu.Unlock()
	_, previous := s.binaries.get()
	c := api.Control{
		Paused: o.Paused, MaxMiners: max(0, most), None: most == 0, Agents: o.AgentCPUs,
		Drained: []api.Drain{}, Log: []api.Record{},
		Upgrade: api.Upgrade{State: state, Why: why, Digest: digest, Old: old, New: fresh},
	}
	if previous != nil {
		c.Upgrade.Previous = previous.Digest()
	}
	if o.MaxCPUs != nil {
		c.MaxCPUs = *o.MaxCPUs
	}
	if c.Agents == nil {
		c.Agents = map[string]float64{}
	}
	for _, agent := range slices.Sorted(maps.Keys(o.Drained)) {
		d := o.Drained[agent]
		c.Drained = append(c.Drained, api.Drain{Agent: agent, Since: d.Since, Who: d.Who, Reason: d.Reason})
	}
	for _, r := range o.Log {
		c.Log = append(c.Log, api.Record(r))
	}
	return c
}

var errEnded = errors.New("the scheduler is ending")

// Operate carries out an operator's command.
func (s *Scheduler) Operate(ctx context.Context, c api.Command) (api.Outcome, error) {
	if err := control.Check(c); err != nil {
		return api.Outcome{Refused: err.Error()}, nil
	}
	e := core.Operate{Who: c.Who, Reason: c.Reason, Result: new(core.Result)}
	switch c.Op {
	case api.OpPause:
		e.Pause = true
	case api.OpResume:
		e.Resume = true
	case api.OpScale:
		e.Scale = &core.Scale{MaxMiners: c.MaxMiners, MaxCPUs: c.MaxCPUs, Agent: c.Agent}
	case api.OpDrain:
		e.Drain = c.Agent
	case api.OpUndrain:
		e.Undrain = c.Agent
	case api.OpRestart:
		e.Restart = c.Task
	case api.OpKill:
		e.Kill = c.Task
	case api.OpRotate:
		key := make([]byte, message.KeySize)
		if _, err := cryptorand.Read(key); err != nil {
			return api.Outcome{}, fmt.Errorf("make worker key: %w", err)
		}
		e.Rotate = &core.RotateKeys{Key: key, Revoke: c.Revoke}
	case api.OpUpgrade:
		next, err := s.upgradeTo(c.Action)
		if err != nil {
			return api.Outcome{Refused: err.Error()}, nil
		}
		e.Upgrade = c.Action
		if next != nil {
			a := s.binaries.of(next, c.Action == "start")
			e.Artifact = &a
			s.mu.Lock()
			former := s.core.Artifact().Digest
			s.mu.Unlock()
			s.binaries.use(next, former) // before a task asks for it
			s.announce()
		}
	default:
		return api.Outcome{}, fmt.Errorf("unknown operation %q", c.Op)
	}
	q := queued{event: e, done: make(chan struct{})}
	select {
	case s.events <- q:
	case <-s.stopped:
		return api.Outcome{}, errEnded
	case <-ctx.Done():
		return api.Outcome{}, ctx.Err()
	}
	select {
	case <-q.done:
	case <-s.stopped:
		return api.Outcome{}, errEnded
	}
	outcome := api.Outcome{Done: e.Result.Done, Refused: e.Result.Refused, NotFound: e.Result.NotFound}
	if outcome.Done != "" {
		outcome.Done += s.unstored(ctx)
	}
	return outcome, nil
}

// storedTime is how long an operator waits for the disk.
const storedTime = 5 * time.Second

// unstored waits until what was done so far is stored. If the disk does not take it, no
// executor or master has heard of it either, and the text says so.
func (s *Scheduler) unstored(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, storedTime)
	defer cancel()
	err := s.ledger.await(ctx, s.ledger.enter(nil, nil, nil))
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("that takes longer than %v", storedTime)
	}
	if err != nil {
		return fmt.Sprintf("; it takes effect when it can be stored, and is forgotten if the scheduler ends before: %v", err)
	}
	return ""
}

// upgradeTo returns the executor that an action makes the one of new tasks; nil: it
// stays.
func (s *Scheduler) upgradeTo(action string) (*artifact.Binary, error) {
	_, previous := s.binaries.get()
	switch action {
	case "start":
		return artifact.Load(s.config.Executor)
	case "rollback":
		if previous == nil {
			return nil, errors.New("there is no executor of before to go back to")
		}
		return previous, nil
	}
	return nil, nil
}

func (s *Scheduler) serveArtifact(w http.ResponseWriter, r *http.Request) {
	current, previous := s.binaries.get()
	b := current
	if previous != nil && previous.Has(r.URL.Path) {
		b = previous
	}
	if !b.Has(r.URL.Path) && s.serveOther(w, r) {
		return
	}
	b.Handler(func(remote string) {
		s.metrics.fetches.Inc()
		s.log.Info("an agent fetched the executor", "agent", remote)
		s.tell(Event{Type: EventFetched, Agent: remote})
	}).ServeHTTP(w, r)
}

// serveReady says whether the scheduler can do its work, at little cost.
func (s *Scheduler) serveReady(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	connected := s.core.Connected()
	s.mu.Unlock()
	if !connected {
		http.Error(w, "not subscribed at a Mesos master", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// plainBounds keeps requests without TLS, where there is TLS, to what agents and
// probes need.
func (s *Scheduler) plainBounds(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.config.TLS != nil && r.TLS == nil && !strings.HasPrefix(r.URL.Path, artifact.Prefix) &&
			r.URL.Path != "/livez" && r.URL.Path != "/readyz" && r.URL.Path != "/healthz" {
			http.Error(w, "this address speaks TLS: use https://", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// timely bounds the time that a request may take. Who watches events has bounds of its
// own, and agents may be far away.
func timely(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != api.EventsPath {
			answer := time.Minute
			if strings.HasPrefix(r.URL.Path, artifact.Prefix) {
				answer = fetchTime
			}
			c := http.NewResponseController(w)
			_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
			_ = c.SetWriteDeadline(time.Now().Add(answer))
		}
		next.ServeHTTP(w, r)
	})
}

// fetchTime is how long an agent may take to fetch the executor: 15 MB at 25 kB/s.
const fetchTime = 10 * time.Minute
