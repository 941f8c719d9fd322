package task

import (
	"context"
	"fmt"
	"sync"
	"time"

	"lode/executor/mining"
	"lode/message"
	"lode/miner"
)

// niceness of the hashing threads: whoever else wants the cpu has it.
const niceness = 19

// minRateInterval is the shortest time over which a hashrate is measured: threads
// count batch by batch.
const minRateInterval = 250 * time.Millisecond

// Miner hashes for the proxies of its list.
type Miner struct {
	env     Env
	engine  miner.Searcher
	mining  *mining.Miner
	threads int
	cpus    int // thousandths that may be used at most
	duty    float64

	mu       sync.Mutex
	epoch    uint64
	lastTime time.Time // when rate was measured
	lastHash uint64
	rate     float64 // H/s
}

// NewMiner chooses a kernel and prepares the threads.
func NewMiner(spec *message.MinerTask, env Env) (*Miner, error) {
	cpus := env.CPUsMilli
	if limit := int(spec.CpusMilli); limit > 0 && (cpus == 0 || limit < cpus) {
		cpus = limit
	}
	m := &Miner{env: env, cpus: cpus, lastTime: time.Now()}
	m.threads, m.duty = mining.Threads(cpus)
	env.Hide(spec.Password)
	engine, err := env.NewEngine(miner.Options{
		Threads: m.threads, Kernel: spec.Kernel, Nice: niceness, Duty: m.duty,
	})
	if err != nil {
		return nil, fmt.Errorf("start the hashing engine with %d threads: %w", m.threads, err)
	}
	m.engine = engine
	m.mining = mining.New(mining.Config{
		Engine: engine, Connect: env.Connect, User: spec.User, Password: spec.Password,
		UserAgent: "lode-executor", Log: env.Log, Rand: env.Rand,
	})
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
	m.mining.SetPools(p.Addresses)
}

// Run implements Task.
func (m *Miner) Run(ctx context.Context) error { return m.mining.Run(ctx) }

// Hello implements Task.
func (m *Miner) Hello(h *message.Hello) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h.ProxiesEpoch = m.epoch
}

// Receive implements Task.
func (m *Miner) Receive(msg *message.ToExecutor) {
	switch event := msg.Event.(type) {
	case *message.ToExecutor_Proxies:
		m.setProxies(event.Proxies)
	case *message.ToExecutor_Limit:
		if event.Limit == nil {
			return
		}
		m.mining.SetPaused(event.Limit.Paused)
		cpus := m.cpus
		if limit := int(event.Limit.CpusMilli); limit > 0 {
			cpus = min(cpus, limit)
		}
		m.engine.SetDuty(min(1, float64(max(1, cpus))/float64(m.threads*1000)))
	}
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
	rate, epoch := m.rate, m.epoch
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
	if !s.JobSince.IsZero() {
		report.State = "mining"
		report.JobAgeMs = now.Sub(s.JobSince).Milliseconds()
	}
	if s.Paused {
		report.State = "paused"
	}
	r.Shares = &message.Shares{Accepted: s.Accepted, Rejected: s.Rejected, Stale: s.Stale, Difficulty: s.Accounted}
	r.Detail = &message.Report_Miner{Miner: report}
}
