package master

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogo/protobuf/proto"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	operator "github.com/mesos/mesos-go/api/v1/lib/master"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"go.uber.org/goleak"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// session is one cluster of the recordings.
type session struct {
	name    string
	traces  []string
	address string
	agents  []*fakeAgent
	cfg     Config
	prepare func(*replay)
	// shortened says that the recording has only some fields of large bodies.
	shortened bool
}

var masterIDs = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-(S|O|0)`)

// recordedMaster is the id of the master in a recording: the first in an id of an agent, offer or framework.
func recordedMaster(t *testing.T, entries []entry) string {
	for _, e := range entries {
		if id := masterIDs.FindString(string(e.Body)); id != "" {
			return id[:36]
		}
	}
	t.Fatal("no id of a master in the recording")
	return ""
}

func (s session) run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &replay{t: t, cfg: s.cfg, agents: s.agents, shortened: s.shortened}
		var entries [][]entry
		for _, name := range s.traces {
			entries = append(entries, readTrace(t, name))
		}
		r.cfg.Address = s.address
		r.cfg.id = recordedMaster(t, entries[0])
		r.cfg.Registry = new(Registry)
		if testing.Verbose() {
			r.cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		}
		r.startMaster()
		defer func() { r.master.Close() }()
		for _, a := range r.agents {
			a.join(r.master)
		}
		if s.prepare != nil {
			s.prepare(r)
		}
		for _, list := range entries {
			r.run(list)
			for _, check := range r.ends {
				check()
			}
			r.ends = nil
		}
	})
}

func (r *replay) startMaster() {
	m, err := New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.master = m
}

func TestReplay(t *testing.T) {
	const has = "cpus:2;mem:2048;disk:2048;ports:"
	for _, s := range []session{
		{
			name: "subscribe", cfg: Config{Seed: 1}, traces: []string{"01-subscribe"}, address: "127.0.0.1:15000",
			agents: []*fakeAgent{newFakeAgent("127.0.0.1:15001", "n0", has+"[31000-31099]"), newFakeAgent("127.0.0.1:15002", "n1", has+"[31100-31199]")},
		},
		{
			name: "status codes", traces: []string{"02-errors-status"}, address: "127.0.0.1:15000",
			agents: []*fakeAgent{newFakeAgent("127.0.0.1:15001", "n0", has+"[31000-31099]"), newFakeAgent("127.0.0.1:15002", "n1", has+"[31100-31199]")},
		},
		{
			name: "refused subscriptions", traces: []string{"02b-errors-refused-subscribe"}, address: "127.0.0.1:15000",
			agents: []*fakeAgent{newFakeAgent("127.0.0.1:15001", "n0", has+"[31000-31099]"), newFakeAgent("127.0.0.1:15002", "n1", has+"[31100-31199]")},
		},
		{
			name: "authentication", traces: []string{"02c-errors-auth"}, address: "127.0.0.1:15010",
			agents: []*fakeAgent{newFakeAgent("127.0.0.1:15011", "n0", has+"[31000-31099]")},
			cfg: Config{
				Credentials:         map[string]string{"framework": "secret", "admin": "secret"},
				OperatorCredentials: map[string]string{"framework": "secret", "admin": "secret"},
			},
		},
		{
			name: "offers, loss of an agent, reconciliation", traces: []string{"08-offers-accept", "08b-rescind-agent-death", "09-reconciliation"}, address: "127.0.0.1:15080",
			agents: []*fakeAgent{
				newFakeAgent("127.0.0.1:15081", "n0", "cpus:8;mem:8192;disk:2048;ports:[31000-31099]"),
				newFakeAgent("127.0.0.1:15082", "n1", "cpus:8;mem:8192;disk:2048;ports:[31100-31199]"),
			},
			cfg: Config{Timing: Timing{AgentPing: time.Second, AgentPings: 4}},
			prepare: func(r *replay) {
				r.hooks = map[string]func(){"kill -9 agent1": func() {
					a := r.agents[1]
					a.mu.Lock()
					a.silent = true
					a.mu.Unlock()
					r.master.Disconnected(mesos.AgentID{Value: a.id})
				}}
			},
		},
		{
			name: "scheduler failover", traces: []string{"10-scheduler-failover"}, address: "127.0.0.1:15100",
			agents:    []*fakeAgent{newFakeAgent("127.0.0.1:15101", "n0", has+"[31000-31099]")},
			shortened: true,
			prepare: func(r *replay) {
				// The executor reports while the scheduler is away.
				r.hooks = map[string]func(){"scheduler closes its stream": func() {
					r.later(1080*time.Millisecond, func() {
						for _, e := range readTrace(t, "10-scheduler-failover") {
							var body any
							if json.Unmarshal(e.Body, &body) == nil && e.T > 4 && e.T < 5 && dig(body, "type") == "UPDATE" {
								r.fromAgent(body)
							}
						}
					})
				}}
			},
		},
		{
			name: "unreachable agent", shortened: true, traces: []string{"11c-agent-unreachable-and-back"}, address: "127.0.0.1:15110",
			agents: []*fakeAgent{newFakeAgent("127.0.0.1:15111", "n0", has+"[31000-31099]")},
			cfg:    Config{Timing: Timing{AgentPing: time.Second, AgentPings: 4}},
			prepare: func(r *replay) {
				a := r.agents[0]
				r.skip = func(e *entry) bool { return e.Path == "/tasks" } // it shows tasks of what was done before
				r.hooks = map[string]func(){
					"agent kill -9": func() {
						a.mu.Lock()
						a.silent = true
						a.mu.Unlock()
						r.master.Disconnected(mesos.AgentID{Value: a.id})
					},
					// Its executors have two seconds to come back; the one without checkpoint has gone.
					"agent comes back": func() {
						r.later(2500*time.Millisecond, func() {
							a.mu.Lock()
							a.silent = false
							kept := a.tasks[:0]
							for _, task := range a.tasks {
								if task.Info.TaskID.Value != "p3" {
									kept = append(kept, task)
								}
							}
							a.tasks = kept
							delete(a.executors, "un3")
							a.mu.Unlock()
							a.join(r.master)
						})
					},
				}
			},
		},
		{
			name: "master failover", shortened: true, traces: []string{"12-master-failover"}, address: "127.0.0.1:15120",
			agents:  []*fakeAgent{newFakeAgent("127.0.0.1:15121", "n0", has+"[31000-31099]")},
			prepare: prepareFailover,
		},
		{
			name: "master failover with amnesia", traces: []string{"12b-master-failover-in-memory-registry"}, address: "127.0.0.1:15160",
			agents: []*fakeAgent{newFakeAgent("127.0.0.1:15161", "n0", has+"[31000-31099]")},
			prepare: func(r *replay) {
				r.hooks = map[string]func(){
					"master kill -9": func() {
						r.cfg.Registry = new(Registry)
						r.nextMaster("12b-master-failover-in-memory-registry")
					},
					"agent SIGCONT": func() { r.agents[0].join(r.master) },
				}
			},
		},
		{
			name: "revocable", traces: []string{"14-revocable"}, address: "127.0.0.1:15140",
			agents: []*fakeAgent{newFakeAgent("127.0.0.1:15141", "n0", has+"[31000-31099]")},
			prepare: func(r *replay) {
				// The estimator of the recording reports what is in use once more after each
				// launch, and takes it back a second later. Ours does not.
				r.skip = func(e *entry) bool {
					return e.Dir == "event" && (e.T == 8.077 || e.T == 9.088)
				}
				r.master.UpdateOversubscribed(mesos.AgentID{Value: r.agents[0].id}, []mesos.Resource{{
					Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 4}, Revocable: &mesos.Resource_RevocableInfo{},
				}})
			},
		},
		{
			name: "endpoints, maintenance, draining", traces: []string{"13-http-endpoints", "15-maintenance-drain"}, address: "127.0.0.1:15130",
			agents:  []*fakeAgent{newFakeAgent("127.0.0.1:15131", "n0", has+"[31000-31099]")},
			prepare: prepareEndpoints,
		},
		{
			name: "signals to an agent", traces: []string{"16b-agent-signals"}, address: "127.0.0.1:15160",
			agents: []*fakeAgent{newFakeAgent("127.0.0.1:15161", "n0", has+"[31000-31099]")},
			prepare: func(r *replay) {
				a := r.agents[0]
				id := mesos.AgentID{Value: a.id}
				r.hooks = map[string]func(){
					"agent gets SIGTERM": func() {
						r.master.Disconnected(id)
						r.later(4100*time.Millisecond, func() { a.join(r.master) })
					},
					"agent gets SIGUSR1": func() {
						r.master.UnregisterAgent(id)
						a.mu.Lock()
						defer a.mu.Unlock()
						a.tasks, a.executors = nil, make(map[string]link.Executor)
					},
					"agent started again": func() { r.later(time.Second, func() { a.join(r.master) }) },
				}
			},
		},
		{
			name: "preemption", traces: []string{"14b-revocable-qos-kill"}, address: "127.0.0.1:15140", shortened: true,
			agents: []*fakeAgent{newFakeAgent("127.0.0.1:15141", "n0", has+"[31000-31099]")},
			prepare: func(r *replay) {
				r.master.UpdateOversubscribed(mesos.AgentID{Value: r.agents[0].id}, []mesos.Resource{{
					Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 4}, Revocable: &mesos.Resource_RevocableInfo{},
				}})
			},
		},
		{
			name: "more", shortened: true, traces: []string{"16-more"}, address: "127.0.0.1:15160",
			agents: []*fakeAgent{newFakeAgent("127.0.0.1:15161", "n0", has+"[31000-31099]")},
			cfg:    Config{Timing: Timing{OfferTimeout: 6 * time.Second}},
		},
	} {
		t.Run(s.name, s.run)
	}
}

// nextMaster replaces the master by one with the next id of a recording.
func (r *replay) nextMaster(name string) {
	r.master.Close()
	var ids []string
	for _, e := range readTrace(r.t, name) {
		var event struct {
			Subscribed struct {
				MasterInfo struct{ ID string } `json:"master_info"`
			}
		}
		if json.Unmarshal(e.Body, &event) == nil && event.Subscribed.MasterInfo.ID != "" {
			ids = append(ids, event.Subscribed.MasterInfo.ID)
		}
	}
	r.cfg.id = ids[slices.Index(ids, r.cfg.id)+1]
	r.startMaster()
	if !r.clock.IsZero() {
		r.master.SkewClock(r.clock.Sub(r.start))
	}
}

// prepareFailover plays the two failovers of recording 12.
func prepareFailover(r *replay) {
	next := func() { r.nextMaster("12-master-failover") }
	a := r.agents[0]
	r.hooks = map[string]func(){
		"master kill -9":       func() { r.master.Close() },
		"master started again": next,
		"agent continues": func() {
			// What came from the executor while no master was there was not acknowledged.
			a.join(r.master)
		},
		"second failover": func() {
			r.later(time.Millisecond, func() {
				next()
				a.join(r.master)
			})
		},
	}
}

// prepareEndpoints makes the cluster of recording 13: what ran there is taken from
// the answer to GET_STATE.
func prepareEndpoints(r *replay) {
	var state struct {
		Note     string
		GetState struct {
			Tasks      struct{ Tasks []json.RawMessage }      `json:"get_tasks"`
			Executors  struct{ Executors []json.RawMessage }  `json:"get_executors"`
			Frameworks struct{ Frameworks []json.RawMessage } `json:"get_frameworks"`
		} `json:"get_state"`
	}
	for _, e := range readTrace(r.t, "13-http-endpoints") {
		if json.Unmarshal(e.Body, &state) == nil && len(state.GetState.Tasks.Tasks) > 0 {
			break
		}
	}
	var framework operator.Response_GetFrameworks_Framework
	var executor operator.Response_GetExecutors_Executor
	var running mesos.Task
	r.decode(state.GetState.Frameworks.Frameworks[0], &framework)
	r.decode(state.GetState.Executors.Executors[0], &executor)
	r.decode(state.GetState.Tasks.Tasks[0], &running)

	info := framework.FrameworkInfo
	id := info.ID.Value
	info.ID = nil
	body, err := wire.JSON.Marshal(&scheduler.Call{Type: scheduler.Call_SUBSCRIBE, Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: &info}})
	if err != nil {
		r.t.Fatal(err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	stream := serve(r.t, r.master, "POST", "/api/v1/scheduler", header, body)
	synctest.Wait()
	accept := &scheduler.Call{
		Type: scheduler.Call_ACCEPT, FrameworkID: &mesos.FrameworkID{Value: id},
		Accept: &scheduler.Call_Accept{
			OfferIDs: []mesos.OfferID{{Value: r.cfg.id + "-O0"}},
			Filters:  &mesos.Filters{RefuseSeconds: ptr(0.0)},
			Operations: []mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: []mesos.TaskInfo{{
				Name: running.Name, TaskID: running.TaskID, AgentID: running.AgentID, Resources: running.Resources,
				Labels: running.Labels, Discovery: running.Discovery, Data: []byte("V-TASKDATA"), Executor: &executor.ExecutorInfo,
			}}}}},
		},
	}
	if body, err = wire.JSON.Marshal(accept); err != nil {
		r.t.Fatal(err)
	}
	header = header.Clone()
	header.Set("Mesos-Stream-Id", stream.header.Get("Mesos-Stream-Id"))
	if launch := serve(r.t, r.master, "POST", "/api/v1/scheduler", header, body); true {
		synctest.Wait()
		if launch.status() != http.StatusAccepted {
			r.t.Fatal(launch.status(), launch.text())
		}
	}
	status := running.Statuses[0]
	status.Data = []byte("V-STDATA")
	r.agents[0].report(mesos.FrameworkID{Value: id}, status)
	time.Sleep(1500 * time.Millisecond)
	r.ends = append(r.ends, func() {
		for _, marker := range []string{"V-TASKDATA", "V-STDATA", "V-STMSG", "V-EXDATA", base64.StdEncoding.EncodeToString([]byte("V-STDATA"))} {
			for _, path := range []string{"/state", "/tasks", "/frameworks", "/slaves", "/state-summary", "/roles"} {
				if s := serve(r.t, r.master, "GET", path, nil, nil); strings.Contains(s.wait(), marker) {
					r.t.Errorf("%s shows %s", path, marker)
				}
			}
		}
		// The next recording begins without that framework.
		header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		if s := serve(r.t, r.master, "POST", "/teardown", header, []byte("frameworkId="+id)); s.wait() != "" || s.status() != http.StatusOK {
			r.t.Errorf("/teardown answers %d %s", s.status(), s.text())
		}
	})
}

func (r *replay) decode(b []byte, m proto.Message) {
	if err := wire.JSON.Unmarshal(b, m); err != nil {
		r.t.Fatalf("%s: %v", b, err)
	}
}
