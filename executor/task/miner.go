package task

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"lode/executor/mining"
	"lode/message"
	"lode/miner"
)

// defaultYield is how threads give cpus to others unless the task says otherwise.
const defaultYield = "sense"

// proxyPatience is how long a proxy may be silent while another one has work: a proxy
// that is asked answers at once, unless its process or machine hangs.
const proxyPatience = 2 * time.Second

// minRateInterval is the shortest time over which a hashrate is measured: threads
// count batch by batch.
const minRateInterval = 250 * time.Millisecond

// Miner hashes for the proxies of its list.
type Miner struct {
	mining  *mining.Miner
	energy  energyProbe
	threads int

	mu       sync.Mutex
	epoch    uint64
	paused   bool // by the scheduler
	held     bool // by the probe of energy
	host     miner.LoadMeter
	nice     bool      // the hashing threads are
	lastTime time.Time // when rate was measured
	lastHash uint64
	rate     float64 // H/s
}

// NewMiner chooses a kernel and prepares the threads.
func NewMiner(spec *message.MinerTask, env Env) (*Miner, error) {
	threads, duty := mining.Threads(env.CPUsMilli)
	if cores := miner.DescribeHost().Cores; spec.OneACore && cores > 0 && cores < threads {
		threads, duty = cores, 1
	}
	m := &Miner{threads: threads, lastTime: time.Now()}
	env.Hide(spec.Password)
	options := miner.Options{Threads: threads, Kernel: spec.Kernel, OneACore: spec.OneACore, CoreSched: spec.CoreSched, Duty: duty, Log: env.Log}
	if err := options.YieldBy(cmp.Or(spec.Yield, defaultYield)); err != nil {
		return nil, err
	}
	m.nice = options.Nice > 0
	engine, err := env.NewEngine(options)
	if err != nil {
		return nil, fmt.Errorf("start the hashing engine with %d threads: %w", threads, err)
	}
	m.mining = mining.New(mining.Config{
		Engine: engine, Connect: env.Connect, User: spec.User, Password: spec.Password,
		UserAgent: "lode-executor", Log: env.Log, Rand: env.Rand,
	})
	var load miner.LoadMeter
	m.energy = energyProbe{
		measure: func(now time.Time) miner.Load { return load.Measure(now, m.niceTime(engine.Stats())) },
		hashes:  func() uint64 { return engine.Stats().Hashes },
		hold:    m.hold, rand: env.Rand,
	}
	m.setProxies(spec.Proxies)
	return m, nil
}

// setProxies takes a list unless a newer one is known.
func (m *Miner) setProxies(p *message.Proxies) {
	if p == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epoch != 0 && p.Epoch <= m.epoch {
		return
	}
	m.epoch = p.Epoch
	m.paused = p.Paused
	m.mining.SetPaused(m.paused || m.held)
	m.mining.SetPatience(0)
	if p.Several {
		m.mining.SetPatience(proxyPatience)
	}
	m.mining.SetPools(p.Addresses)
}

// hold pauses the hashing for a moment that is nobody's business.
func (m *Miner) hold(paused bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = paused
	m.mining.SetPaused(m.paused || m.held)
}

// Run implements Task.
func (m *Miner) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { m.energy.run(ctx) })
	return m.mining.Run(ctx)
}

// Hello implements Task.
func (m *Miner) Hello(h *message.Hello) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h.ProxiesEpoch = m.epoch
}

// Restarted implements Task: every report tells all that a miner has to tell.
func (m *Miner) Restarted() {}

// Receive implements Task.
func (m *Miner) Receive(msg *message.ToExecutor) {
	m.setProxies(msg.GetProxies())
}

// Report implements Task.
func (m *Miner) Report(r *message.Report) {
	s := m.mining.Status()
	now := time.Now()
	m.mu.Lock()
	if since := now.Sub(m.lastTime); since >= minRateInterval {
		m.rate = float64(s.Engine.Hashes-m.lastHash) / since.Seconds()
		m.lastTime, m.lastHash = now, s.Engine.Hashes
	}
	rate, epoch, paused := m.rate, m.epoch, m.paused
	load := m.host.Measure(now, m.niceTime(s.Engine))
	m.mu.Unlock()
	report := &message.MinerReport{
		Hashes:       s.Engine.Hashes,
		Hashrate:     rate,
		Threads:      uint32(m.threads),
		Kernel:       s.Engine.Kernel,
		JobAgeMs:     -1,
		Proxy:        s.Pool,
		State:        "idle",
		ProxiesEpoch: epoch,
		Error:        shorten(s.LastErr, 200),
	}
	y := s.Engine.Yielded
	report.Yielded = &message.Yielded{
		Count: y.Count, AwayUs: micros(y.Away), ParkedUs: micros(y.Parked), CpuUs: micros(y.CPU),
		P50Us: micros(y.P50), P99Us: micros(y.P99),
	}
	report.Host = hostOf(s.Engine.Idle)
	report.Host.JoulesPerGigahash = m.energy.cost()
	report.Host.OthersMilli, report.Host.Milliwatts = uint32(load.Others*1000), uint64(load.Watts*1000)
	if !s.JobSince.IsZero() {
		report.State = "mining"
		if paused {
			report.State = "paused"
		}
		report.JobAgeMs = now.Sub(s.JobSince).Milliseconds()
	}
	r.Shares = &message.Shares{Accepted: s.Accepted, Rejected: s.Rejected, Stale: s.Stale, Difficulty: s.Accounted}
	r.Detail = &message.Report_Miner{Miner: report}
}

// niceTime is the cpu time that the hashing threads had, if they are nice.
func (m *Miner) niceTime(s miner.Stats) time.Duration {
	if !m.nice {
		return 0
	}
	return s.Yielded.CPU
}

func micros(d time.Duration) uint64 { return uint64(d.Microseconds()) }

// hostOf says by what rules the threads share the machine.
func hostOf(idle bool) *message.Host {
	h := miner.DescribeHost()
	policy := "other"
	if idle {
		policy = "idle"
	}
	return &message.Host{
		Cpus: uint32(h.CPUs), Cores: uint32(h.Cores), Cgroup: uint32(h.Cgroup), Weight: uint32(min(h.Weight, math.MaxUint32)),
		IdleGroup: h.IdleGroup, QuotaMilli: uint32(min(h.Quota*1000, math.MaxUint32)), Policy: policy,
	}
}
