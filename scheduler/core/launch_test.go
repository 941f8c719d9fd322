package core

import (
	"fmt"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// An agent that cannot fetch or unpack the archive gets the file itself the next time, as
// long as that works; what it may have a damaged copy of is fetched anew.
func TestFetchInAnotherForm(t *testing.T) {
	const fetch = "Failed to launch container: Failed to fetch all URIs for container 'x': exited with status 1"
	s := newScript(t)
	s.mining()
	uri := func() (mesos.CommandInfo_URI, string) {
		t.Helper()
		s.pass(15 * time.Minute)
		id := s.launchOne("S1")
		return s.launched()[0].Executor.Command.URIs[0], id
	}
	end := func(id, text string, reason mesos.TaskStatus_Reason) {
		s.step(Update{mesos.TaskStatus{
			TaskID: mesos.TaskID{Value: id}, State: taskState(mesos.TASK_FAILED), Message: &text, Reason: &reason,
			AgentID: &mesos.AgentID{Value: "S1"}, UUID: fmt.Appendf(nil, "%16s", id),
		}})
	}
	for i, step := range []struct {
		packed, cache bool
		text          string // of its failure
	}{
		{true, true, fetch},
		{false, true, fetch}, // it was the network after all
		{true, true, fetch},
		{false, true, "Executor terminated"}, // that copy is damaged, too
		{false, false, fetch},
		{true, false, "Executor terminated"},
	} {
		got, id := uri()
		if got.GetExtract() != step.packed || got.GetExecutable() == step.packed || got.GetCache() != step.cache {
			t.Errorf("launch %d: %v, want packed %v, cached %v", i, got, step.packed, step.cache)
		}
		reason := mesos.REASON_EXECUTOR_TERMINATED
		if step.text == fetch {
			reason = mesos.REASON_CONTAINER_LAUNCH_FAILED
		}
		end(id, step.text, reason)
	}
}
