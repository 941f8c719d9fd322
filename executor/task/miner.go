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
	mining  *mining.Miner
	threads int

	mu       sync.Mutex
	epoch    uint64
	lastTime time.Time // when rate was measured
	lastHash uint64
	rate     float64 // H/s
}

// NewMiner chooses a kernel and prepares the threads.
func NewMiner(spec *message.MinerTask, env Env) (*Miner, error) {
	threads, duty := mining.Threads(env.CPUsMilli)
	m := &Miner{threads: threads, lastTime: time.Now()}
	env.Hide(spec.Password)
	engine, err := env.NewEngine(miner.Options{
		Threads: threads, Kernel: spec.Kernel, Nice: niceness, Duty: duty,
	})
	if err != nil {
		return nil, fmt.Errorf("start the hashing engine with %d threads: %w", threads, err)
	}
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
	r.Shares = &message.Shares{Accepted: s.Accepted, Rejected: s.Rejected, Stale: s.Stale, Difficulty: s.Accounted}
	r.Detail = &message.Report_Miner{Miner: report}
}
