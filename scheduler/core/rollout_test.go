package core

import (
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
