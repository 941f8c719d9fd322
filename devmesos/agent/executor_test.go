package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	executorapi "github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/devmesos/internal/wire"
)

// executorName is argv[0] of the test's binary when it is an executor.
const executorName = "test-executor"

// testExecutor is a small v1 executor. Modes: "run" answers LAUNCH with RUNNING and KILL with KILLED, and ends when its
// last task did; "exit N" ends at once; "sleep" never subscribes; "stubborn" ignores SHUTDOWN and KILL. In
// "run" and "stubborn" it does what framework messages say: "exit N", "update STATE TASK",
// "say WORD" and "report" (what it finds about itself) as messages.
func testExecutor(args []string) int {
	switch args[0] {
	case "exit":
		code, _ := strconv.Atoi(args[1])
		return code
	case "sleep":
		time.Sleep(time.Hour)
	}
	x := &execClient{
		agent:     os.Getenv("MESOS_AGENT_ENDPOINT"),
		framework: os.Getenv("MESOS_FRAMEWORK_ID"),
		executor:  os.Getenv("MESOS_EXECUTOR_ID"),
		token:     os.Getenv("MESOS_EXECUTOR_AUTHENTICATION_TOKEN"),
	}
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		code, over := x.live(args[0] == "stubborn")
		if over {
			return code
		}
		time.Sleep(20 * time.Millisecond)
	}
	return 99
}

// execClient is the executor's side of the API.
type execClient struct {
	agent, framework, executor, token string

	tasks   []mesos.TaskInfo // launched, not acknowledged
	unacked []mesos.TaskStatus
	alive   int
	ending  bool
}

// live subscribes once and follows the events until the stream ends.
func (x *execClient) live(stubborn bool) (code int, over bool) {
	answer, err := x.post(x.subscribeCall())
	if err != nil {
		return 0, false
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusBadRequest {
		return 98, true
	}
	if answer.StatusCode != http.StatusOK {
		return 0, false
	}
	records := bufio.NewReader(answer.Body)
	for {
		event, err := readEvent(records)
		if err != nil {
			return 0, false
		}
		if code, over := x.handle(event, stubborn); over {
			return code, true
		}
	}
}

func (x *execClient) handle(event *executorapi.Event, stubborn bool) (code int, over bool) {
	switch event.Type {
	case executorapi.Event_LAUNCH:
		x.alive++
		x.tasks = append(x.tasks, event.Launch.Task)
		x.update(event.Launch.Task.TaskID, mesos.TASK_RUNNING)
	case executorapi.Event_KILL:
		if !stubborn {
			x.update(event.Kill.TaskID, mesos.TASK_KILLED)
		}
	case executorapi.Event_SHUTDOWN:
		return 0, !stubborn
	case executorapi.Event_ACKNOWLEDGED:
		x.unacked = slices.DeleteFunc(x.unacked, func(s mesos.TaskStatus) bool { return bytes.Equal(s.UUID, event.Acknowledged.UUID) })
		x.tasks = slices.DeleteFunc(x.tasks, func(t mesos.TaskInfo) bool { return t.TaskID == event.Acknowledged.TaskID })
		return 0, x.ending && len(x.unacked) == 0
	case executorapi.Event_MESSAGE:
		words := strings.Fields(string(event.Message.Data))
		switch words[0] {
		case "exit":
			code, _ := strconv.Atoi(words[1])
			return code, true
		case "update":
			x.update(mesos.TaskID{Value: words[2]}, mesos.TaskState(mesos.TaskState_value[words[1]]))
		case "say":
			x.message([]byte(words[1]))
		case "report":
			x.message(report())
		}
	}
	return 0, false
}

func (x *execClient) subscribeCall() *executorapi.Call {
	call := x.call(executorapi.Call_SUBSCRIBE)
	call.Subscribe = &executorapi.Call_Subscribe{UnacknowledgedTasks: x.tasks}
	for _, s := range x.unacked {
		call.Subscribe.UnacknowledgedUpdates = append(call.Subscribe.UnacknowledgedUpdates, executorapi.Call_Update{Status: s})
	}
	return call
}

func (x *execClient) update(task mesos.TaskID, state mesos.TaskState) {
	id := uuid.New()
	status := mesos.TaskStatus{
		TaskID:     task,
		State:      &state,
		Source:     mesos.SOURCE_EXECUTOR.Enum(),
		ExecutorID: &mesos.ExecutorID{Value: x.executor},
		UUID:       id[:],
		Timestamp:  now(),
	}
	if state != mesos.TASK_RUNNING {
		x.alive--
		x.ending = x.alive == 0
	}
	x.unacked = append(x.unacked, status)
	call := x.call(executorapi.Call_UPDATE)
	call.Update = &executorapi.Call_Update{Status: status}
	x.send(call)
}

func (x *execClient) message(data []byte) { x.send(x.messageCall(data)) }

func (x *execClient) messageCall(data []byte) *executorapi.Call {
	call := x.call(executorapi.Call_MESSAGE)
	call.Message = &executorapi.Call_Message{Data: data}
	return call
}

// status makes a call that is no SUBSCRIBE; 0 means no answer.
func (x *execClient) status(call *executorapi.Call) int {
	answer, err := x.post(call)
	if err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

func (x *execClient) send(call *executorapi.Call) {
	if answer, err := x.post(call); err == nil {
		answer.Body.Close()
	}
}

func (x *execClient) call(kind executorapi.Call_Type) *executorapi.Call {
	return &executorapi.Call{
		Type:        kind,
		FrameworkID: mesos.FrameworkID{Value: x.framework},
		ExecutorID:  mesos.ExecutorID{Value: x.executor},
	}
}

func (x *execClient) post(call *executorapi.Call) (*http.Response, error) {
	body, err := wire.Protobuf.Marshal(call)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+x.agent+"/api/v1/executor", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", wire.Protobuf.MediaType())
	r.Header.Set("Accept", wire.Protobuf.MediaType())
	if x.token != "" {
		r.Header.Set("Authorization", "Bearer "+x.token)
	}
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
}

func readEvent(r *bufio.Reader) (*executorapi.Event, error) {
	record, err := readRecord(r)
	if err != nil {
		return nil, err
	}
	event := new(executorapi.Event)
	return event, wire.Protobuf.Unmarshal(record, event)
}

func readRecord(r *bufio.Reader) ([]byte, error) {
	length, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, "\n"))
	if err != nil {
		return nil, fmt.Errorf("length of a record: %w", err)
	}
	record := make([]byte, n)
	_, err = io.ReadFull(r, record)
	return record, err
}

// selfReport is what an executor process finds about itself.
type selfReport struct {
	Env      []string
	Args     []string
	Dir      string
	PID      int
	PPID     int
	PGID     int
	SID      int
	UID      int
	GID      int
	Umask    int
	FDs      map[string]string
	Ancestor string
}

func report() []byte {
	r := selfReport{
		Env: os.Environ(), Args: os.Args, PID: os.Getpid(), PPID: os.Getppid(), UID: os.Getuid(), GID: os.Getgid(),
		FDs: map[string]string{},
	}
	r.Dir, _ = os.Getwd()
	fillIDs(&r)
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			r.FDs[e.Name()] = target
		}
	}
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.PPID))
	r.Ancestor = strings.ReplaceAll(string(cmdline), "\x00", " ")
	b, _ := json.Marshal(r)
	return b
}
