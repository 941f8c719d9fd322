package e2e

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/resources"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"lode/devmesos"
	"lode/scheduler/api"
	"lode/scheduler/driver"
)

// TestAnotherRoleNeedsCPUs gives another role a quota that it lacks while miners have all
// cpus: one miner ends, no more than that takes, and comes back when the need is over.
func TestAnotherRoleNeedsCPUs(t *testing.T) {
	t.Run("real executors", func(t *testing.T) {
		w := newWorld(t, options{flags: []string{"--mode=idle"}})
		w.anotherRoleNeedsCPUs(2, func() {
			if strings.Contains(w.scheduler.output(), "others use") {
				t.Skip("not tested: other programs keep this machine busy, so miners end for them")
			}
		})
		w.noOrphans()
	})
	t.Run("executors that use no cpu", func(t *testing.T) {
		if testing.Short() {
			t.Skip("takes minutes: left out by -short")
		}
		t.Parallel()
		cluster, err := devmesos.Start(t.Context(), devmesos.Config{Agents: []devmesos.AgentConfig{}, WorkDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		newCrowd(t, cluster, 4)
		w := &world{t: t, mesos: cluster, url: "http://" + freeAddress(t), stateDir: filepath.Join(t.TempDir(), "scheduler")}
		w.args = []string{
			"scheduler", "--master=" + cluster.MasterURL(), "--upstream=stratum+tcp://127.0.0.1:1", "--pool-user=u", "--state-dir=" + w.stateDir,
			"--listen=" + strings.TrimPrefix(w.url, "http://"), "--executor=" + executor(), "--user=nobody", "--mode=idle",
		}
		w.startScheduler()
		w.anotherRoleNeedsCPUs(4, func() {})
	})
}

// anotherRoleNeedsCPUs is the test on a cluster with so many miners; look is called often.
func (w *world) anotherRoleNeedsCPUs(miners int, look func()) {
	t := w.t
	running := func(s api.Status) (n int) {
		for _, m := range tasks(s, "miner") {
			if m.State == "TASK_RUNNING" && m.Hashrate > 0 {
				n++
			}
		}
		return n
	}
	ready := func(what string, ok func(api.Status) bool) api.Status {
		t.Helper()
		return w.until(what, func(s api.Status) bool {
			look()
			return ok(s)
		})
	}
	ready("all miners hash", func(s api.Status) bool { return running(s) == miners })

	w.setQuota(`{"role": "web", "guarantees": {"cpus": {"value": 0.8}}}`)
	web := otherFramework(t, w, "web", 0.8)
	ready("the other role has its task", func(api.Status) bool { return web.state() == mesos.TASK_RUNNING })
	s := ready("one miner fewer hashes", func(s api.Status) bool { return running(s) == miners-1 })
	const why = "the role web lacks cpus that its quota guarantees (--mode idle)"
	eventually(t, "the log says of one miner that it ends for the role", func() bool { return len(endedFor(w, why)) == 1 }, w.scheduler.output)
	left := web.hostname()
	if slices.ContainsFunc(tasks(s, "miner"), func(m api.Task) bool { return m.Hostname == left }) {
		t.Errorf("there is a miner on %s still", left)
	}
	ready("an operator can see why its agent is left alone", func(api.Status) bool {
		_, out, _ := w.lode("why", left)
		return strings.Contains(out, "left to other work (--mode idle)")
	})
	// Long enough for the scheduler to ask the master four times.
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		look()
		if n := len(tasks(w.status(), "miner")); n != miners-1 {
			t.Fatalf("%d miners while the other role has what it lacked", n)
		}
	}

	web.end()
	w.setQuota(`{"role": "web"}`)
	ready("all miners are back", func(s api.Status) bool { return running(s) == miners })
	if n := len(endedFor(w, why)); n != 1 {
		t.Errorf("%d miners ended for the role", n)
	}
}

// endedFor lists the miners of which the scheduler's log says that they end, and why.
func endedFor(w *world, why string) (miners []string) {
	for line := range strings.Lines(w.scheduler.output()) {
		if _, rest, found := strings.Cut(line, "task=miner-"); found && strings.Contains(line, why) {
			miner, _, _ := strings.Cut(rest, " ")
			miners = append(miners, miner)
		}
	}
	slices.Sort(miners)
	return slices.Compact(miners)
}

// setQuota asks the master for the quota of a role, as an operator does.
func (w *world) setQuota(config string) {
	w.t.Helper()
	body := `{"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [` + config + `]}}`
	response, err := http.Post(w.mesos.MasterURL()+"/api/v1", "application/json", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
		w.t.Fatalf("quota %s: %s: %s", config, response.Status, text)
	}
}

// framework is another one than Lode, which runs one task that sleeps.
type framework struct {
	driver *driver.Driver
	cancel context.CancelFunc
	ran    sync.WaitGroup

	role string
	cpus float64

	mu     sync.Mutex
	id     *mesos.FrameworkID
	asked  bool
	latest mesos.TaskState
	where  string
}

func otherFramework(t *testing.T, w *world, role string, cpus float64) *framework {
	t.Helper()
	f := &framework{role: role, cpus: cpus}
	var err error
	f.driver, err = driver.New(driver.Config{
		Masters: []string{w.mesos.MasterURL()}, Logger: slog.New(slog.DiscardHandler), Handle: f.handle,
		Subscribe: func() *scheduler.Call {
			return calls.Subscribe(&mesos.FrameworkInfo{
				User: "root", Name: role, Roles: []string{role},
				Capabilities: []mesos.FrameworkInfo_Capability{{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE}},
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.ran.Go(func() { f.driver.Run(ctx) }) //nolint:errcheck // it ends with its context
	t.Cleanup(f.end)
	return f
}

// end makes the framework end; without a failover timeout its task ends with it.
func (f *framework) end() {
	f.cancel()
	f.ran.Wait()
}

func (f *framework) state() mesos.TaskState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest
}

// hostname is where its task is.
func (f *framework) hostname() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.where
}

func (f *framework) handle(e driver.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	send := func(call *scheduler.Call) {
		f.driver.Send(e.Session, []*scheduler.Call{call.With(calls.Framework(f.id.Value))}, 0)
	}
	switch event := e.Mesos; event.GetType() {
	case scheduler.Event_SUBSCRIBED:
		f.id = event.Subscribed.FrameworkID
	case scheduler.Event_OFFERS:
		for _, o := range event.Offers.Offers {
			if cpus, _ := resources.CPUs(o.Resources...); f.asked || cpus < f.cpus {
				send(calls.Decline(o.ID))
				continue
			}
			f.asked, f.where = true, o.Hostname
			send(calls.Accept(calls.OfferOperations{calls.OpLaunch(f.task(o))}.WithOffers(o.ID)))
		}
	case scheduler.Event_UPDATE:
		status := event.Update.Status
		f.latest = status.GetState()
		if len(status.UUID) > 0 {
			send(calls.Acknowledge(status.AgentID.Value, status.TaskID.Value, status.UUID))
		}
	}
}

func (f *framework) task(o mesos.Offer) mesos.TaskInfo {
	command := "exec sleep 600"
	task := mesos.TaskInfo{
		Name: f.role, TaskID: mesos.TaskID{Value: f.role}, AgentID: o.AgentID,
		Command:   &mesos.CommandInfo{Value: &command},
		Resources: []mesos.Resource{resources.NewCPUs(f.cpus).Resource, resources.NewMemory(32).Resource},
	}
	for i := range task.Resources {
		task.Resources[i].AllocationInfo = &mesos.Resource_AllocationInfo{Role: &f.role}
	}
	return task
}
