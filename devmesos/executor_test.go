package devmesos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
)

// executorName is argv[0] of this test's binary when an agent runs it as an executor.
const executorName = "devmesos-test-executor"

func TestMain(m *testing.M) {
	LauncherMain()
	if os.Args[0] == executorName {
		os.Exit(playExecutor())
	}
	goleak.VerifyTestMain(m)
}

func testExecutorCommand() object {
	binary, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return object{"shell": false, "value": binary, "arguments": []any{executorName}}
}

// playExecutor is an executor as simple as they come: a task runs until it is killed,
// messages are sent back, a lost agent is looked for until it is there again.
func playExecutor() int {
	e := &testExecutor{
		url:       "http://" + os.Getenv("MESOS_AGENT_ENDPOINT") + "/api/v1/executor",
		framework: os.Getenv("MESOS_FRAMEWORK_ID"),
		executor:  os.Getenv("MESOS_EXECUTOR_ID"),
		unacked:   make(map[string]object),
		tasks:     make(map[string]object),
	}
	for attempt := 0; attempt < 300; attempt++ {
		if e.subscribe() {
			return 0
		}
		if os.Getenv("MESOS_CHECKPOINT") != "1" && attempt > 0 {
			return 1
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 1
}

type testExecutor struct {
	url, framework, executor string

	unacked map[string]object // updates by uuid
	order   []string
	tasks   map[string]object // not acknowledged
}

func (e *testExecutor) post(kind string, part object) (*http.Response, error) {
	call := object{"type": kind, "framework_id": value(e.framework), "executor_id": value(e.executor), strings.ToLower(kind): part}
	b, _ := json.Marshal(call)
	return http.Post(e.url, "application/json", bytes.NewReader(b))
}

// subscribe serves one subscription; it is true if the executor is to end.
func (e *testExecutor) subscribe() bool {
	var updates, tasks []any
	for _, uuid := range e.order {
		if u := e.unacked[uuid]; u != nil {
			updates = append(updates, u)
		}
	}
	for _, t := range e.tasks {
		tasks = append(tasks, t)
	}
	response, err := e.post("SUBSCRIBE", object{"unacknowledged_updates": updates, "unacknowledged_tasks": tasks})
	if err != nil {
		return false
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusBadRequest {
		return true
	}
	if response.StatusCode != http.StatusOK {
		return false
	}
	in := bufio.NewReader(response.Body)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		length, _ := strconv.Atoi(strings.TrimSpace(line))
		record := make([]byte, length)
		if _, err := io.ReadFull(in, record); err != nil {
			return false
		}
		var event object
		if err := json.Unmarshal(record, &event); err != nil {
			return false
		}
		if e.handle(event) {
			return true
		}
	}
}

func (e *testExecutor) handle(event object) bool {
	fmt.Println(event["type"])
	switch event["type"] {
	case "LAUNCH":
		task := dig(event, "launch", "task").(object)
		id := dig(task, "task_id", "value").(string)
		e.tasks[id] = task
		e.update(id, "TASK_RUNNING")
	case "KILL":
		e.update(dig(event, "kill", "task_id", "value").(string), "TASK_KILLED")
	case "ACKNOWLEDGED":
		uuid := dig(event, "acknowledged", "uuid").(string)
		u := e.unacked[uuid]
		delete(e.unacked, uuid)
		delete(e.tasks, dig(event, "acknowledged", "task_id", "value").(string))
		return dig(u, "status", "state") == "TASK_KILLED"
	case "MESSAGE":
		response, err := e.post("MESSAGE", object{"data": dig(event, "message", "data")})
		if err == nil {
			response.Body.Close()
		}
	case "SHUTDOWN":
		return true
	}
	return false
}

func (e *testExecutor) update(task, state string) {
	id := uuid.New()
	status := object{
		"task_id": value(task), "state": state, "source": "SOURCE_EXECUTOR", "uuid": id[:], "data": []byte("V-STDATA"),
		"message": "V-STMSG", "timestamp": float64(time.Now().UnixMicro()) / 1e6, "healthy": true,
	}
	b, _ := json.Marshal(id[:])
	var key string
	json.Unmarshal(b, &key)
	e.unacked[key] = object{"status": status}
	e.order = append(e.order, key)
	response, err := e.post("UPDATE", e.unacked[key])
	if err == nil {
		response.Body.Close()
	}
}
