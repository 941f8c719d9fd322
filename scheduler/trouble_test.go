package scheduler_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
	"lode/scheduler"
	"lode/scheduler/api"
)

// Tasks that fail always alike are told wherever an operator may look: status, health,
// metrics, events, log.
func TestHopelessLoopIsTold(t *testing.T) {
	i := start(t)
	i.subscribe()
	const text = "exec format error"
	for n := range 5 {
		agent := fmt.Sprint("S", n) // each is left alone for a while
		i.offer(fmt.Sprint("O", n), agent)
		task := i.call(mesossched.Call_ACCEPT).Accept.Operations[0].Launch.TaskInfos[0]
		state, source, said := mesos.TASK_FAILED, mesos.SOURCE_EXECUTOR, text
		i.master.Send(&mesossched.Event{Type: mesossched.Event_UPDATE, Update: &mesossched.Event_Update{Status: mesos.TaskStatus{
			TaskID: task.TaskID, State: &state, AgentID: &task.AgentID, UUID: fmt.Appendf(nil, "%016d", n), Source: &source, Message: &said,
		}}})
		i.call(mesossched.Call_ACKNOWLEDGE)
	}
	const want = "proxy tasks failed 5 times with the same message: " + text
	i.eventually("status tells of it", func(s api.Status) bool {
		return len(s.Problems) == 1 && s.Problems[0].Kind == "proxy" && s.Problems[0].Text == want
	})
	if code, body := i.get("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, want) {
		t.Errorf("healthz: %d %s", code, body)
	}
	if _, body := i.get("/metrics"); !strings.Contains(body, `lode_scheduler_problem{kind="proxy"} 1`) {
		t.Error("metrics do not tell of it")
	}
	i.logged("tasks fail again and again")
	i.told("of it", func(e scheduler.Event) bool { return e.Type == scheduler.EventHopeless && e.Message == want })
}

// A stranger who has subscribed at an agent in the proxy's name is told nothing, counted,
// and a few lines of the log.
func TestStrangersAreCounted(t *testing.T) {
	i := start(t)
	proxy, _ := i.mines()
	data, err := message.Encode(&message.ToScheduler{
		Version: message.Version, TaskId: proxy.TaskID.Value,
		Event: &message.ToScheduler_Hello{Hello: &message.Hello{NeedSecrets: true, ExecutorDigest: i.s.Status().Artifact.Digest, PublicKey: make([]byte, 32)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const times = 500
	for range times {
		i.master.Send(&mesossched.Event{Type: mesossched.Event_MESSAGE, Message: &mesossched.Event_Message{
			AgentID: proxy.AgentID, ExecutorID: proxy.Executor.ExecutorID, Data: data,
		}})
	}
	want := fmt.Sprintf(`lode_scheduler_refused_messages_total{kind="forged"} %d`, times)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, body := i.get("/metrics")
		if strings.Contains(body, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("metrics do not have %s", want)
		}
	}
	i.s.Settle() // what they brought about, if anything, was done
	for len(i.master.Calls) > 0 {
		if c := <-i.master.Calls; c.Type == mesossched.Call_MESSAGE {
			t.Errorf("%s is told something", c.Message.ExecutorID.Value)
		}
	}
	if n := strings.Count(i.log.String(), "message in an executor's name refused"); n == 0 || n > 5 {
		t.Errorf("%d lines of the log", n)
	}
}
