package scheduler

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"time"

	"lode/scheduler/constraint"
	"lode/scheduler/control"
	"lode/scheduler/rule"
	"lode/zookeeper"
)

// Defaults of Config.
const (
	DefaultName = "lode"
	DefaultRole = "*"
	// DefaultListen is for masters on this machine; otherwise agents have to reach
	// the listener too, and it is DefaultPort on all addresses.
	DefaultListen          = "127.0.0.1:" + DefaultPort
	DefaultPort            = "8650"
	DefaultFailoverTimeout = 7 * 24 * time.Hour
	DefaultProxyGrace      = 30 * time.Second
	DefaultReportInterval  = 3 * time.Second
)

// Config is what a Scheduler needs. Zero values are the defaults that the fields name.
type Config struct {
	// Masters are URLs of Mesos masters, http://host:port; any of them may lead.
	Masters []string
	// MasterCAs are trusted for https masters; nil: the system's.
	MasterCAs *x509.CertPool
	// Principal and Secret authenticate to the master by HTTP Basic; "": not.
	Principal, Secret string
	// ReadSandboxes says whether what executors wrote that failed is read from their
	// agents; "": ReadOpen.
	ReadSandboxes ReadSandboxes

	// Name of the framework, "": DefaultName. User runs the executors on agents;
	// "": the user of this process.
	Name, User string
	// Roles that offers are taken for; none: DefaultRole.
	Roles []string
	// GPUAgents takes the cpus of agents with GPUs too, RegionAware those of agents in
	// other regions than the master's.
	GPUAgents, RegionAware bool
	// Constraints say on which agents miners may be, ProxyConstraints on which proxies
	// may.
	Constraints, ProxyConstraints constraint.List
	// FailoverTimeout is for how long Mesos keeps the tasks when the scheduler is
	// away. 0: DefaultFailoverTimeout.
	FailoverTimeout time.Duration
	// NewFramework forgets the stored framework id and its tasks, unless a start of
	// before has done so already and there was none without it since: so that a flag
	// that is left in a unit file makes one new framework, and not one at each start.
	NewFramework bool
	// NewMesos says that the masters are as new as this process and know nothing of
	// frameworks of before: what is stored of one is forgotten at each start.
	NewMesos bool
	// Upgrade replaces tasks that run another executor binary, a few at a time.
	Upgrade bool
	// Teardown makes Run end the framework, and with it all tasks, when its
	// context ends.
	Teardown bool

	// Upstreams of the proxy, best first.
	Upstreams     []Upstream
	PayoutAddress string
	// CoinbaseTag is text for the coinbase, at most 40 bytes.
	CoinbaseTag string
	// ProxyLimits are what the proxy puts up with, as pool.ParseLimits reads them.
	ProxyLimits map[string]string
	// MinBlockInterval is the least time between blocks, for test networks. 0: none.
	MinBlockInterval time.Duration
	// Proxies is how many there are, at most core.MostProxies; 0: one. Each has a part
	// of the miners, and takes over those of another that is lost.
	Proxies int
	// ProxyCPUs and ProxyMem (MB) are what each has; 0: 1 cpu and 256 MB for each 20,000
	// miners that it may have to serve. MinerMem (MB) is what each miner has; 0: 128.
	ProxyCPUs          float64
	ProxyMem, MinerMem int

	// StateDir holds everything that must survive. One scheduler at a time uses it.
	StateDir string
	// ZooKeeper is where Lead keeps the state and elects who leads,
	// zk://[user:password@]host:port,host:port/path. StateDir then holds what one
	// scheduler can do without: executors for a rollback, curves for the page; "":
	// nothing.
	ZooKeeper string
	// term and library are set by Lead.
	term    *zookeeper.Term
	library *library
	// Listen is host:port of the HTTP server with API and artifact; "": DefaultListen,
	// or DefaultPort on all addresses if a master is on another machine.
	Listen string
	// ListenFunc opens the listener; nil: net.Listen.
	ListenFunc func(network, addr string) (net.Listener, error)
	// ArtifactAdvertise is host:port under which agents reach Listen; "": the
	// listener's port with the address that this machine uses towards the master.
	ArtifactAdvertise string
	// Auth says who may use the API; nil: this machine may all, others may read.
	Auth *control.Auth
	// TLS makes the listener speak it; nil: it does not. Agents fetch the executor in
	// the clear all the same: they know no certificate of ours.
	TLS *tls.Config
	// Executor is the path of lode-executor; "": beside the running program.
	Executor string
	// ExecutorURL is where agents fetch a copy of it, which may be a .tar.gz, if they do
	// not from us: any URL that Mesos' fetcher knows. {digest} stands for its SHA-256;
	// only where that is in the URL agents may keep what they fetched. Executors check
	// that they are what was meant wherever they come from.
	ExecutorURL string

	// ProxyGrace is for how long miners may idle without a proxy before they are
	// killed; 0 kills at once (use DefaultProxyGrace for the default).
	ProxyGrace time.Duration
	// HoldBackCPUs is left unused on every agent.
	HoldBackCPUs float64
	// Kernel that miners are to use; "": they choose.
	Kernel string
	// Yield is how miners give cpus to others: none, nice, idle or sense; "": sense.
	Yield string
	// OneACore lets miners have one thread a core.
	OneACore bool
	// CoreSched lets them use core scheduling.
	CoreSched bool
	// PauseWhen stops all hashing while it holds; nil: never. Signals are the files and
	// URLs of its signals, by name, beside OthersSignal and WattsSignal.
	PauseWhen *rule.Rule
	Signals   map[string]string
	// IdleMode ends miners on ordinary resources while others keep their agents busy.
	IdleMode bool
	// OnlyRevocable takes nothing but revocable resources for miners.
	OnlyRevocable bool
	// ReportInterval is the mean time between reports of a task. 0: DefaultReportInterval.
	ReportInterval time.Duration
	// Revocable takes revocable resources too.
	Revocable bool
	// MaxMiners bounds the number of miner tasks; 0: no bound.
	MaxMiners int

	// Blocks submits found blocks that no proxy reports confirmed; nil: nobody does.
	Blocks BlockSubmitter
	// OnEvent is called with each event, one at a time; it must return quickly.
	OnEvent func(Event)
	Logger  *slog.Logger
}

// Upstream is a source of work for the proxy. Its credentials reach the proxy in a
// framework message and nowhere else.
type Upstream struct {
	// URL is node:URL, stratum+tcp://HOST:PORT or stratum+tls://HOST:PORT.
	URL            string
	User, Password string
	// CA are PEM certificates to trust for this upstream; nil: the system's.
	CA []byte
}

// BlockSubmitter gives a block to Bitcoin nodes.
type BlockSubmitter interface {
	// SubmitBlock submits a serialized block and says what a node knows of it
	// afterwards. ErrBlockInvalid: no node will ever take it.
	SubmitBlock(ctx context.Context, block []byte) (BlockFate, error)
	// BlockFate says what a node knows of a block that it may have; hash in display order.
	BlockFate(ctx context.Context, hash string, height int64) (BlockFate, error)
	// Tip asks a node for the newest header of its chain.
	Tip(ctx context.Context) (Tip, error)
}

// BlockFate is what a node knows of a block.
type BlockFate struct {
	State         string // submitted, confirmed or orphaned
	Confirmations uint32 // of a confirmed block, or of the one in its place
}

// Tip is the newest block of a chain.
type Tip struct {
	Bits uint32 // of the header
	// Easy says that the network takes blocks of the least difficulty at times, as
	// test networks do.
	Easy bool
}
