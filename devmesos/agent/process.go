package agent

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/agent/fetcher"
	"lode/devmesos/agent/updates"
	"lode/devmesos/internal/link"
)

// process is one run of the agent, from its start to its kill. Everything below the inbox belongs to the one
// goroutine that works on the inbox.
type process struct {
	agent   *Agent
	config  Config
	log     *slog.Logger
	fetcher *fetcher.Fetcher
	server  *http.Server
	started time.Time

	ctx     context.Context // ends with the run
	cancel  context.CancelFunc
	workers sync.WaitGroup // everything but the HTTP server's own goroutines
	// terminated is closed when the run has ended by itself.
	terminated chan struct{}

	inbox *mailbox

	state      state
	reconnect  bool // executors may subscribe: recovery is past its first phase
	info       mesos.AgentInfo
	master     link.Master
	registrant int       // number of the registration going on; older retries see that they are outdated
	pinged     time.Time // last sign of life of the master
	frameworks map[string]*framework
	order      []*framework // in order of arrival
	completed  []*framework // most recent last, bounded
	updates    *updates.Manager
	draining   *drainConfig
	counters   counters
	ending     bool // terminated is closed
	timers     map[*time.Timer]bool
}

type state string

const (
	recovering   state = "RECOVERING"
	disconnected state = "DISCONNECTED"
	running      state = "RUNNING"
	terminating  state = "TERMINATING"
)

// maxCompletedFrameworks bounds what /state remembers.
const maxCompletedFrameworks = 50

func newProcess(a *Agent) (*process, error) {
	p := &process{
		agent:      a,
		config:     a.config,
		log:        a.config.Logger,
		started:    time.Now(),
		terminated: make(chan struct{}),
		inbox:      newMailbox(),
		state:      recovering,
		frameworks: make(map[string]*framework),
		timers:     make(map[*time.Timer]bool),
	}
	var err error
	p.fetcher, err = fetcher.New(fetcher.Config{
		CacheDir:       p.fetcherCache(),
		CacheSize:      p.config.FetcherCacheSize,
		StallTimeout:   p.config.Timing.FetcherStall,
		FrameworksHome: p.config.FrameworksHome,
	})
	if err != nil {
		return nil, err
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.updates = updates.New(updates.Config{
		Forward:  p.forward,
		After:    p.after,
		RetryMin: p.config.Timing.UpdateRetryMin,
		RetryMax: p.config.Timing.UpdateRetryMax,
	})
	_, port, _ := net.SplitHostPort(a.endpoint)
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return nil, err
	}
	p.info = mesos.AgentInfo{
		Hostname:   a.config.Hostname,
		Port:       ptr(int32(number)),
		Resources:  a.config.Resources,
		Attributes: a.config.Attributes,
		Domain:     a.config.Domain,
	}
	p.server = &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	return p, nil
}

func (p *process) fetcherCache() string { return filepath.Join(p.config.WorkDir, "fetch") }

// start runs the actor and the HTTP server, and begins with recovery.
func (p *process) start(listener net.Listener, m link.Master) {
	p.inbox.post(func() {
		p.master = m
		p.after(p.config.Timing.Recovery, p.recover)
	})
	p.workers.Go(p.inbox.run)
	p.workers.Go(func() { _ = p.server.Serve(listener) }) // ErrServerClosed
}

// stop ends the run as kill -9 would. Executors stay.
func (p *process) stop() {
	p.inbox.close()
	p.cancel()
	p.server.Close() //nolint:errcheck // nothing is left to close twice
	p.workers.Wait()
	for timer := range p.timers {
		timer.Stop()
	}
	p.fetcher.Close()
}

// ended says whether the run came to its end by itself.
func (p *process) ended() bool {
	select {
	case <-p.terminated:
		return true
	default:
		return false
	}
}

// terminate is the end that the run came to by itself.
func (p *process) terminate() {
	if !p.ending {
		p.ending = true
		p.log.Info("agent terminates")
		p.updates.Pause()
		p.workers.Go(func() { p.server.Close() }) // executors see their streams end
		close(p.terminated)
	}
}

// connection is the master that would see this agent's socket break. It is called after stop.
func (p *process) connection() (link.Master, mesos.AgentID) {
	if p.info.ID == nil || p.master == nil || p.agent.faults.partitioned() {
		return nil, mesos.AgentID{}
	}
	return p.master, *p.info.ID
}

// after runs f on the actor later, unless it is stopped or the run ends.
func (p *process) after(d time.Duration, f func()) (stop func()) {
	var timer *time.Timer
	stop = func() {
		timer.Stop()
		delete(p.timers, timer)
	}
	timer = time.AfterFunc(d, func() {
		p.inbox.post(func() {
			if p.timers[timer] { // not stopped meanwhile
				stop()
				f()
			}
		})
	})
	p.timers[timer] = true
	return stop
}

// say tells the master something, if there is a way.
func (p *process) say(f func(m link.Master, id mesos.AgentID)) {
	if p.master == nil || p.info.ID == nil || p.agent.faults.partitioned() {
		return
	}
	f(p.master, *p.info.ID)
}

func ptr[T any](v T) *T { return &v }
