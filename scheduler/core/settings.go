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
	proxyCPUs     = 1000 // thousandths, default
	proxyMem      = 256  // MB, default
	minerMem      = 128  // MB
	executorCPUs  = 10   // thousandths
	executorMem   = 32   // MB
	leastMinerCPU = 100  // thousandths; less is not worth a process
)

// mostProxies is how many proxies there may be: each has a number of one byte that
// keeps its search space apart, and so have those that are away or being replaced.
const mostProxies = 64

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

	// ArtifactURL and ArtifactDigest name the executor binary, Fallback one that ran
	// before, for when the new one turns out not to; its Digest "": there is none.
	ArtifactURL, ArtifactDigest string
	Fallback                    Artifact

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
	ProxyCPUs    float64 // of each; 0: 1
	ProxyMem     int     // MB of each; 0: 256
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
	s.Proxies = min(s.Proxies, mostProxies)
	if len(s.Roles) == 0 {
		s.Roles = []string{"*"}
	}
	if s.ProxyCPUs == 0 {
		s.ProxyCPUs = fromMilli(proxyCPUs)
	}
	if s.ProxyMem == 0 {
		s.ProxyMem = proxyMem
	}
	return s
}
