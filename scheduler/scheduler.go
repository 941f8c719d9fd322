// Package scheduler is Lode's Mesos scheduler: it takes offers, launches a
// pool-proxy and miners, keeps them running, and tells how they fare.
//
//	s, err := scheduler.New(scheduler.Config{…})
//	err = s.Run(ctx)
//
// What it decides is in package core, a state machine without I/O. This package
// feeds the core with events and carries out the actions that it returns, in their
// order: what must be stored is stored before what depends on it is sent.
package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/user"
	"strings"
	"sync"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"lode/history"
	"lode/internal/sleep"
	"lode/message"
	"lode/scheduler/artifact"
	"lode/scheduler/core"
	"lode/scheduler/driver"
	"lode/scheduler/feed"
	"lode/scheduler/store"
	"lode/seldom"
)

// Errors of New and Run that a caller may want to tell apart.
var (
	// ErrFrameworkRemoved: the master has ended this framework for good.
	ErrFrameworkRemoved = core.ErrRemoved
	// ErrFailedOver: another scheduler took over this framework id.
	ErrFailedOver = core.ErrFailedOver
	// ErrRefused: the master does not let this framework subscribe.
	ErrRefused = core.ErrRefused
	// ErrUnauthorized: the master does not accept principal and secret.
	ErrUnauthorized = driver.ErrUnauthorized
	// ErrLocked: another scheduler uses the state folder.
	ErrLocked = store.ErrLocked
	// ErrState: the stored state is unusable.
	ErrState = core.ErrState
	// ErrBlockInvalid: every node says that it will never take this block.
	ErrBlockInvalid = errors.New("block can never be valid")
)

// ConfigError is a mistake in a Config, which trying again cannot mend.
type ConfigError struct{ err error }

func (e *ConfigError) Error() string { return e.err.Error() }
func (e *ConfigError) Unwrap() error { return e.err }

// Scheduler is one instance of the framework.
type Scheduler struct {
	config   Config
	log      *slog.Logger
	store    stateStore
	ledger   *ledger
	driver   *driver.Driver
	binaries *binaries
	feed     *feed.Feed
	listener net.Listener
	// advertised is host:port under which agents and clients reach the listener.
	advertised string
	server     *http.Server
	metrics    *metrics
	started    time.Time
	history    *history.Recorder
	tally      *tally

	events   chan queued
	failures chan core.Ended // for readOutputs
	stopped  chan struct{}   // closed when the loop has ended

	mu   sync.Locker // guards core
	core *core.Core

	walking sync.Mutex // one look at all tasks at a time

	tellMu sync.Mutex // one OnEvent at a time
}

// mostEvents is how many events may wait for the loop, and be handled in one go.
const mostEvents = 1024

// queued is an event on its way to the loop; done, if not nil, is closed when all
// that follows from it is done.
type queued struct {
	event core.Event
	done  chan struct{}
}

// New checks the configuration, locks and reads the state, and opens the listener.
// Run, or else Close, must be called afterwards.
func New(config Config) (s *Scheduler, err error) {
	config = config.withDefaults()
	started := time.Now()
	s = &Scheduler{
		config: config, log: slog.New(seldom.Handler(config.Logger.Handler())), events: make(chan queued, mostEvents), stopped: make(chan struct{}),
		failures: make(chan core.Ended, 1), feed: feed.New(started), mu: new(sync.Mutex),
		started: started, history: history.New(), tally: newTally(started),
	}
	defer func() {
		if err != nil {
			s.Close()
			s = nil
		}
	}()
	if err := config.check(); err != nil {
		return s, &ConfigError{err}
	}
	s.driver, err = driver.New(driver.Config{
		Masters: config.Masters, RootCAs: config.MasterCAs,
		Principal: config.Principal, Secret: config.Secret,
		May: s.mayLead, Subscribe: s.subscribeCall, Handle: s.handle, Logger: config.Logger,
	})
	if err != nil {
		return s, &ConfigError{err}
	}
	newest, err := artifact.Load(config.Executor)
	if err != nil {
		return s, err
	}
	state, err := s.openStore()
	if err != nil {
		return s, err
	}
	if path := s.historyPath(); path != "" {
		if err := s.history.Load(path); err != nil {
			s.log.Warn("the page's history begins anew", "error", err)
		}
	}
	if s.listener, err = config.ListenFunc("tcp", config.Listen); err != nil {
		return s, fmt.Errorf("listen for agents and clients (--listen): %w", err)
	}
	if err := s.findAddress(); err != nil {
		return s, err
	}
	bad := ""
	if state.Bad != nil {
		bad = state.Bad.Digest
	}
	s.binaries = openBinaries(config, s.advertised, newest, state.Operator.Pinned, bad, s.log)
	s.announce()
	set := s.settings(s.advertised)
	current, previous := s.binaries.get()
	now := s.binaries.of(current, current == newest)
	set.ArtifactURL, set.ArtifactDigest, set.ArtifactArchive = now.URL, now.Digest, now.Archive
	if previous != nil && current == newest && previous.Digest() != bad {
		set.Fallback = s.binaries.of(previous, false)
	}
	if s.core, err = core.New(set, state); err != nil {
		return s, err
	}
	s.metrics = newMetrics(s)
	s.ledger = newLedger(s.store, s.log)
	s.ledger.stored = s.driver.Stored
	s.ledger.tell = func(e core.Event) { s.enqueue(queued{event: e}) }
	s.ledger.took = func(d time.Duration) { s.metrics.persist.Observe(d.Seconds()) }
	s.server = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(config.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

func (c Config) withDefaults() Config {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&c.Name, DefaultName)
	if len(c.Roles) == 0 {
		c.Roles = []string{DefaultRole}
	}
	if out := outbound(c.Masters); c.Listen == "" && out != nil && !out.IsLoopback() {
		c.Listen = ":" + DefaultPort
	}
	set(&c.Listen, DefaultListen)
	if c.User == "" {
		if u, err := user.Current(); err == nil {
			c.User = u.Username
		}
	}
	if c.FailoverTimeout == 0 {
		c.FailoverTimeout = DefaultFailoverTimeout
	}
	if c.ReportInterval == 0 {
		c.ReportInterval = DefaultReportInterval
	}
	if c.ListenFunc == nil {
		c.ListenFunc = net.Listen
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) check() error {
	switch {
	case c.User == "":
		return errors.New("cannot find out the name of the current user: name who runs the executors (--user)")
	case c.FailoverTimeout < 0 || c.FailoverTimeout > 365*24*time.Hour:
		return fmt.Errorf("failover timeout %v is not between 0 and a year (--failover-timeout)", c.FailoverTimeout)
	case c.ProxyGrace < 0:
		return fmt.Errorf("proxy grace %v is negative (--proxy-grace)", c.ProxyGrace)
	case !(c.HoldBackCPUs >= 0 && c.HoldBackCPUs < 1e6):
		return fmt.Errorf("cannot hold back %v cpus (--hold-back-cpus)", c.HoldBackCPUs)
	case c.MaxMiners < 0:
		return fmt.Errorf("at most %d miners makes no sense (--max-miners)", c.MaxMiners)
	case c.ReportInterval < 100*time.Millisecond:
		return fmt.Errorf("report interval %v is shorter than 100ms (--report-interval)", c.ReportInterval)
	case c.Proxies < 0 || c.Proxies > core.MostProxies:
		return fmt.Errorf("%d proxies: want 1 to %d (--proxies)", c.Proxies, core.MostProxies)
	case !(c.ProxyCPUs == 0 || c.ProxyCPUs >= 0.1 && c.ProxyCPUs <= 1024):
		return fmt.Errorf("a proxy with %v cpus: want 0.1 to 1024 (--proxy-cpus)", c.ProxyCPUs)
	case c.ProxyMem != 0 && (c.ProxyMem < 64 || c.ProxyMem > 1<<20):
		return fmt.Errorf("a proxy with %d MB: want 64 to %d (--proxy-mem)", c.ProxyMem, 1<<20)
	case c.MinerMem != 0 && (c.MinerMem < 64 || c.MinerMem > 1<<20):
		return fmt.Errorf("a miner with %d MB: want 64 to %d (--miner-mem)", c.MinerMem, 1<<20)
	case len(c.CoinbaseTag) > 40:
		return fmt.Errorf("coinbase tag of %d bytes is longer than 40 (--coinbase-tag)", len(c.CoinbaseTag))
	case c.Principal == "" && c.ReadSandboxes == ReadPrincipal:
		return errors.New("sandboxes are to be read as a principal, and there is none (--read-sandboxes, --principal)")
	case c.Principal == "" && c.Secret != "":
		return errors.New("there is a secret but no principal (--principal)")
	case len(c.Upstreams) == 0:
		return errors.New("the proxy has nowhere to get work from (--node or --upstream)")
	}
	if c.ExecutorURL != "" {
		if err := checkCopies(c.ExecutorURL); err != nil {
			return err
		}
	}
	for _, u := range c.Upstreams {
		if _, rest, found := strings.Cut(u.URL, "://"); found && strings.Contains(rest, "@") {
			return errors.New("credentials do not belong into an upstream's URL, which Mesos shows: " +
				"use --node-user and --node-password-file")
		}
		if strings.HasPrefix(u.URL, "node:") && c.PayoutAddress == "" {
			return errors.New("a node pays to an address: name it (--payout-address)")
		}
	}
	return nil
}

func (s *Scheduler) settings(advertise string) core.Settings {
	c := s.config
	hostname, _ := os.Hostname()
	set := core.Settings{
		Name: c.Name, User: c.User, Roles: c.Roles, Principal: c.Principal,
		Hostname: hostname, WebUI: "http://" + advertise + "/",
		FailoverTimeout: c.FailoverTimeout, Revocable: c.Revocable,
		PayoutAddress: c.PayoutAddress, CoinbaseTag: c.CoinbaseTag, ProxyLimits: c.ProxyLimits,
		MinBlockInterval: c.MinBlockInterval, ReportInterval: c.ReportInterval, Kernel: c.Kernel,
		Yield: c.Yield, OneACore: c.OneACore, CoreSched: c.CoreSched, OnlyRevocable: c.OnlyRevocable, IdleMode: c.IdleMode, MayPause: c.PauseWhen != nil,
		ProxyGrace: c.ProxyGrace, HoldBackCPUs: c.HoldBackCPUs, MaxMiners: c.MaxMiners, Upgrade: c.Upgrade,
		GPUAgents: c.GPUAgents, RegionAware: c.RegionAware, Constraints: c.Constraints, ProxyConstraints: c.ProxyConstraints,
		Proxies: c.Proxies, ProxyCPUs: c.ProxyCPUs, ProxyMem: c.ProxyMem, MinerMem: c.MinerMem,
		CanSubmit: c.Blocks != nil,
		Secrets:   make(map[string]*message.Credentials),
		Rand:      rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}
	for _, u := range c.Upstreams {
		set.Upstreams = append(set.Upstreams, u.URL)
		set.Secrets[u.URL] = &message.Credentials{User: u.User, Password: u.Password, Ca: u.CA}
	}
	return set
}

// Run works until ctx ends or something happens that a restart cannot mend. It
// releases everything before it returns; nil: ctx ended.
func (s *Scheduler) Run(ctx context.Context) error {
	defer s.Close()
	// The link to Mesos outlives ctx for as long as a teardown takes.
	linkCtx, cut := context.WithCancel(context.WithoutCancel(ctx))
	ctx, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer func() {
		stop(nil)
		cut()
		wg.Wait()
	}()
	wg.Go(func() {
		if err := s.server.Serve(s.secured()); !errors.Is(err, http.ErrServerClosed) {
			stop(fmt.Errorf("serve agents and clients: %w", err))
		}
	})
	defer s.server.Close()
	wg.Go(func() {
		if err := s.driver.Run(linkCtx); err != nil && !errors.Is(err, context.Canceled) {
			stop(err)
		}
	})
	wg.Go(func() { s.record(ctx) })
	wg.Go(func() { s.watchChain(ctx) })
	wg.Go(func() { s.watchRule(ctx) })
	wg.Go(func() { s.watchRoles(ctx) })
	wg.Go(func() { s.readOutputs(ctx) })
	s.log.Info("scheduler is up", "listen", s.Addr(), "executor", s.core.Artifact().URL, "state", s.config.StateDir)
	ledgerCtx, closeLedger := context.WithCancel(context.Background())
	storing := make(chan struct{})
	go func() {
		defer close(storing)
		s.ledger.run(ledgerCtx)
	}()
	err := s.loop(ctx, &wg)
	closeLedger()
	<-storing
	if err == nil {
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
			err = cause
		}
	}
	if err == nil && s.config.Teardown {
		err = s.teardown(linkCtx)
	}
	return err
}

// loop is the one place where the core is stepped and its actions are carried out.
func (s *Scheduler) loop(ctx context.Context, wg *sync.WaitGroup) error {
	defer close(s.stopped)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		var batch []queued
		select {
		case <-ctx.Done():
			return nil
		case q := <-s.events:
			batch = append(batch, q)
		case <-ticker.C:
			batch = append(batch, queued{event: core.Tick{}})
		}
		// What has queued up meanwhile shares one write to disk.
		for len(batch) < mostEvents {
			select {
			case q := <-s.events:
				batch = append(batch, q)
				continue
			default:
			}
			break
		}
		var actions []core.Action
		s.mu.Lock()
		for _, q := range batch {
			actions = append(actions, s.core.Step(time.Now(), q.event)...)
		}
		s.mu.Unlock()
		if err := s.perform(ctx, actions, wg); err != nil {
			return err
		}
		for _, q := range batch {
			if q.done != nil {
				close(q.done)
			}
		}
	}
}

// perform carries out the actions of one or more steps. What is to be stored is on its
// way first, and calls that depend on it wait for it (see ledger).
func (s *Scheduler) perform(ctx context.Context, actions []core.Action, wg *sync.WaitGroup) error {
	after, err := s.enter(actions)
	if err != nil {
		return err
	}
	var send []*scheduler.Call
	session := uint64(0) // of the calls in send
	flush := func() {
		if len(send) > 0 {
			s.driver.Send(session, send, after)
			send = nil
		}
	}
	for _, a := range actions {
		switch a := a.(type) {
		case core.Call:
			if a.Session != session {
				flush()
				session = a.Session
			}
			send = append(send, a.Call)
		case core.Notice:
			s.log.Log(ctx, a.Level, a.Text, a.Attrs...)
			s.tell(Event{Type: EventNotice, Message: noticeText(a)})
		case core.SubmitBlock:
			wg.Go(func() { s.submit(ctx, a.Hash) })
		case core.AskBlock:
			wg.Go(func() { s.askFor(ctx, a) })
		case core.Stop:
			flush()
			return a.Err
		case core.StoreBlock, core.Persist, core.DropBlock: // entered
		default:
			flush()
			s.progress(a)
		}
	}
	flush()
	return nil
}

// enter gives to the ledger what actions want to be stored, and returns the number
// after which everything of them is.
func (s *Scheduler) enter(actions []core.Action) (uint64, error) {
	var changes []core.Change
	var blocks []core.StoreBlock
	var unneeded []string
	persist := false
	for _, a := range actions {
		switch a := a.(type) {
		case core.StoreBlock:
			blocks = append(blocks, a)
		case core.DropBlock:
			unneeded = append(unneeded, a.Hash)
		case core.Persist:
			persist = true
		}
	}
	if persist {
		var err error
		s.mu.Lock()
		changes, err = s.core.Changes()
		s.mu.Unlock()
		if err != nil {
			return 0, err
		}
	}
	return s.ledger.enter(changes, blocks, unneeded), nil
}

// submit gives a stored block to the nodes.
func (s *Scheduler) submit(ctx context.Context, hash string) {
	result := core.Submitted{Hash: hash}
	block, err := s.store.LoadBlock(hash)
	if err == nil {
		var fate BlockFate
		submitCtx, cancel := context.WithTimeout(ctx, time.Minute)
		fate, err = s.config.Blocks.SubmitBlock(submitCtx, block)
		cancel()
		result.State, result.Confirmations = fate.State, fate.Confirmations
	}
	if err != nil {
		result.Err, result.Invalid = err.Error(), errors.Is(err, ErrBlockInvalid)
	}
	s.enqueue(queued{event: result})
}

// askFor asks the nodes for a block of which there is no copy here.
func (s *Scheduler) askFor(ctx context.Context, a core.AskBlock) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	fate, err := s.config.Blocks.BlockFate(ctx, a.Hash, a.Height)
	result := core.Submitted{Hash: a.Hash, State: fate.State, Confirmations: fate.Confirmations}
	if err != nil {
		result.Err = err.Error()
	}
	s.enqueue(queued{event: result})
}

// chainInterval is how often a node is asked for the difficulty of its chain.
const chainInterval = time.Minute

// watchChain keeps the core informed of the chain's difficulty.
func (s *Scheduler) watchChain(ctx context.Context) {
	if s.config.Blocks == nil {
		return
	}
	ticker := time.NewTicker(chainInterval)
	defer ticker.Stop()
	for {
		askCtx, cancel := context.WithTimeout(ctx, chainInterval)
		tip, err := s.config.Blocks.Tip(askCtx)
		cancel()
		if err == nil {
			s.enqueue(queued{event: core.Chain{Bits: tip.Bits, Easy: tip.Easy}})
		} else if ctx.Err() == nil {
			s.log.Debug("no node tells of its chain", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// rolesInterval is how often the master is asked what other roles lack.
const rolesInterval = 10 * time.Second

// watchRoles tells the core, in idle mode, what other roles lack of their quotas.
func (s *Scheduler) watchRoles(ctx context.Context) {
	if !s.config.IdleMode {
		return
	}
	for sleep.For(ctx, rolesInterval) == nil {
		lacks, err := s.driver.Lacks(ctx, s.config.Roles)
		switch {
		case err == nil:
			s.enqueue(queued{event: needOf(lacks)})
		case ctx.Err() == nil && !errors.Is(err, driver.ErrNoSubscription):
			s.log.Warn("not known what other roles lack, so no miner ends for them (--mode idle)", "error", err)
		}
	}
}

// needOf sums up what roles lack, those that lack the most first.
func needOf(lacks []driver.Lack) (need core.RoleNeed) {
	for _, l := range lacks {
		need.Milli += l.Milli
		need.Role = cmp.Or(need.Role, l.Role)
	}
	return need
}

// enqueue gives an event to the loop, unless that has ended.
func (s *Scheduler) enqueue(q queued) bool {
	select {
	case s.events <- q:
		return true
	case <-s.stopped:
		return false
	}
}

// subscribeCall is called by the driver for each attempt.
func (s *Scheduler) subscribeCall() *scheduler.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return calls.Subscribe(s.core.FrameworkInfo())
}

// teardown ends the framework and all of its tasks.
func (s *Scheduler) teardown(ctx context.Context) error {
	s.mu.Lock()
	connected, framework := s.core.Connected(), s.core.FrameworkID()
	s.mu.Unlock()
	switch {
	case framework == "":
		return nil // no master has ever given us one
	case !connected:
		return errors.New("cannot end the framework: there is no subscription; its tasks run on until the failover timeout")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	call := &scheduler.Call{Type: scheduler.Call_TEARDOWN}
	if err := s.driver.Finish(ctx, call.With(calls.Framework(framework))); err != nil {
		return fmt.Errorf("end the framework: %w", err)
	}
	s.log.Info("framework ended", "framework", framework)
	values, err := s.store.Load()
	if err != nil || values == nil {
		return err
	}
	state, err := core.RestoreState(values)
	if err != nil {
		return err
	}
	_, err = s.forget(state, values, "")
	return err
}

// Close releases what New took when Run was never called. It may be called again.
func (s *Scheduler) Close() error {
	var errs []error
	if s.listener != nil {
		if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Addr is host:port on which the HTTP server listens.
func (s *Scheduler) Addr() string { return s.listener.Addr().String() }

// Kill ends a task. Another one is launched if one is needed.
func (s *Scheduler) Kill(task, why string) {
	s.enqueue(queued{event: core.KillTask{ID: task, Why: why}})
}

// noticeText is a notice in one line, for those who do not read the log.
func noticeText(n core.Notice) string {
	text := n.Text
	for i := 0; i+1 < len(n.Attrs); i += 2 {
		if n.Attrs[i] == "error" {
			text += fmt.Sprintf(": %v", n.Attrs[i+1])
		}
	}
	return text
}
