package core

import (
	"fmt"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func TestUnknownTasksAreKilledUntilTheyEnd(t *testing.T) {
	s := newScript(t)
	s.update("stranger-1", mesos.TASK_RUNNING)
	if k := s.calls(scheduler.Call_KILL); len(k) != 1 || k[0].Kill.TaskID.Value != "stranger-1" {
		t.Fatalf("kills %v", k)
	}
	if a := s.calls(scheduler.Call_ACKNOWLEDGE); len(a) != 1 {
		t.Errorf("%d acknowledgements", len(a))
	}
	s.pass(2 * time.Minute)
	if k, sh := s.calls(scheduler.Call_KILL), s.calls(scheduler.Call_SHUTDOWN); len(k) < 4 || len(sh) == 0 {
		t.Errorf("%d kills and %d shutdowns in two minutes", len(k), len(sh))
	}
	s.update("stranger-1", mesos.TASK_KILLED)
	s.pass(2 * time.Minute)
	if k := s.calls(scheduler.Call_KILL); len(k) != 0 {
		t.Errorf("killed after its end: %v", k)
	}
}

func TestEveryStatusWithAUUIDIsAcknowledged(t *testing.T) {
	s := newScript(t)
	p := s.launchOne("S0")
	for range 2 { // the second is a copy
		s.update(p, mesos.TASK_RUNNING)
		if n := len(s.calls(scheduler.Call_ACKNOWLEDGE)); n != 1 {
			t.Errorf("%d acknowledgements", n)
		}
	}
	running := mesos.TASK_RUNNING
	s.step(Update{mesos.TaskStatus{TaskID: mesos.TaskID{Value: p}, State: &running, AgentID: &mesos.AgentID{Value: "S0"}}})
	if n := len(s.calls(scheduler.Call_ACKNOWLEDGE)); n != 0 {
		t.Error("a status without a uuid is acknowledged")
	}
	s.update(p, mesos.TASK_STARTING) // late
	if s.c.state.Tasks[p].State != stateRunning {
		t.Error("a late TASK_STARTING went back")
	}
	s.step(Update{mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: p}, State: taskState(mesos.TASK_FAILED), AgentID: &mesos.AgentID{Value: "S1"}, UUID: make([]byte, 16),
	}})
	if s.c.state.Tasks[p] == nil {
		t.Error("another agent ended the task")
	}
	if n := len(s.calls(scheduler.Call_ACKNOWLEDGE)); n != 1 {
		t.Error("it is not acknowledged")
	}
}

func TestEndsAndWhatTheyCost(t *testing.T) {
	for _, test := range []struct {
		name   string
		state  mesos.TaskState
		reason mesos.TaskStatus_Reason
		blamed bool // failures of the agent count
		waits  bool
	}{
		{"offer race", mesos.TASK_DROPPED, mesos.REASON_INVALID_OFFERS, false, false},
		{"agent gone", mesos.TASK_LOST, mesos.REASON_AGENT_REMOVED, false, false},
		{"agent was slow to recover", mesos.TASK_GONE, mesos.REASON_EXECUTOR_REREGISTRATION_TIMEOUT, false, false},
		{"preempted", mesos.TASK_GONE, mesos.REASON_CONTAINER_PREEMPTED, false, true},
		{"no such user", mesos.TASK_DROPPED, mesos.REASON_EXECUTOR_TERMINATED, true, true},
		{"draining", mesos.TASK_KILLED, mesos.REASON_AGENT_DRAINING, true, true},
		{"crashed", mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED, true, true},
		{"fetch failed", mesos.TASK_FAILED, mesos.REASON_CONTAINER_LAUNCH_FAILED, true, true},
		{"out of memory", mesos.TASK_FAILED, mesos.REASON_CONTAINER_LIMITATION_MEMORY, true, true},
		{"not authorised", mesos.TASK_ERROR, mesos.REASON_TASK_UNAUTHORIZED, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			s.mining()
			m := s.launchOne("S1")
			s.update(m, test.state, test.reason)
			if s.c.state.Tasks[m] != nil {
				t.Fatal("the task is still there")
			}
			if _, ok := s.actions[0].(Persist); !ok {
				t.Errorf("first action is %T", s.actions[0])
			}
			a := s.c.agents["S1"]
			if got := a.failures.count(s.c.clock) > 0; got != test.blamed {
				t.Errorf("failures %v", a.failures.count(s.c.clock))
			}
			if got := a.until > s.c.clock; got != test.waits {
				t.Errorf("the agent is left alone for %v", a.until-s.c.clock)
			}
			e := s.c.Snapshot(s.now).Ended[0]
			if e.ID != m || e.State != test.state.String() || e.Reason != test.reason.String() || e.Wanted {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestBackoffGrowsAndDecays(t *testing.T) {
	s := newScript(t)
	s.mining()
	a := s.c.agent("S1", "")
	var waits []time.Duration
	for range 6 {
		m := &Task{Kind: KindMiner, AgentID: "S1", run: &run{agent: a}}
		s.c.blameEnd(m, blameTask, &mesos.TaskStatus{})
		waits = append(waits, a.until-s.c.clock)
		s.c.clock = a.until
	}
	for i := 1; i < len(waits); i++ {
		if float64(waits[i]) < 1.1*float64(waits[i-1]) {
			t.Errorf("waits %v", waits)
			break
		}
	}
	if got := a.failures.count(s.c.clock + time.Hour); got > 0.01 {
		t.Errorf("%v failures after an hour", got)
	}
}

// One cause on most agents holds all of them back, and says what it is; the same on
// one agent holds back nobody else.
func TestOneCauseOnMostAgents(t *testing.T) {
	const text = "Failed to get user information for 'nobody2'"
	for _, test := range []struct {
		name        string
		good, bad   int
		most, least int // launches in 40 s
	}{
		{"of a new cluster", 0, 12, paceFirst + 6, 5},
		{"of few among many", 12, 3, 24, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			var good []string
			for i := range test.good {
				good = append(good, fmt.Sprintf("G%d", i))
			}
			s.mining(good...)
			launches, notices := 0, 0
			for range 40 {
				for i := range test.bad {
					s.offer(fmt.Sprintf("B%d", i))
					for _, info := range s.launched() {
						launches++
						s.fail(info.TaskID.Value, text)
						for _, a := range s.actions {
							if n, ok := a.(Notice); ok && strings.Contains(fmt.Sprint(n.Attrs), text) {
								notices++
							}
						}
					}
				}
				s.pass(time.Second)
			}
			if launches > test.most || launches < test.least {
				t.Errorf("%d launches in 40 s on %d agents that cannot", launches, test.bad)
			}
			snapshot := s.c.Snapshot(s.now)
			all := len(snapshot.Problems) > 0 && snapshot.Problems[0].Kind == KindMiner
			if held := test.good == 0; all != held || (notices > 0) != held {
				t.Errorf("%d notices, problems %+v", notices, snapshot.Problems)
			}
			if e := snapshot.Ended[0]; e.Cause != "the agent does not know the user" {
				t.Errorf("cause %q", e.Cause)
			}
			if why := snapshot.Need.Text; test.good == 0 && !strings.Contains(why, "does not know the user") {
				t.Errorf("the status says %q", why)
			}
		})
	}
}

func TestSilentLaunchIsAskedFor(t *testing.T) {
	s := newScript(t)
	p := s.launchOne("S0")
	s.pass(30 * time.Second)
	asked := false
	for _, c := range s.calls(scheduler.Call_RECONCILE) {
		asked = asked || len(c.Reconcile.Tasks) == 1 && c.Reconcile.Tasks[0].TaskID.Value == p
	}
	if !asked {
		t.Fatal("nobody asks for a launch that vanished")
	}
	gone, reason := mesos.TASK_GONE, mesos.REASON_RECONCILIATION
	s.step(Update{mesos.TaskStatus{TaskID: mesos.TaskID{Value: p}, State: &gone, Reason: &reason, AgentID: &mesos.AgentID{Value: "S0"}}})
	if p2 := s.launchOne("S0"); p2 == p {
		t.Error("the task id is used again")
	}
}

func TestLaunchThatTakesForeverIsGivenUp(t *testing.T) {
	s := newScript(t)
	p := s.launchOne("S0")
	s.update(p, mesos.TASK_STARTING)
	s.pass(launchLimit + 5*time.Second)
	if s.c.state.Tasks[p].Kill == "" || len(s.calls(scheduler.Call_KILL)) == 0 {
		t.Error("it is waited for")
	}
}

func TestPeriodicReconciliation(t *testing.T) {
	s := newScript(t)
	p, _ := s.mining("S1")
	s.pass(15 * time.Minute)
	explicit, implicit := 0, 0
	for _, c := range s.calls(scheduler.Call_RECONCILE) {
		if len(c.Reconcile.Tasks) == 0 {
			implicit++
		} else if c.Reconcile.Tasks[0].TaskID.Value == p || len(c.Reconcile.Tasks) == 2 {
			explicit++
		}
	}
	if explicit == 0 || implicit == 0 || explicit > 20 {
		t.Errorf("%d explicit and %d implicit rounds in 15 minutes", explicit, implicit)
	}
}

func TestFetchFailureIsExplained(t *testing.T) {
	s := newScript(t)
	fail := func(reason mesos.TaskStatus_Reason, text string) (told []Notice) {
		s.pass(2 * time.Minute) // backoffs
		id := s.launchOne(fmt.Sprintf("S%d", s.offers))
		status := mesos.TaskStatus{
			TaskID: mesos.TaskID{Value: id}, State: taskState(mesos.TASK_FAILED), Reason: &reason, Message: &text,
			AgentID: &mesos.AgentID{Value: s.c.state.Tasks[id].AgentID},
		}
		s.step(Update{status})
		for _, a := range s.actions {
			if n, ok := a.(Notice); ok {
				told = append(told, n)
			}
		}
		return told
	}
	const fetch = "Failed to launch container: Failed to fetch all URIs for container 'c': exited with status 1"
	if n := fail(mesos.REASON_CONTAINER_LAUNCH_FAILED, fetch); len(n) != 1 || !strings.Contains(fmt.Sprint(n[0]), s.c.set.ArtifactURL) {
		t.Errorf("notices %v, want one that names %s", n, s.c.set.ArtifactURL)
	}
	if n := fail(mesos.REASON_CONTAINER_LAUNCH_FAILED, "Failed to launch container: no space left on device"); len(n) != 0 {
		t.Errorf("notices about another failure: %v", n)
	}
	if n := fail(mesos.REASON_EXECUTOR_TERMINATED, "could not fetch work"); len(n) != 0 {
		t.Errorf("notices about an executor: %v", n)
	}
}

// A fault that no launch can mend is told after some tries, and is over when a task
// works.
func TestHopelessLoop(t *testing.T) {
	s := newScript(t)
	fail := func(text string) (hopeless int) {
		s.pass(11 * time.Minute) // whatever back-off there is
		p := s.launchOne("S0")
		s.update(p, mesos.TASK_RUNNING) // it runs, and still is of no use
		s.step(Update{mesos.TaskStatus{
			TaskID: mesos.TaskID{Value: p}, State: taskState(mesos.TASK_FAILED), AgentID: &mesos.AgentID{Value: "S0"}, Message: &text,
		}})
		for _, a := range s.actions {
			if _, ok := a.(Hopeless); ok {
				hopeless++
			}
		}
		return hopeless
	}
	told := 0
	for i := range hopelessAfter - 1 {
		told += fail(fmt.Sprintf("listen tcp :310%02d: permission denied", i))
	}
	if told != 0 || len(s.c.Snapshot(s.now).Problems) != 0 {
		t.Fatal("told too early")
	}
	told += fail("something else") // begins anew
	for i := range hopelessAfter + 2 {
		told += fail(fmt.Sprintf("listen tcp :310%02d: permission denied", i))
	}
	problems := s.c.Snapshot(s.now).Problems
	if told != 1 || len(problems) != 1 || problems[0].Kind != "proxy" || !strings.Contains(problems[0].Text, "permission denied") {
		t.Fatalf("told %d times; problems %v", told, problems)
	}
	s.pass(11 * time.Minute)
	p := s.launchOne("S0")
	s.update(p, mesos.TASK_RUNNING)
	s.proxyReport(p, true)
	if n := len(s.c.Snapshot(s.now).Problems); n != 0 {
		t.Errorf("%d problems though a proxy works", n)
	}
}
