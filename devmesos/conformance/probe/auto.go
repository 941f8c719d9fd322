package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"lode/devmesos/conformance/internal/control"
)

// event is the little of an executor event that runAuto looks at.
type event struct {
	Type   string
	Launch struct {
		Task struct {
			TaskID id `json:"task_id"`
		}
	}
	Kill struct {
		TaskID id `json:"task_id"`
	}
	Acknowledged struct {
		TaskID id `json:"task_id"`
		UUID   []byte
	}
}

type id struct {
	Value string `json:"value"`
}

// runAuto runs tasks until they are killed, and exits when the last one ended and its
// end is acknowledged. It returns the exit code.
func runAuto(a *agentClient) int {
	resp, err := a.do(context.Background(), request(map[string]any{"type": "SUBSCRIBE", "subscribe": map[string]any{}}))
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe: subscribe:", err)
		return 1
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, "probe: subscribe:", resp.Status)
		return 1
	}
	tasks := map[string]bool{}
	last := map[string]bool{} // uuids of terminal updates not acknowledged yet
	update := func(task, state string) {
		uuid := make([]byte, 16)
		_, _ = rand.Read(uuid)
		uuid[6], uuid[8] = uuid[6]&0x0f|0x40, uuid[8]&0x3f|0x80 // version 4, RFC 9562: agents look
		if state != "TASK_RUNNING" {
			last[string(uuid)] = true
		}
		answer, err := a.send(request(map[string]any{"type": "UPDATE", "update": map[string]any{"status": map[string]any{
			"task_id": id{task}, "state": state, "source": "SOURCE_EXECUTOR", "uuid": uuid,
			"timestamp": float64(time.Now().UnixMicro()) / 1e6,
		}}}))
		if err == nil && answer.Status != http.StatusAccepted {
			err = fmt.Errorf("answer %d %s", answer.Status, answer.Body)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "probe: %s of %s: %v\n", state, task, err)
		}
	}
	for records := newRecords(resp.Body); ; {
		rec, err := records.next()
		if err != nil {
			return 0 // without checkpointing the end of the stream ends the executor
		}
		var ev event
		if err := json.Unmarshal(rec, &ev); err != nil {
			fmt.Fprintln(os.Stderr, "probe: event:", err)
			return 1
		}
		switch ev.Type {
		case "LAUNCH":
			tasks[ev.Launch.Task.TaskID.Value] = true
			update(ev.Launch.Task.TaskID.Value, "TASK_RUNNING")
		case "KILL":
			if tasks[ev.Kill.TaskID.Value] {
				delete(tasks, ev.Kill.TaskID.Value)
				update(ev.Kill.TaskID.Value, "TASK_KILLED")
			}
		case "ACKNOWLEDGED":
			if last[string(ev.Acknowledged.UUID)] {
				delete(last, string(ev.Acknowledged.UUID))
				if len(last) == 0 && len(tasks) == 0 {
					return 0
				}
			}
		case "SHUTDOWN":
			return 0
		}
	}
}

func request(call map[string]any) control.Request {
	call["framework_id"] = id{os.Getenv("MESOS_FRAMEWORK_ID")}
	call["executor_id"] = id{os.Getenv("MESOS_EXECUTOR_ID")}
	b, err := json.Marshal(call)
	if err != nil {
		panic(err) // built from plain values above
	}
	return control.Request{
		Method: http.MethodPost, Path: "/api/v1/executor", Body: b,
		Header: map[string]string{"Content-Type": "application/json", "Accept": "application/json"},
	}
}
