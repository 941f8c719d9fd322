package e2e

import (
	"crypto/hpke"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lode/devmesos"
	"lode/devmesos/light"
	"lode/message"
	"lode/scheduler/api"
)

// crowd is many agents with executors that are values of this process: they say what
// real ones say, and do nothing.
type crowd struct {
	t      *testing.T
	key    hpke.PrivateKey
	agents []*light.Agent

	mu      sync.Mutex
	members map[string]*member  // by task
	serving map[string]struct{} // addresses of proxies that have their secrets
}

// member is one executor.
type member struct {
	c     *crowd
	task  *light.Task
	spec  *message.Task
	begun time.Time

	mu       sync.Mutex
	link     *message.Sealer
	list     *message.Proxies
	sequence uint64
}

func newCrowd(t *testing.T, cluster *devmesos.Cluster, agents int) *crowd {
	t.Helper()
	key, err := message.NewSecretsKey()
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{t: t, key: key, members: make(map[string]*member), serving: make(map[string]struct{})}
	for i := range agents {
		a, err := light.Join(cluster.Master(), light.Config{
			Hostname:  fmt.Sprintf("127.1.%d.%d", i/250, i%250+1),
			Resources: "cpus:2;mem:1024;ports:[31000-31009]",
			Launch:    c.launch,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.agents = append(c.agents, a)
	}
	if !cluster.Master().WaitForAgents(t.Context(), agents) {
		t.Fatal("the agents did not register")
	}
	stop := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() { c.report(stop) })
	t.Cleanup(func() {
		close(stop)
		reporting.Wait()
		for _, a := range c.agents {
			a.Shutdown("the test is over")
		}
	})
	return c
}

// launch is what an executor does when it is given its task.
func (c *crowd) launch(t *light.Task) light.Executor {
	if len(t.Info.Data) == 0 { // it is another framework's
		t.Run()
		return stranger{}
	}
	spec, err := message.DecodeTask(t.Info.Data)
	if err != nil {
		c.t.Errorf("task %s: %v", t.Info.TaskID.Value, err)
		return nil
	}
	m := &member{c: c, task: t, spec: spec, begun: time.Now(), link: message.ExecutorEnd(spec.Link.Key, spec.Link.Session)}
	m.list = spec.GetMiner().GetProxies()
	t.Run()
	hello := &message.Hello{ExecutorDigest: spec.ExecutorDigest, ProxiesEpoch: m.list.GetEpoch()}
	if spec.GetProxy() != nil {
		hello.NeedSecrets, hello.PublicKey = true, c.key.PublicKey().Bytes()
	}
	m.say(&message.ToScheduler{Event: &message.ToScheduler_Hello{Hello: hello}})
	c.mu.Lock()
	c.members[t.Info.TaskID.Value] = m
	c.mu.Unlock()
	m.report()
	return m
}

// stranger is an executor that does nothing.
type stranger struct{}

func (stranger) Receive([]byte) {}
func (stranger) Kill()          {}

func (m *member) address() string {
	p := m.spec.GetProxy()
	return net.JoinHostPort(p.AdvertiseHost, strconv.Itoa(int(p.StratumPort)))
}

func (m *member) say(s *message.ToScheduler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Version, s.TaskId = message.Version, m.task.Info.TaskID.Value
	b, err := m.link.Seal(s)
	if err != nil {
		m.c.t.Error(err)
		return
	}
	m.task.Send(b)
}

// Receive implements light.Executor.
func (m *member) Receive(data []byte) {
	m.mu.Lock()
	event, err := m.link.OpenToExecutor(data)
	if err == nil {
		if l := event.GetProxies(); l != nil && l.Epoch > m.list.GetEpoch() {
			m.list = l
		}
	}
	m.mu.Unlock()
	if err == nil && len(event.GetSealedSecrets()) > 0 {
		m.c.mu.Lock()
		m.c.serving[m.address()] = struct{}{}
		m.c.mu.Unlock()
	}
	m.report()
}

// Kill implements light.Executor.
func (m *member) Kill() { m.end() }

func (m *member) end() {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.spec.GetProxy() != nil {
		delete(m.c.serving, m.address())
	}
	delete(m.c.members, m.task.Info.TaskID.Value)
}

// crash ends an executor as kill -9 does.
func (c *crowd) crash(id string) {
	c.t.Helper()
	c.mu.Lock()
	m := c.members[id]
	c.mu.Unlock()
	if m == nil {
		c.t.Fatalf("there is no executor of %s", id)
	}
	m.end()
	m.task.Crash()
}

func (m *member) report() {
	r := &message.Report{UptimeMs: uint64(time.Since(m.begun).Milliseconds()), ExecutorDigest: m.spec.ExecutorDigest}
	m.mu.Lock()
	m.sequence++
	r.Sequence = m.sequence
	list := m.list
	m.mu.Unlock()
	m.c.mu.Lock()
	if m.spec.GetProxy() != nil {
		_, ready := m.c.serving[m.address()]
		r.Detail = &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: ready, Stratum: m.address(), Height: 1}}
	} else {
		d := &message.MinerReport{Threads: 1, Kernel: "none", State: "idle", ProxiesEpoch: list.GetEpoch(), JobAgeMs: -1}
		for _, address := range list.GetAddresses() {
			if _, ok := m.c.serving[address]; ok {
				d.State, d.Proxy, d.Hashrate, d.JobAgeMs = "mining", address, 1e6, 1
				break
			}
		}
		r.Detail = &message.Report_Miner{Miner: d}
	}
	m.c.mu.Unlock()
	m.say(&message.ToScheduler{Event: &message.ToScheduler_Report{Report: r}})
}

// report reports for all of them, each as often as its task says, spread over time.
func (c *crowd) report(stop <-chan struct{}) {
	due := make(map[*member]time.Time)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for n := 0; ; {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		c.mu.Lock()
		var now []*member
		for _, m := range c.members {
			interval := time.Duration(m.spec.ReportIntervalMs) * time.Millisecond
			at, ok := due[m]
			switch {
			case !ok:
				n++
				due[m] = time.Now().Add(interval * time.Duration(n%100) / 100)
			case time.Now().After(at):
				due[m] = at.Add(interval)
				now = append(now, m)
			}
		}
		c.mu.Unlock()
		for _, m := range now {
			m.report()
		}
	}
}

func (c *crowd) counts() (launched int, killed []string) {
	for _, a := range c.agents {
		launched += a.Launched()
		killed = append(killed, a.Killed()...)
	}
	return launched, killed
}

// crowdPatience is for a machine that has much else to do: thousands of connections want
// their share of it.
const crowdPatience = 5 * time.Minute

// A cluster of 2,000 agents: they are launched once each; a proxy that dies, and a
// scheduler that is killed and comes back, cost none of the miners.
func TestCrowd(t *testing.T) {
	const agents = 2000
	if testing.Short() {
		t.Skip("2,000 executors in one process: left out by -short")
	}
	cluster, err := devmesos.Start(t.Context(), devmesos.Config{Agents: []devmesos.AgentConfig{}, WorkDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := newCrowd(t, cluster, agents)
	w := &world{t: t, mesos: cluster, url: "http://" + freeAddress(t), stateDir: filepath.Join(t.TempDir(), "scheduler")}
	w.args = []string{
		"scheduler", "--master=" + cluster.MasterURL(), "--upstream=stratum+tcp://127.0.0.1:1", "--pool-user=u", "--state-dir=" + w.stateDir,
		"--listen=" + strings.TrimPrefix(w.url, "http://"), "--executor=" + executor(), "--user=nobody", "--log-level=warn",
		"--proxies=2", "--hold-back-cpus=1",
	}
	w.startScheduler()
	const miners = agents - 2 // the two with a proxy have no room
	all := func(what string) (s api.Status) {
		t.Helper()
		eventuallyWithin(t, crowdPatience, what, func() bool {
			time.Sleep(time.Second) // it costs to ask
			s = w.status()
			proxies := 0
			for _, p := range tasks(s, "proxy") {
				if p.Proxy != nil && p.Proxy.Ready && p.Killing == "" {
					proxies++
				}
			}
			return working(s) >= miners && proxies == 2 && s.Reconciled
		}, func() string { return fmt.Sprintf("%d miners work; %+v", working(s), s.Need) })
		return s
	}
	before := all("2 proxies and all miners work")
	was := ids(tasks(before, "miner"))
	victim := ids(tasks(before, "proxy"))[0]

	c.crash(victim)
	eventuallyWithin(t, crowdPatience, "its end is known", func() bool {
		time.Sleep(time.Second)
		s := w.status()
		return s.Connected && !slices.Contains(ids(s.Tasks), victim)
	}, w.scheduler.output)
	w.kept(before, all("all go on"), len(was))

	w.scheduler.kill()
	first := w.scheduler.cmd
	w.startScheduler()
	after := all("a scheduler that was restarted knows all of them")
	w.kept(before, after, len(was))
	if after.FrameworkID != before.FrameworkID {
		t.Errorf("a restart changed the framework from %s to %s", before.FrameworkID, after.FrameworkID)
	}
	// Three proxies, and perhaps a miner where the first one was.
	if launched, killed := c.counts(); launched < miners+3 || launched > miners+4 || len(killed) > 0 {
		t.Errorf("%d launches, want %d or one more; killed: %v", launched, miners+3, killed)
	}
	w.scheduler.stop(t)
	t.Logf("cpu time: scheduler %v, and %v after its restart", used(first), used(w.scheduler.cmd))
}

func used(c *exec.Cmd) time.Duration {
	u, ok := c.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
