package conformance

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Need says what a check demands of the target besides a master.
type Need uint

// What checks can need.
const (
	// NeedExclusive: frameworks of other checks would disturb it.
	NeedExclusive Need = 1 << iota
	// NeedFaults: parts of the cluster must be broken on demand (Target.Faults).
	NeedFaults
	// NeedOwn: it leaves marks on the cluster, such as a maintenance schedule (Target.Own).
	NeedOwn
	// NeedTwoAgents: at least two agents.
	NeedTwoAgents
	// NeedPrincipal: framework authentication is on and Target.Principal is known.
	NeedPrincipal
	// NeedAnonymous: framework authentication is off.
	NeedAnonymous
	// NeedPosixLauncher: agents run with --launcher=posix.
	NeedPosixLauncher
	// NeedAgentHTTP: this process reaches the agents' HTTP port.
	NeedAgentHTTP
)

// Check is one scripted check.
type Check struct {
	// Name is topic/what.
	Name string
	// Doc is where the expectation comes from: sections of docs/mesos-semantics.md (§) and
	// recorded transcripts (R).
	Doc string
	// Needs is what it demands of the target.
	Needs Need
	// Takes tells how long it waits for the cluster's timers; nil for checks that do not.
	Takes func(Timing) time.Duration
	// Run is the check; it fails by the methods of C.
	Run func(c *C)
}

// Checks lists all checks, topic by topic.
func Checks() []Check {
	var all []Check
	for _, topic := range [][]Check{
		subscribeChecks(), capabilityChecks(), refusalChecks(), statusChecks(), authChecks(), offerChecks(), constraintChecks(), acceptChecks(), validationChecks(),
		updateChecks(), retryChecks(), killChecks(), shutdownChecks(), endChecks(), messageChecks(), reconcileChecks(),
		failoverChecks(), teardownChecks(), environmentChecks(), fetcherChecks(), filesChecks(), executorCallChecks(),
		executorStreamChecks(), agentLossChecks(), recoveryChecks(), masterFailoverChecks(), maintenanceChecks(),
		endpointChecks(), visibilityChecks(), revocableChecks(), redirectChecks(), goldenChecks(),
		lastChecks(),
	} {
		all = append(all, topic...)
	}
	return all
}

// C is what a check works with: a testing.TB that also knows the target. Everything that a check
// makes through it (frameworks, executors) is removed when the check ends.
type C struct {
	testing.TB
	*suite

	ctx        context.Context
	tally      *tally
	mu         sync.Mutex
	n          int
	frameworks []*Framework
	ids        []string // framework ids to remove
	probes     []*Probe
}

// Skip skips the check and counts the reason.
func (c *C) Skip(args ...any) {
	c.Helper()
	why := fmt.Sprint(args...)
	if c.tally != nil {
		c.tally.skip(why)
	}
	c.TB.Skip(why)
}

// Skipf is Skip with a format.
func (c *C) Skipf(format string, args ...any) {
	c.Helper()
	c.Skip(fmt.Sprintf(format, args...))
}

// name makes an id that nobody else uses.
func (c *C) name(prefix string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return fmt.Sprintf("%s-%s-%d", prefix, c.unique(), c.n)
}

// wait takes the event that match accepts, or fails the check.
func (c *C) wait(log *eventLog, what string, match func(Event) bool) Event {
	c.Helper()
	return c.waitFor(log, c.target.Patience, what, match)
}

func (c *C) waitFor(log *eventLog, d time.Duration, what string, match func(Event) bool) Event {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, d)
	defer cancel()
	e, ok := log.take(ctx, match)
	if !ok {
		c.Fatalf("no %s within %v; events:%v", what, d, log)
	}
	return e
}

// never fails the check if an event comes that match accepts.
func (c *C) never(log *eventLog, d time.Duration, what string, match func(Event) bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, d)
	defer cancel()
	if e, ok := log.take(ctx, match); ok {
		c.Fatalf("%s: %v; events:%v", what, e, log)
	}
}

func (c *C) waitEnd(log *eventLog, what string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, c.target.Patience)
	defer cancel()
	if !log.waitEnd(ctx) {
		c.Fatalf("%s: the stream did not end within %v; events:%v", what, c.target.Patience, log)
	}
}

// eventually repeats f until it returns no error.
func (c *C) eventually(what string, f func() error) {
	c.Helper()
	c.within(c.target.Patience, what, f)
}

func (c *C) within(d time.Duration, what string, f func() error) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, d)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			c.Fatalf("%s: not within %v: %v", what, d, err)
		}
	}
}

func (c *C) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

// equal compares and goes on.
func equal[T comparable](c *C, what string, got, want T) {
	c.Helper()
	if got != want {
		c.Errorf("%s: got %#v, expected %#v", what, got, want)
	}
}

// contains checks for a part of a text and goes on.
func contains(c *C, what, got, part string) {
	c.Helper()
	if !strings.Contains(got, part) {
		c.Errorf("%s: got %.300q, expected it to contain %q", what, got, part)
	}
}

// absent checks that a field is not set.
func absent(c *C, v any, path string) {
	c.Helper()
	if x := at(v, path); x != nil {
		c.Errorf("%s is set to %v, expected it unset", path, x)
	}
}

// present checks that a field is set.
func present(c *C, v any, path string) {
	c.Helper()
	if !has(v, path) {
		c.Errorf("%s is unset, expected it set", path)
	}
}

// get fetches a JSON document from the master.
func (c *C) get(path string) Doc {
	c.Helper()
	a, err := c.operator.get(c.ctx, path)
	if err != nil {
		c.Fatalf("GET %s: %v", path, err)
	}
	if a.Status != 200 {
		c.Fatalf("GET %s: %v", path, a)
	}
	d := a.doc()
	if d == nil {
		c.Fatalf("GET %s: no JSON object: %v", path, a)
	}
	return d
}

// cleanup removes everything that the check made.
func (c *C) cleanup() {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for _, f := range c.frameworks {
		f.leave(ctx)
	}
	for _, id := range c.ids {
		// An id that is gone already is a 400 here; nothing else can be done about one that is not.
		_, _ = c.operator.send(ctx, "POST", "/teardown", header{"Content-Type": "application/x-www-form-urlencoded"}, []byte("frameworkId="+id))
	}
	for _, p := range c.probes {
		c.hub.retire(p)
	}
	for _, f := range c.frameworks {
		f.wg.Wait()
	}
}

// anyAgent is the id of a registered agent.
func (c *C) anyAgent() string {
	c.Helper()
	if len(c.agents) == 0 {
		c.Fatal("the master lists no agent in /slaves")
	}
	return c.agents[0].ID
}
