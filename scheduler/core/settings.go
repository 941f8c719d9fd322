package core

import (
	"math/rand/v2"
	"time"

	"lode/message"
	"lode/scheduler/constraint"
)

// Resources of tasks. A task and its executor share one container. The executor has
// the least that a master takes without a word in its log; the task has the rest.
const (
	proxyCPUs     = 1000 // thousandths, for each proxyMiners
	proxyMem      = 256  // MB, for each proxyMiners
	proxyPorts    = 2
	minerMem      = 128 // MB, default
	executorCPUs  = 10  // thousandths
	executorMem   = 32  // MB
	leastMinerCPU = 100 // thousandths; less is not worth a process
)

// proxyMiners is how many miners one cpu of a proxy carries.
const proxyMiners = 20_000

// MostProxies is how many proxies there may be: each has a number of one byte that
// keeps its search space apart, and so have those that are away or being replaced.
const MostProxies = 64

// Settings are what an operator decided.
type Settings struct {
	Name, User, Principal, Hostname, WebUI string
	FailoverTimeout                        time.Duration
	Revocable                              bool
	// Roles that offers are taken for; none: those that nobody reserved anything for.
	Roles []string
	// GPUAgents takes the cpus of agents with GPUs too, RegionAware those of agents in
	// other regions than the master's.
	GPUAgents, RegionAware bool
	// Constraints say where miners may be, ProxyConstraints where proxies may.
	Constraints, ProxyConstraints constraint.List

	// ArtifactURL, ArtifactDigest and ArtifactArchive name the executor binary (see
	// Artifact), Fallback one that ran before, for when the new one turns out not to; its
	// Digest "": there is none.
	ArtifactURL, ArtifactDigest, ArtifactArchive string
	Fallback                                     Artifact

	Upstreams        []string // URLs without credentials
	PayoutAddress    string
	CoinbaseTag      string
	ProxyLimits      map[string]string // see message.ProxyTask
	MinBlockInterval time.Duration
	ReportInterval   time.Duration
	Kernel           string
	Yield            string // "": the executor's default
	OneACore         bool
	CoreSched        bool
	OnlyRevocable    bool
	IdleMode         bool
	// MayPause says that Pause events will come: until then miners stay as they are.
	MayPause bool

	Proxies      int     // 0: one
	ProxyCPUs    float64 // of each; 0: by the size of the cluster
	ProxyMem     int     // MB of each; 0: by the size of the cluster
	MinerMem     int     // MB of each miner; 0: 128
	ProxyGrace   time.Duration
	HoldBackCPUs float64
	MaxMiners    int // 0: no bound
	// Upgrade replaces tasks of another executor binary, a few at a time.
	Upgrade bool

	// Secrets answer a proxy's Hello, by upstream URL. The worker key is in State.
	Secrets map[string]*message.Credentials
	// CanSubmit says that SubmitBlock actions are of use.
	CanSubmit bool

	// Rand drives jitter and the choice of ports.
	Rand *rand.Rand
}

func (s Settings) withDefaults() Settings {
	if s.Proxies == 0 {
		s.Proxies = 1
	}
	s.Proxies = min(s.Proxies, MostProxies)
	if len(s.Roles) == 0 {
		s.Roles = []string{"*"}
	}
	if s.MinerMem == 0 {
		s.MinerMem = minerMem
	}
	return s
}

// reportRate is how many reports a second all miners together may make.
const reportRate = 2000

// reportInterval is what a task is told: in a large cluster miners report less often.
func (c *Core) reportInterval(kind string) time.Duration {
	if kind != KindMiner {
		return c.set.ReportInterval
	}
	return max(c.set.ReportInterval, time.Duration(c.size())*time.Second/reportRate)
}

// size is how many miners there may be on the agents that are known.
func (c *Core) size() int {
	size := max(len(c.agents), c.sums.miners)
	if most := c.maxMiners(); most >= 0 {
		size = min(size, most)
	}
	return size
}

// proxyLeast is what a proxy cannot do without, in thousandths of a cpu and of a MB:
// what the operator says, or else what carries proxyMiners.
func (c *Core) proxyLeast() (cpus, mem int64) {
	cpus, mem = proxyCPUs, proxyMem*1000
	if c.set.ProxyCPUs > 0 {
		cpus = toMilli(c.set.ProxyCPUs)
	}
	if c.set.ProxyMem > 0 {
		mem = int64(c.set.ProxyMem) * 1000
	}
	return cpus, mem
}

// proxySize is what a proxy is given: what the operator says, or else enough for all
// miners that there may be on the agents that are known, shared with the proxies that
// are left when one is lost. Where no agent has so much, it takes what there is.
func (c *Core) proxySize(s *slot, inv inventory) (cpus, mem int64) {
	share := c.size() / max(1, c.set.Proxies-1)
	parts := int64(max(1, (share+proxyMiners-1)/proxyMiners))
	size := func(least, have int64) int64 {
		if s.spreadOver(c) {
			return max(least, min(parts*least, have))
		}
		return parts * least
	}
	cpus, mem = c.proxyLeast()
	if c.set.ProxyCPUs == 0 {
		cpus = size(cpus, inv.sum("cpus", false))
	}
	if c.set.ProxyMem == 0 {
		mem = size(mem, inv.sum("mem", false))
	}
	return cpus, mem
}
