package pool

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"lode/pool/blocks"
	"lode/pool/director"
	"lode/pool/jobs"
	"lode/pool/memory"
	"lode/pool/miners"
	"lode/pool/node"
	"lode/pool/nodesource"
	"lode/pool/space"
	"lode/pool/statedir"
	"lode/pool/template"
	"lode/pool/vardiff"
	"lode/stratum"
)

const (
	// Our own extranonce space: 4 bytes of extranonce1, the first of which is the
	// shard, and 8 of extranonce2. No other sizes suit more miners.
	ownExtranonce2Size = nodesource.ExtranonceSize - 4

	defaultHoldDown = time.Minute
	tickInterval    = time.Second
	// Ticks between two looks at all sessions, and at the certificate's files.
	sessionTicks     = 5
	recordTicks      = 10 // ticks between two values of the page's curves
	certificateTicks = 60
	drainTime        = 5 * time.Second
)

// Proxy is a pool-proxy. Make it with New, run it with Run.
type Proxy struct {
	config Config
	log    *slog.Logger
	now    func() time.Time
	began  time.Time

	folder *statedir.Folder
	keeper *blocks.Keeper
	brakes []brakes // one for each upstream: a pool may call every share a block
	jobs   *jobs.Table
	miners *miners.Server
	upstreams
	network  network
	director *director.Director
	memory   memory.Watch
	notices  *pacer
	// certificate is for ListenTLS, nil without it.
	certificate *stratum.Certificate

	draining atomic.Bool
	bound    atomic.Pointer[addresses]
}

// New checks the configuration and reads the state folder. It does not connect yet: Run
// does.
func New(config Config) (*Proxy, error) {
	p, err := assemble(config)
	if err != nil {
		return nil, fmt.Errorf("pool-proxy: %w", err)
	}
	return p, nil
}

func assemble(config Config) (*Proxy, error) {
	now := time.Now // the clock of all
	config.setDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	p := &Proxy{config: config, log: config.Logger, now: now, began: now()}
	p.bound.Store(&addresses{})
	p.notices = &pacer{interval: config.NotifyInterval, do: p.notifySources}
	var err error
	if config.ListenTLS != "" {
		if p.certificate, err = stratum.LoadCertificate(config.CertFile, config.KeyFile); err != nil {
			return nil, err
		}
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	home, err := space.New([]byte{config.Shard}, 3, ownExtranonce2Size, miners.LeaseTime)
	if err != nil {
		return nil, err
	}
	if p.upstreams, err = makeSources(&config, &surroundings{
		home: home, instance: []byte{config.Shard, random[0], random[1], random[2]}, now: now,
		join: p.join, network: p.network.get,
		restore: func(ctx context.Context, node int, height int64) (int, error) {
			return p.keeper.Restore(ctx, node, height)
		},
		note: func(hash, what string) { p.keeper.Note(hash, what) },
	}); err != nil {
		return nil, err
	}
	p.brakes = make([]brakes, len(p.sources))
	for i := range p.brakes {
		p.brakes[i].sound.Interval, p.brakes[i].doubtful.Interval = config.MinBlockInterval, config.MinBlockInterval
	}
	if p.folder, err = statedir.Open(config.StateDir, now, p.log); err != nil {
		return nil, err
	}
	// Ids of an earlier run must not come again while its miners may still send
	// shares for them.
	p.jobs = jobs.NewTable(uint64(binary.BigEndian.Uint32(random[4:])), config.StaleGrace)
	p.keeper = blocks.New(blocks.Options{
		Journal: p.folder.Journal, Nodes: p.nodes, Confirmations: config.Confirmations, Logger: p.log,
		OnChange: p.blockChanged,
	})
	p.miners = miners.New(miners.Options{
		Jobs: p.jobs, Home: home, MaxExtranonce: template.MaxExtranonce,
		Accounts:        p.folder.Accounts,
		Vardiff:         vardiff.Config{SharesPerMinute: config.SharesPerMinute, Min: config.MinDifficulty, Max: config.MaxDifficulty},
		StartDifficulty: config.StartDifficulty, StaleGrace: config.StaleGrace,
		Authorize: config.Authorize, Found: p.found, Now: now, Logger: p.log,
		Stratum: stratum.ServerOptions{
			VersionMask: config.mask(), NoVersionRolling: config.NoVersionRolling, ProxyFrom: config.ProxyFrom, Logger: p.log,
			Limits: config.Limits, ServeTransactions: config.ServeTransactions,
		},
	})
	p.director = director.New(director.Options{
		Sources: p.sources, Miners: p.miners, HoldDown: max(config.HoldDown, 0), Now: now, Logger: p.log,
	})
	p.memory.Limit = memory.Limit()
	return p, nil
}

// setDefaults puts in those that the parts do not know.
func (c *Config) setDefaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ListenFunc == nil {
		c.ListenFunc = net.Listen
	}
	if c.HoldDown == 0 {
		c.HoldDown = defaultHoldDown
	}
	if c.NotifyInterval <= 0 {
		c.NotifyInterval = notifyInterval
	}
}

func (c *Config) check() error {
	switch {
	case c.Listen == "" && c.ListenTLS == "":
		return errors.New("no address to listen at")
	case len(c.CoinbaseTag) > 40:
		return fmt.Errorf("coinbase tag of %d bytes, at most 40", len(c.CoinbaseTag))
	case c.StateDir == "":
		return errors.New("no state folder: found blocks need a journal")
	case c.PayoutAddress != "":
		return node.CheckAddress(c.PayoutAddress)
	}
	return nil
}

// mask is the version bits that miners may roll.
func (c *Config) mask() uint32 {
	if c.NoVersionRolling {
		return 0
	}
	return stratum.WideVersionMask
}

// Run serves miners until ctx ends, then says goodbye to them, and returns nil when
// everything is closed.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.folder.Close()
	defer p.notices.stop()
	listeners, err := p.openListeners()
	if err != nil {
		return fmt.Errorf("pool-proxy: %w", err)
	}
	// What looks after blocks goes on while miners are said goodbye to.
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { p.keeper.Run(inner) })
	background.Go(func() { p.director.Run(inner) })
	background.Go(func() { p.tick(inner) })
	p.folder.Save(inner)
	// The API stays up while miners leave: it says that the proxy is draining.
	answering, silence := context.WithCancel(inner)
	defer silence()
	failed := make(chan error, len(listeners))
	var serving sync.WaitGroup
	for _, l := range listeners {
		until := ctx
		if l.api {
			until = answering
		}
		serving.Go(func() {
			if err := l.serve(until); err != nil {
				failed <- err
			}
		})
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	p.draining.Store(true)
	drain, cancel := context.WithTimeout(inner, drainTime)
	p.miners.Stratum().Shutdown(drain, true)
	cancel()
	p.awaitBlocks(inner)
	silence()
	serving.Wait()
	stop()
	background.Wait()
	for _, s := range p.sources {
		s.Close()
	}
	if err != nil {
		return fmt.Errorf("pool-proxy: %w", err)
	}
	return nil
}

// tick does what is to be done from time to time.
func (p *Proxy) tick(ctx context.Context) {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := p.now()
		p.director.Tick()
		p.sendAway(now)
		p.jobs.Forget(now)
		p.lookAtMemory()
		if n%sessionTicks == 0 {
			p.miners.Tick(now)
		}
		if n%recordTicks == 0 {
			p.record(now)
		}
		if n%certificateTicks == 0 {
			p.reloadCertificate()
		}
	}
}

// sendAway closes all connections when there has been no work for IdleClose.
func (p *Proxy) sendAway(now time.Time) {
	since := p.director.IdleSince()
	if p.config.IdleClose <= 0 || since.IsZero() || now.Sub(since) < p.config.IdleClose {
		return
	}
	if p.miners.SendAway() {
		p.log.Warn("no upstream gives work, miners are sent away", "since", since)
	}
}

// lookAtMemory refuses new miners while there is no memory for them: those who are there
// are to go on, and the process not to be killed for want of it.
func (p *Proxy) lookAtMemory() {
	full, changed := p.memory.Look()
	p.miners.SetFull(full)
	if !changed {
		return
	}
	needed, limit, connections := p.memory.Needed(), p.memory.Limit, p.miners.Stratum().Stats().Connections.Load()
	if full {
		p.log.Error("no memory for more miners: new connections are refused", "needed", needed, "limit", limit, "connections", connections)
	} else {
		p.log.Warn("there is memory for new miners again", "needed", needed, "limit", limit, "connections", connections)
	}
}

// reloadCertificate takes over a renewed certificate; a faulty one leaves the former.
func (p *Proxy) reloadCertificate() {
	if p.certificate == nil {
		return
	}
	if err := p.certificate.Reload(); err != nil {
		p.log.Error("the former TLS certificate stays in force", "error", err)
	}
}

// record takes values for the page's curves.
func (p *Proxy) record(now time.Time) {
	s := p.Status()
	p.folder.History.Add(now, map[string]float64{"hashrate": s.Hashrate, "connections": float64(s.Connections)})
}
