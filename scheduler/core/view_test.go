package core

import (
	"fmt"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"pgregory.net/rapid"
)

// A walk sees once what is there from its beginning to its end, whatever comes and goes
// between its pieces.
func TestWalkSeesEachOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newScript(t)
		s.mining()
		launch := func(i int) {
			s.c.pace.window = paceMost
			s.update(s.launchOne(fmt.Sprint("A", i)), mesos.TASK_RUNNING)
		}
		for i := range rapid.IntRange(0, 30).Draw(rt, "miners") {
			launch(i)
		}
		stay := make(map[*Task]bool)
		for _, task := range s.c.tasks {
			stay[task] = true
		}
		seen, agents := make(map[string]int), make(map[string]int)
		piece, few := make([]TaskView, rapid.IntRange(1, 5).Draw(rt, "piece")), make([]AgentView, 3)
		fleet := len(s.c.fleet)
		w := s.c.Walk()
		for i, more, left := 1000, true, true; more || left; i++ {
			var n int
			n, more = w.Tasks(piece)
			for _, v := range piece[:n] {
				seen[v.ID]++
			}
			n, left = w.Agents(few)
			for _, v := range few[:n] {
				agents[v.ID]++
			}
			for range rapid.IntRange(0, 3).Draw(rt, "ends") {
				if task := s.c.tasks[rapid.IntRange(0, len(s.c.tasks)-1).Draw(rt, "task")]; task.Kind == KindMiner {
					delete(stay, task)
					s.update(task.ID, mesos.TASK_LOST, mesos.REASON_AGENT_REMOVED)
				}
			}
			if rapid.Bool().Draw(rt, "launch") {
				launch(i)
			}
		}
		for task := range stay {
			if seen[task.ID] == 0 {
				rt.Errorf("%s was not seen", task.ID)
			}
		}
		for id, n := range seen {
			if n > 1 {
				rt.Errorf("%s was seen %d times", id, n)
			}
		}
		for id, n := range agents {
			if n > 1 {
				rt.Errorf("agent %s was seen %d times", id, n)
			}
		}
		if len(agents) < fleet {
			rt.Errorf("%d of %d agents were seen", len(agents), fleet)
		}
	})
}
