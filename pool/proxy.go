package pool

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"lode/history"
	"lode/pool/accounts"
	"lode/pool/blocks"
	"lode/pool/jobs"
	"lode/pool/journal"
	"lode/pool/memory"
	"lode/pool/node"
	"lode/pool/share"
	"lode/pool/space"
	"lode/pool/template"
	"lode/pool/upstream"
	"lode/pool/vardiff"
	"lode/stratum"
)

const (
	// Our own extranonce space: 4 bytes of extranonce1, the first of which is the
	// shard, and 8 of extranonce2. No other sizes suit more miners.
	ownExtranonce2Size = 8
	ownExtranonceSize  = 4 + ownExtranonce2Size
	// instanceSize: shard, 3 random bytes, job number.
	instanceSize = 8
	// leaseTime is how long a miner's extranonce1 is kept for its return. Shares of a
	// former holder must not count any more for the next.
	leaseTime = share.Memory

	defaultHoldDown = time.Minute
	startPatience   = 2 * time.Second
	tickInterval    = time.Second
	// Ticks between two looks at all sessions, and at the certificate's files.
	sessionTicks     = 5
	recordTicks      = 10 // ticks between two values of the page's curves
	certificateTicks = 60
	drainTime        = 5 * time.Second
	// staleWork is how long miners go on with the last work when no upstream is left.
	// After that their shares are stale, and nothing is sent to them: Stratum has no
	// pause, but miners take a minute or two of silence for the end of the connection,
	// connect again, and then wait for a job.
	staleWork = time.Minute
	// keepAlive is how long miners are left without a message while there is work.
	// Some give up after 60 s.
	keepAlive = 45 * time.Second
)

// Proxy is a pool-proxy. Make it with New, run it with Run.
type Proxy struct {
	config  Config
	log     *slog.Logger
	now     func() time.Time
	vardiff vardiff.Config

	lock     *os.File // of the state folder
	journal  *journal.Journal
	keeper   *blocks.Keeper
	accounts *accounts.Book
	history  *history.Recorder // for the page
	began    time.Time
	brake    brake
	server   *stratum.Server
	notices  *pacer
	sources  []source
	nodes    []*node.Node
	jobs     *jobs.Table
	instance []byte       // sets our coinbases apart
	home     *space.Space // our own, good for any node
	space    atomic.Pointer[space.Space]
	working  atomic.Bool // there is valid work
	draining atomic.Bool
	away     atomic.Bool // miners are sent away for want of work
	// turnedAway counts miners that found no extranonce; turnAwayLogged is when that was
	// logged, unix nanoseconds.
	turnedAway     atomic.Uint64
	turnAwayLogged atomic.Int64
	// memoryLimit is how many bytes the process may need, 0: any.
	memoryLimit  int64
	memoryNeeded atomic.Int64
	full         atomic.Bool  // it needs nearly as many
	guard        memory.Guard // of tick
	// certificate is for ListenTLS, nil without it.
	certificate *stratum.Certificate

	questions chan upstream.Question // of the arbiter
	again     *time.Timer            // when the arbiter is to decide again

	publishing sync.Mutex // orders publish; held before stateMu
	sentAt     time.Time  // of the last broadcast; guarded by publishing

	stateMu   sync.Mutex // guards the rest
	arbiter   *upstream.Arbiter
	idleSince time.Time
	network   string
	lastError string
	listen    string
	listenTLS string
	http      string
}

// New checks the configuration and reads the journal and the accounts. It does not
// connect yet: Run does.
func New(config Config) (*Proxy, error) {
	p := &Proxy{config: config, log: config.Logger, now: time.Now, began: time.Now()}
	p.notices = &pacer{interval: noticeInterval, do: p.notifySources}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if config.ListenFunc == nil {
		p.config.ListenFunc = net.Listen
	}
	if config.Listen == "" && config.ListenTLS == "" {
		return nil, errors.New("pool-proxy: no address to listen at")
	}
	if len(config.CoinbaseTag) > 40 {
		return nil, fmt.Errorf("pool-proxy: coinbase tag of %d bytes, at most 40", len(config.CoinbaseTag))
	}
	if config.PayoutAddress != "" {
		if err := node.CheckAddress(config.PayoutAddress); err != nil {
			return nil, fmt.Errorf("pool-proxy: %w", err)
		}
	}
	if config.HoldDown == 0 {
		p.config.HoldDown = defaultHoldDown
	}
	if config.StateDir == "" {
		return nil, errors.New("pool-proxy: no state folder: found blocks need a journal")
	}
	if config.ListenTLS != "" {
		var err error
		if p.certificate, err = stratum.LoadCertificate(config.CertFile, config.KeyFile); err != nil {
			return nil, fmt.Errorf("pool-proxy: %w", err)
		}
	}
	p.vardiff = vardiff.Config{SharesPerMinute: config.SharesPerMinute, Min: config.MinDifficulty, Max: config.MaxDifficulty}
	if err := p.makeSources(); err != nil {
		return nil, fmt.Errorf("pool-proxy: %w", err)
	}
	if err := p.openState(); err != nil {
		return nil, fmt.Errorf("pool-proxy: %w", err)
	}
	if err := p.prepare(); err != nil {
		p.closeState()
		return nil, fmt.Errorf("pool-proxy: %w", err)
	}
	return p, nil
}

// Run serves miners until ctx ends, then says goodbye to them, and returns nil when
// everything is closed.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.closeState()
	defer p.notices.stop()
	listeners, err := p.openListeners()
	if err != nil {
		return fmt.Errorf("pool-proxy: %w", err)
	}
	p.stateMu.Lock()
	p.arbiter.Start(p.now())
	p.stateMu.Unlock()
	// What looks after blocks goes on while miners are said goodbye to.
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { p.keeper.Run(inner) })
	background.Go(func() { p.tick(inner) })
	background.Go(func() { p.answerLoop(inner) })
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		p.saveLoop(inner)
	}()
	for i, s := range p.sources {
		background.Go(func() { s.run(inner, &report{p, i}) })
	}
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
	p.server.Shutdown(drain, true)
	cancel()
	p.awaitBlocks(inner)
	silence()
	serving.Wait()
	stop()
	background.Wait()
	for _, n := range p.nodes {
		n.Close()
	}
	p.waitForDisk(saved)
	if err != nil {
		return fmt.Errorf("pool-proxy: %w", err)
	}
	return nil
}

// prepare makes the parts, without starting them.
func (p *Proxy) prepare() error {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	home, err := space.New([]byte{p.config.Shard}, 3, ownExtranonce2Size, leaseTime)
	if err != nil {
		return err
	}
	p.home = home
	p.space.Store(home)
	p.instance = []byte{p.config.Shard, random[0], random[1], random[2]}
	// Ids of an earlier run must not come again while its miners may still send
	// shares for them.
	first := uint64(binary.BigEndian.Uint32(random[4:]))
	p.memoryLimit = memory.Limit()
	p.jobs = jobs.NewTable(first, p.config.StaleGrace)
	p.server = stratum.NewServer(stratum.ServerOptions{
		VersionMask: p.mask(), NoVersionRolling: p.config.NoVersionRolling, ProxyFrom: p.config.ProxyFrom, Logger: p.log,
		Limits: p.config.Limits, ServeTransactions: p.config.ServeTransactions,
	}, p)
	nodes := make([]blocks.Node, len(p.nodes))
	for i, n := range p.nodes {
		nodes[i] = n
	}
	p.keeper = blocks.New(blocks.Options{
		Journal: p.journal, Nodes: nodes, Confirmations: p.config.Confirmations, Logger: p.log,
		OnChange: p.blockChanged,
	})
	return nil
}

func (p *Proxy) blockChanged(b blocks.Block) {
	if p.config.OnBlock != nil {
		p.config.OnBlock(exportBlock(b))
	}
}

func exportBlock(b blocks.Block) Block {
	return Block{
		Height: b.Height, Hash: b.Hash, State: BlockState(b.State), Finder: b.Finder,
		Confirmations: int(b.Confirmations), Detail: b.Detail, FoundAt: b.FoundAt, Raw: b.Raw, Pool: b.Pool,
	}
}

func (p *Proxy) mask() uint32 {
	if p.config.NoVersionRolling {
		return 0
	}
	return stratum.WideVersionMask
}

// coinbaseOptions say how coinbases look.
func (p *Proxy) coinbaseOptions(script []byte, size int, instance []byte) template.Options {
	return template.Options{
		PayoutScript: script, ExtranonceSize: size, Tag: []byte(p.config.CoinbaseTag), Instance: instance,
	}
}

// sameNetwork refuses upstreams of different networks in one list.
func (p *Proxy) sameNetwork(name string) error {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	if p.network == "" {
		p.network = name
	}
	p.arbiter.OnChain(upstream.Chain{
		Steady: name == "mainnet" || name == "signet", Easy: name == "testnet3" || name == "testnet4",
	})
	if p.network != name {
		return fmt.Errorf("it is on %s, another upstream on %s: all must be on one network", name, p.network)
	}
	return nil
}

// fitsNode reports whether an extranonce of the size leaves room in a coinbase.
func (p *Proxy) fitsNode(size int) bool {
	return 5+1+size+1+len(p.config.CoinbaseTag)+1+instanceSize <= template.MaxScriptSig && size <= 32
}

// tick does what is to be done from time to time.
func (p *Proxy) tick(ctx context.Context) {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-p.again.C:
			p.publishing.Lock()
			p.choose()
			p.publishing.Unlock()
			continue
		case <-ticker.C:
		}
		p.publishing.Lock()
		p.choose()
		now := p.now()
		p.refresh(now)
		p.publishing.Unlock()
		p.sendAway(now)
		p.jobs.Forget(now)
		p.lookAtMemory()
		if n%sessionTicks == 0 {
			p.server.Conns(func(c *stratum.Conn) { p.tickSession(c, now) })
		}
		if n%recordTicks == 0 {
			p.record(now)
		}
		if n%certificateTicks == 0 {
			p.reloadCertificate()
		}
	}
}

// lookAtMemory refuses new miners while there is no memory for them: those who are there
// are to go on, and the process not to be killed for want of it.
func (p *Proxy) lookAtMemory() {
	needed, limit := memory.Needed(), p.memoryLimit
	full, changed := p.guard.Look(needed, limit)
	p.memoryNeeded.Store(needed)
	if !changed {
		return
	}
	p.full.Store(full)
	p.server.SetFull(full)
	connections := p.server.Stats().Connections.Load()
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

// tickSession lowers the difficulty of a silent miner.
func (p *Proxy) tickSession(c *stratum.Conn, now time.Time) {
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authorized || !p.working.Load() {
		return
	}
	if _, changed := s.vardiff.Tick(p.vardiff, now); changed {
		p.changeDifficulty(s)
	}
}
