package core

import (
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A new framework that gets nothing says how to end the one of before, until it mines.
func TestNewFrameworkStarves(t *testing.T) {
	s := newScript(t)
	s.c.state.Former = "F0"
	told := func() bool {
		for _, p := range s.c.Problems() {
			if p.Kind == "former" && strings.HasSuffix(p.Text, "lode teardown --master http://m:5050 F0") {
				return true
			}
		}
		return false
	}
	s.pass(starvedAfter - 2*time.Second)
	if told() {
		t.Error("it is told before anything could be offered")
	}
	s.pass(4 * time.Second)
	if !told() {
		t.Fatalf("problems are %v", s.c.Problems())
	}
	p := s.launchOne("S0")
	s.update(p, mesos.TASK_RUNNING)
	s.proxyReport(p, true)
	s.pass(2 * time.Second)
	if told() || s.c.state.Former != "" {
		t.Errorf("it mines, and %q is remembered: %v", s.c.state.Former, s.c.Problems())
	}
	s.update(p, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED)
	s.pass(10 * time.Minute)
	if told() {
		t.Error("it is told though the new one had all it needs")
	}
}
