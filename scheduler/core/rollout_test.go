package core

import (
	"fmt"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// An upgrade to an executor that does not run stops after few miners, and says why.
func TestUpgradeToWhatDoesNotRunStops(t *testing.T) {
	s := newScript(t)
	_, miners := s.mining("S1", "S2", "S3", "S4", "S5")
	result := new(Result)
	s.step(Operate{Who: "alice", Upgrade: "start", Artifact: &Artifact{URL: "http://s/artifacts/e/lode-executor", Digest: "e"}, Result: result})
	if state, old, _ := s.c.UpgradeState(); state != "running" || old != 6 || s.c.UpgradeStopped() != "" {
		t.Fatalf("%s, %d old: %+v", state, old, result)
	}
	failed := 0
	for range 120 {
		if state, _, _ := s.c.UpgradeState(); state == "stopped" {
			break
		}
		s.pass(30 * time.Second)
		for _, id := range sortedKeysOf(s.c.state.Tasks) {
			if task := s.c.state.Tasks[id]; task.Kill != "" {
				s.update(id, mesos.TASK_KILLED)
			}
		}
		for _, agent := range []string{"S1", "S2", "S3", "S4", "S5"} {
			if a := s.c.agents[agent]; a != nil && len(a.tasks) > 0 {
				continue
			}
			s.offer(agent)
			for _, info := range s.launched() {
				s.fail(info.TaskID.Value, "exec format error")
				failed++
			}
		}
	}
	state, _, _ := s.c.UpgradeState()
	if state != "stopped" || !strings.Contains(s.c.UpgradeStopped(), "new tasks failed") {
		t.Fatalf("%s: %q", state, s.c.UpgradeStopped())
	}
	left := 0
	for _, id := range miners {
		if task := s.c.state.Tasks[id]; task != nil && task.Kill == "" {
			left++
		}
	}
	if left < len(miners)-2 || failed > 2*mostFailures {
		t.Errorf("%d of %d miners are left, %d new ones failed", left, len(miners), failed)
	}
	if p := s.c.Problems(); len(p) != 1 || !strings.Contains(p[0].Text, "new tasks failed") {
		t.Errorf("problems %+v", p)
	}
}

// What an agent cannot fetch speaks neither for an executor nor against it: among three
// failures it keeps nobody from going back.
func TestFailuresOfTwoKindsGoBack(t *testing.T) {
	const fetch = "Failed to launch container: Failed to fetch all URIs for container 'x': exited with status 1"
	for _, test := range []struct {
		name string
		how  [mostFailures]string
		back bool
	}{
		{"it never starts", [...]string{"exec format error", "exec format error", "exec format error"}, true},
		{"nor can it be fetched, the last time", [...]string{"exec format error", "exec format error", fetch}, true},
		{"it cannot be fetched", [...]string{fetch, fetch, fetch}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			s.mining("S1", "S2", "S3", "S4", "S5")
			s.step(Operate{Who: "alice", Upgrade: "start", Artifact: &Artifact{URL: "http://s/artifacts/e/lode-executor", Digest: "e"}, Result: new(Result)})
			s.c.rollout.killed = 1
			for i, text := range test.how {
				id := s.launchOne(fmt.Sprint("N", i))
				reason := mesos.REASON_EXECUTOR_TERMINATED
				if text == fetch {
					reason = mesos.REASON_CONTAINER_LAUNCH_FAILED
				}
				s.step(Update{mesos.TaskStatus{
					TaskID: mesos.TaskID{Value: id}, State: taskState(mesos.TASK_FAILED), Message: &text, Reason: &reason,
					AgentID: &mesos.AgentID{Value: fmt.Sprint("N", i)}, UUID: fmt.Appendf(nil, "%016d", i),
				}})
			}
			if s.c.UpgradeStopped() == "" {
				t.Fatal("it goes on")
			}
			if back := s.c.artifact().Digest == "d"; back != test.back {
				t.Errorf("new tasks get %s", s.c.artifact().Digest)
			}
		})
	}
}

// An upgrade that stops as the new executor could not be fetched says nothing of that
// one. When it is fetched at last and does not run, new tasks get the one of before.
func TestFetchedAtLastAndDoesNotRun(t *testing.T) {
	s := newScript(t)
	var agents []string
	for i := range 8 {
		agents = append(agents, fmt.Sprint("M", i))
	}
	_, miners := s.mining(agents...)
	s.c.set.Fallback = Artifact{URL: s.c.set.ArtifactURL, Digest: "d"}
	s.c.set.ArtifactURL, s.c.set.ArtifactDigest, s.c.set.ArtifactArchive, s.c.set.Upgrade = "http://s/artifacts/d2/lode-executor", "d2", "", true
	s.c.beginRollout()
	s.pass(5 * time.Second)
	for _, id := range miners {
		if s.c.state.Tasks[id].Kill != "" {
			s.update(id, mesos.TASK_KILLED)
		}
	}
	for i := 0; i < 60 && !s.c.rollout.back; i++ {
		s.pass(time.Minute)
		s.offer(fmt.Sprint("N", i))
		for _, info := range s.launched() {
			text := "exec format error"
			if i < 3 {
				text = "Failed to fetch all URIs for container"
			}
			s.fail(info.TaskID.Value, text)
		}
	}
	if !s.c.rollout.back {
		t.Errorf("new tasks still get an executor that does not run; stopped: %q", s.c.rollout.stopped)
	}
}
