package task

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/message"
	"lode/pool"
	"lode/pool/api"
	"lode/stratum"
)

// helloInterval is how often a proxy asks for its secrets: framework messages may
// be lost, and without secrets it serves nobody.
const helloInterval = 3 * time.Second

// maxReportBlocks bounds the blocks in a report, oldReportBlocks is that of reports
// to a scheduler that acknowledges none: it is told of the newest.
const (
	maxReportBlocks = 64
	oldReportBlocks = 16
)

// Proxy serves work to miners.
type Proxy struct {
	env       Env
	spec      *message.ProxyTask
	listen    string // of Stratum
	http      string
	advertise string // host
	blocks    *blockSender
	limits    stratum.Limits
	api       api.Limits

	once    sync.Once
	secrets chan *message.Secrets // capacity 1
	keys    workerKeys

	mu    sync.Mutex
	pool  pool.Runner // nil until the secrets are there
	known map[string]knownBlock
}

// NewProxy checks what can be checked before secrets arrive.
func NewProxy(spec *message.ProxyTask, env Env) (*Proxy, error) {
	p := &Proxy{env: env, spec: spec, secrets: make(chan *message.Secrets, 1)}
	stratumPort, httpPort, err := ports(spec, env.Ports)
	if err != nil {
		return nil, err
	}
	if spec.Shard > 255 {
		return nil, fmt.Errorf("proxy shard %d: expected 0 to 255", spec.Shard)
	}
	if p.limits, p.api, err = pool.ParseLimits(spec.Limits); err != nil {
		return nil, err
	}
	if len(spec.Upstreams) == 0 {
		return nil, errors.New("proxy without an upstream")
	}
	p.advertise = spec.AdvertiseHost
	if p.advertise == "" {
		p.advertise = env.AgentHost
	}
	host := bindHost(p.advertise)
	p.listen = net.JoinHostPort(host, strconv.Itoa(int(stratumPort)))
	if httpPort != 0 {
		p.http = net.JoinHostPort(host, strconv.Itoa(int(httpPort)))
	}
	p.blocks = newBlockSender(env)
	return p, nil
}

// ports chooses the two ports: those that the task names, else the first two of
// its resources. Ports that are not in the resources may belong to another task.
func ports(spec *message.ProxyTask, offered []uint16) (stratum, http uint16, err error) {
	if spec.StratumPort > 65535 || spec.HttpPort > 65535 {
		return 0, 0, fmt.Errorf("ports %d and %d: expected at most 65535", spec.StratumPort, spec.HttpPort)
	}
	stratum, http = uint16(spec.StratumPort), uint16(spec.HttpPort)
	for _, port := range []uint16{stratum, http} {
		if port != 0 && len(offered) > 0 && !slices.Contains(offered, port) {
			return 0, 0, fmt.Errorf("port %d is not among the ports of the task's resources %v", port, offered)
		}
	}
	for _, port := range offered {
		switch {
		case port == stratum || port == http:
		case stratum == 0:
			stratum = port
		case http == 0:
			http = port
		}
	}
	if stratum == 0 {
		return 0, 0, errors.New("no port for Stratum: neither the task nor its resources name one")
	}
	return stratum, http, nil
}

// bindHost is the address to listen on: all, unless miners are told to come over
// the loopback interface, where nobody else can.
func bindHost(advertise string) string {
	if advertise == "localhost" {
		return "127.0.0.1"
	}
	if ip := net.ParseIP(advertise); ip != nil && ip.IsLoopback() {
		return advertise
	}
	return ""
}

// Run waits for the secrets and then serves until ctx ends.
func (p *Proxy) Run(ctx context.Context) error {
	secrets, err := p.waitForSecrets(ctx)
	if err != nil || secrets == nil {
		return err
	}
	cfg, err := p.config(secrets)
	if err != nil {
		return err
	}
	runner, err := p.env.NewProxy(cfg)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.pool = runner
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		p.blocks.run(ctx)
	}()
	err = runner.Run(ctx)
	stopped := ctx.Err() != nil
	cancel()
	<-sending
	switch {
	case err != nil:
		return err
	case !stopped:
		return errors.New("the proxy ended by itself")
	}
	return nil
}

func (p *Proxy) waitForSecrets(ctx context.Context) (*message.Secrets, error) {
	timer := time.NewTimer(jittered(helloInterval, p.env.Rand))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case s := <-p.secrets:
			return s, nil
		case <-timer.C:
			// The executor said Hello when the task started.
			p.env.Send("hello", &message.ToScheduler{Event: &message.ToScheduler_Hello{Hello: p.hello()}})
			timer.Reset(jittered(helloInterval, p.env.Rand))
		}
	}
}

func (p *Proxy) hello() *message.Hello {
	h := &message.Hello{}
	p.Hello(h)
	return h
}

// Hello implements Task.
func (p *Proxy) Hello(h *message.Hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.NeedSecrets = p.pool == nil
}

// Receive implements Task.
func (p *Proxy) Receive(m *message.ToExecutor) {
	switch event := m.Event.(type) {
	case *message.ToExecutor_Secrets:
		if event.Secrets == nil {
			return
		}
		for _, c := range event.Secrets.Upstreams {
			if c != nil {
				p.env.Hide(c.Password)
			}
		}
		p.keys.set(event.Secrets)
		// Later ones are repetitions, for the scheduler answers each Hello, or bring
		// other keys of miners.
		p.once.Do(func() { p.secrets <- event.Secrets })
	case *message.ToExecutor_BlockStates:
		p.learn(event.BlockStates.GetBlocks())
	case *message.ToExecutor_BlockReceived:
		if event.BlockReceived != nil {
			p.blocks.received(event.BlockReceived.Hash)
		}
	}
}

func (p *Proxy) config(secrets *message.Secrets) (pool.Config, error) {
	if len(secrets.WorkerKey) == 0 {
		return pool.Config{}, errors.New("the scheduler's secrets have no key for the miners' passwords")
	}
	cfg := pool.Config{
		Listen:           p.listen,
		HTTPListen:       p.http,
		PayoutAddress:    p.spec.PayoutAddress,
		CoinbaseTag:      p.spec.CoinbaseTag,
		StateDir:         filepath.Join(p.env.Sandbox, "state"),
		Shard:            uint8(p.spec.Shard),
		Authorize:        p.keys.authorize,
		OnBlock:          p.blocks.found,
		MinBlockInterval: time.Duration(p.spec.MinBlockIntervalMs) * time.Millisecond,
		SharesPerMinute:  p.spec.SharesPerMinute,
		Limits:           p.limits,
		API:              p.api,
		Logger:           p.env.Log,
	}
	for _, url := range p.spec.Upstreams {
		upstream := pool.Upstream{URL: url}
		if c := secrets.Upstreams[url]; c != nil {
			upstream.User, upstream.Password, upstream.CA = c.User, c.Password, c.Ca
		}
		cfg.Upstreams = append(cfg.Upstreams, upstream)
	}
	return cfg, nil
}

// Report implements Task.
func (p *Proxy) Report(r *message.Report) {
	p.mu.Lock()
	runner := p.pool
	p.mu.Unlock()
	report := &message.ProxyReport{SecretsEpoch: p.keys.epoch()}
	r.Detail = &message.Report_Proxy{Proxy: report}
	r.Shares = &message.Shares{}
	if runner == nil {
		report.Error = "waiting for the secrets of the scheduler"
		return
	}
	status := runner.Status()
	report.Ready = status.Ready
	if status.Listen != "" {
		report.Stratum = p.advertised(status.Listen, p.listen)
	}
	if status.HTTP != "" {
		report.Http = p.advertised(status.HTTP, p.http)
	}
	report.Upstream, report.Network = status.Upstream, status.Network
	report.Connections = uint32(max(0, status.Connections))
	report.Hashrate = status.Hashrate
	report.Height = status.Height
	report.Error = shorten(status.LastError, 200)
	r.Shares.Accepted = status.Shares.Accepted
	r.Shares.Rejected = status.Shares.Rejected
	r.Shares.Stale = status.Shares.Stale
	r.Shares.Difficulty = status.Shares.Difficulty
	report.Blocks = p.unknown(status.Blocks)
}

// advertised is host:port for others: the port that is really listened on.
func (p *Proxy) advertised(listening, configured string) string {
	_, port, err := net.SplitHostPort(listening)
	if err != nil {
		_, port, _ = net.SplitHostPort(configured)
	}
	return net.JoinHostPort(p.advertise, port)
}

func blockState(b pool.Block) (*message.BlockState, error) {
	hash, err := chainhash.NewHashFromStr(b.Hash)
	if err != nil {
		return nil, fmt.Errorf("hash of a block %q: %w", b.Hash, err)
	}
	return &message.BlockState{
		Height: b.Height, Hash: hash[:], State: string(b.State),
		Finder: shorten(b.Finder, 64), Confirmations: uint32(max(0, b.Confirmations)),
	}, nil
}
