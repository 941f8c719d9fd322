// Package master is a Mesos master for development and tests: the v1 scheduler API,
// the operator endpoints and the master's side of its agents (package link), with the
// status codes, texts and order of events of a real one.
//
// New starts a master, which is an http.Handler; Close ends it. All state belongs to
// one goroutine: handlers, agents and timers hand it functions to run, one after the
// other, so nothing here locks.
package master

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/wire"
)

// Version is what the master says it is.
const Version = "1.11.0"

// Config says how a master behaves. The zero value of each field has the default
// that it names, which is that of a real master.
type Config struct {
	Address  string            // host:port that the master announces; required
	Hostname string            // default: the host of Address
	Domain   *mesos.DomainInfo // --domain, default none
	Registry *Registry

	Timing Timing

	// Credentials turns on HTTP basic authentication of frameworks
	// (--authenticate_http_frameworks): principal → secret.
	Credentials map[string]string
	// OperatorCredentials does the same for operator endpoints
	// (--authenticate_http_readonly and _readwrite).
	OperatorCredentials map[string]string

	Roles             []string // --roles: if given, the only roles that may subscribe
	RefuseRoot        bool     // --no-root_submissions
	NoGPUFilter       bool     // --filter_gpu_resources=false
	MaxCompleted      int      // --max_completed_frameworks, default 50
	MaxCompletedTasks int      // --max_completed_tasks_per_framework, default 1000

	id string // of the master; default: a random one

	Seed   uint64 // of the order in which agents are allocated
	Logger *slog.Logger
}

// Timing holds the intervals of a master.
type Timing struct {
	AllocationInterval time.Duration // default 1 s
	Heartbeat          time.Duration // of scheduler streams, default 15 s
	AgentPing          time.Duration // --agent_ping_timeout, default 15 s
	AgentPings         int           // --max_agent_ping_timeouts, default 5
	AgentReregister    time.Duration // --agent_reregister_timeout, default 10 min
	OfferTimeout       time.Duration // --offer_timeout, default none
	Recovery           time.Duration // how long every call is 503 after the start, default 0
}

func (c *Config) setDefaults() {
	setDefault(&c.Timing.AllocationInterval, time.Second)
	setDefault(&c.Timing.Heartbeat, 15*time.Second)
	setDefault(&c.Timing.AgentPing, 15*time.Second)
	setDefault(&c.Timing.AgentPings, 5)
	setDefault(&c.Timing.AgentReregister, 10*time.Minute)
	setDefault(&c.MaxCompleted, 50)
	setDefault(&c.MaxCompletedTasks, 1000)
	if c.Registry == nil {
		c.Registry = new(Registry)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](value *T, to T) {
	var zero T
	if *value == zero {
		*value = to
	}
}

// Master is a running master.
type Master struct {
	cfg  Config
	log  *slog.Logger
	id   string
	info mesos.MasterInfo
	box  mailbox

	routes map[string]http.HandlerFunc

	skew atomic.Int64 // nanoseconds that the clock is ahead

	unavailableUntil atomic.Int64 // Unix nanoseconds; before, every call is 503
	redirects        atomic.Bool  // every call is redirected to this master

	// What follows belongs to the loop.

	started    time.Time
	frameworks map[string]*framework
	completed  []*framework // the newest last, at most cfg.MaxCompleted
	agents     map[string]*agent
	recovered  map[string]mesos.AgentInfo // in the registry, not seen yet
	offers     map[string]*offer
	inverse    map[string]*inverseOffer

	nextFramework, nextAgent, nextOffer int

	timers   map[*timer]bool
	random   *rand.Rand
	waiters  []*waiter
	watchers []*wire.Stream // of the operator API
	metrics  metrics
	faults   faults
}

// New starts a master that leads.
func New(cfg Config) (*Master, error) {
	cfg.setDefaults()
	m := &Master{
		cfg:        cfg,
		id:         cmp.Or(cfg.id, uuid.NewString()),
		frameworks: make(map[string]*framework),
		agents:     make(map[string]*agent),
		recovered:  make(map[string]mesos.AgentInfo),
		offers:     make(map[string]*offer),
		inverse:    make(map[string]*inverseOffer),
		timers:     make(map[*timer]bool),
		random:     rand.New(rand.NewPCG(cfg.Seed, 0)),
	}
	info, err := masterInfo(m.id, cfg.Address, cfg.Hostname)
	if err != nil {
		return nil, err
	}
	info.Domain = cfg.Domain
	m.info = info
	m.routes = m.newRoutes()
	m.log = cfg.Logger.With("master", m.id)
	m.started = m.now()
	m.unavailableUntil.Store(time.Now().Add(cfg.Timing.Recovery).UnixNano())
	maps.Copy(m.recovered, cfg.Registry.load())
	m.box.start()
	m.post(func() {
		m.every(cfg.Timing.AllocationInterval, m.allocateAll)
		if len(m.recovered) > 0 {
			m.after(cfg.Timing.AgentReregister, m.giveUpRecovered)
		}
	})
	return m, nil
}

// Close ends the master as a crash does: streams break, nobody is told anything.
func (m *Master) Close() {
	m.call(func() {
		for _, fw := range m.frameworks {
			if fw.stream != nil {
				fw.stream.Abort()
			}
		}
		for _, s := range m.watchers {
			s.Abort()
		}
		for t := range m.timers {
			t.stop()
		}
	})
	m.box.stop()
}

// ID is the master's id, a prefix of all ids that it gives out.
func (m *Master) ID() string { return m.id }

// Address is host:port as announced.
func (m *Master) Address() string { return m.cfg.Address }

func masterInfo(id, address, hostname string) (mesos.MasterInfo, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return mesos.MasterInfo{}, fmt.Errorf("address of the master: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return mesos.MasterInfo{}, fmt.Errorf("address of the master %q: the port is no number", address)
	}
	if hostname == "" {
		hostname = host
	}
	info := mesos.MasterInfo{
		ID:       id,
		Port:     ptr(uint32(port)),
		PID:      ptr("master@" + address),
		Hostname: ptr(hostname),
		Version:  ptr(Version),
		Address:  &mesos.Address{Hostname: ptr(hostname), Port: int32(port)},
		Capabilities: []mesos.MasterInfo_Capability{
			{Type: mesos.MasterInfo_Capability_AGENT_UPDATE},
			{Type: mesos.MasterInfo_Capability_AGENT_DRAINING},
			{Type: wire.MasterQuotaV2},
		},
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		info.Address.IP = ptr(ip.String())
		if ip = ip.Unmap(); ip.Is4() {
			b := ip.As4()
			info.IP = binary.LittleEndian.Uint32(b[:]) // in_addr.s_addr as a number of this host
		}
	}
	return info, nil
}

func ptr[T any](v T) *T { return &v }

// now is the time of the master's clock.
func (m *Master) now() time.Time {
	return time.Now().Add(time.Duration(m.skew.Load()))
}

func timestamp(t time.Time) *float64 {
	seconds := float64(t.UnixMicro()) / 1e6
	return &seconds
}

// post has the loop run f.
func (m *Master) post(f func()) { m.box.post(f) }

// call has the loop run f and waits; it is false if the master has ended.
func (m *Master) call(f func()) bool { return m.box.call(f) }

// timer is a delayed function of the loop. Its fields belong to the loop.
type timer struct {
	timer *time.Timer
	of    map[*timer]bool // all timers that run
}

func (t *timer) stop() {
	if t != nil {
		t.timer.Stop()
		delete(t.of, t)
	}
}

// after runs f later, unless the timer is stopped or the master has ended.
func (m *Master) after(d time.Duration, f func()) *timer {
	return m.start(d, func(t *timer) {
		t.stop()
		f()
	})
}

// every repeats f until the timer is stopped or the master has ended.
func (m *Master) every(d time.Duration, f func()) *timer {
	return m.start(d, func(t *timer) {
		t.timer.Reset(d)
		f()
	})
}

func (m *Master) start(d time.Duration, fire func(*timer)) *timer {
	t := &timer{of: m.timers}
	t.timer = time.AfterFunc(d, func() {
		m.post(func() {
			if t.of[t] { // not stopped meanwhile
				fire(t)
			}
		})
	})
	m.timers[t] = true
	return t
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
