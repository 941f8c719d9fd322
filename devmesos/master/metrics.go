package master

import (
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// metrics counts what happened, under the names of a real master.
type metrics struct{ counts map[string]int64 }

func (m *metrics) count(name string) {
	if m.counts == nil {
		m.counts = make(map[string]int64)
	}
	m.counts[name]++
}

// countTask counts a task that came to its end.
func (m *metrics) countTask(state mesos.TaskState) {
	m.count("master/tasks_" + strings.ToLower(strings.TrimPrefix(state.String(), "TASK_")))
}
