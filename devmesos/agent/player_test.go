package agent

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	executorapi "github.com/mesos/mesos-go/api/v1/lib/executor"
	schedulerapi "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/wire"
)

// entry is one line of a trace of a real cluster; see testdata/traces/README.md.
type entry struct {
	T        float64           `json:"t"`
	Dir      string            `json:"dir"`
	Conn     string            `json:"conn"`
	To       string            `json:"to"`
	Executor string            `json:"executor"`
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	Status   int               `json:"status"`
	Headers  map[string]string `json:"headers"`
	Body     json.RawMessage   `json:"body"`
	Note     string            `json:"note"`
}

func (e entry) String() string {
	return fmt.Sprintf("t=%v %s %s%s %s %s %.300s", e.T, e.Dir, e.Conn, e.Executor, e.Path, e.Note, e.Body)
}

// player plays a trace: what the master and the executors did it does, what the agent did it expects. Executors are real
// processes, but it is the player who speaks for them.
type player struct {
	*testing.T
	agent   *Agent
	entries []entry
	secret  []byte

	recordedAgent string // host:port in the trace
	files         *artifacts
	replace       *strings.Replacer // recorded names → names of this run
	restore       *strings.Replacer // the other way round

	master    *playedMaster
	framework mesos.FrameworkInfo
	executors map[string]*played
	tasks     map[string]string // living tasks that the master knows → executor
	uuids     map[string][]byte // recorded uuid in base64 → that of this run
	answer    *http.Response    // to the last raw request
	lastNote  string
	lastPath  string // of the last raw request
}

// played is an executor whose part the player has.
type played struct {
	dir       string
	stream    *http.Response
	records   *bufio.Reader
	responses []int
	launched  bool
}

// playedExecutor is what runs in a container of a played executor: it says what it finds and waits for the
// order to exit.
func playedExecutor() int {
	dir, err := os.Getwd()
	if err != nil {
		return 89
	}
	if err := os.WriteFile(dir+".report.new", report(), 0o644); err != nil {
		return 90
	}
	if err := os.Rename(dir+".report.new", dir+".report"); err != nil {
		return 91
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "exit0":
			return 0
		case "exit1":
			return 1
		}
	}
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(dir + ".exit"); err == nil {
			code, _ := strconv.Atoi(string(b))
			return code
		}
	}
	return 92
}

// play runs whole traces, one after the other on the same agent.
func play(t *testing.T, change func(*Config), names ...string) {
	p := newPlayer(t, names, change)
	for _, name := range names {
		p.entries = parseTrace(t, name)
		p.framework = p.firstSubscribed().FrameworkInfo
		p.prelude()
		for i, e := range p.entries {
			if e.Note != "" && e.Dir == "note" {
				p.lastNote = e.Note
				if strings.HasPrefix(e.Note, "agent kill -9") {
					return // from here on other tests
				}
			}
			if !p.step(e) {
				t.Fatalf("%s, line %d: %s", name, i+1, e)
			}
		}
	}
}

var runPath = regexp.MustCompile(`executors/([^/"]+)/runs/([0-9a-f-]{36})`)

func newPlayer(t *testing.T, names []string, change func(*Config)) *player {
	t.Helper()
	p := &player{
		T: t, secret: []byte("secret"), files: newArtifacts(),
		executors: map[string]*played{}, tasks: map[string]string{}, uuids: map[string][]byte{},
	}
	t.Cleanup(p.files.close)
	containers := map[string][]string{}
	for _, name := range names {
		p.entries = append(p.entries, parseTrace(t, name)...)
	}
	for _, e := range p.entries {
		for _, m := range runPath.FindAllStringSubmatch(e.Path+string(e.Body), -1) {
			if !slices.Contains(containers[m[1]], m[2]) {
				containers[m[1]] = append(containers[m[1]], m[2])
			}
		}
	}
	subscribed := p.firstSubscribed()
	if _, known := containers[subscribed.ExecutorInfo.ExecutorID.Value]; !known {
		containers[subscribed.ExecutorInfo.ExecutorID.Value] = []string{subscribed.ContainerID.GetValue()}
	}
	for _, e := range p.entries {
		var event executorapi.Event
		if e.Dir == "executor-event" && wire.JSON.Unmarshal(e.Body, &event) == nil && event.Subscribed != nil {
			if c := event.Subscribed.ContainerID.GetValue(); !slices.Contains(containers[e.Executor], c) {
				containers[e.Executor] = append(containers[e.Executor], c)
			}
		}
	}
	p.recordedAgent = net.JoinHostPort("127.0.0.1", strconv.Itoa(int(subscribed.AgentInfo.GetPort())))
	config := Config{
		WorkDir:      t.TempDir(),
		Launcher:     "/proc/self/exe",
		Resources:    subscribed.AgentInfo.Resources,
		Attributes:   subscribed.AgentInfo.Attributes,
		Timing:       testTiming(),
		JWTSecretKey: p.secret,
		newContainerID: func(executor string) string {
			left := containers[executor]
			if len(left) == 0 {
				return "no-container-recorded-for-" + executor
			}
			containers[executor] = left[1:]
			return left[0]
		},
	}
	change(&config)
	var err error
	if p.agent, err = New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.agent.Close)
	p.names(config.WorkDir)
	p.master = newPlayedMaster(*subscribed.AgentInfo.ID)
	p.agent.Detected(p.master)
	if err := p.agent.Start(); err != nil {
		t.Fatal(err)
	}
	<-p.master.registered
	return p
}

// names fills in how recorded names are called here.
func (p *player) names(workDir string) {
	self, err := os.Executable()
	if err != nil {
		p.Fatal(err)
	}
	pairs := []string{
		"$REC/executor.py", self,
		"$WORK_DIR", workDir,
		"$FETCHER_CACHE_DIR", filepath.Join(workDir, "fetch"),
		p.recordedAgent, p.agent.Endpoint(),
	}
	server := regexp.MustCompile(`127\.0\.0\.1:18\d\d\d`)
	for _, e := range p.entries {
		if found := server.FindString(string(e.Body)); found != "" {
			pairs = append(pairs, found, p.files.server.Listener.Addr().String())
			break
		}
	}
	back := make([]string, 0, len(pairs)+2)
	for i := len(pairs) - 2; i >= 0; i -= 2 { // the fetcher's cache lies below the work directory
		back = append(back, pairs[i+1], pairs[i])
	}
	_, port, _ := net.SplitHostPort(p.agent.Endpoint())
	_, recorded, _ := net.SplitHostPort(p.recordedAgent)
	back = append(back, `"port":`+port, `"port":`+recorded)
	p.replace = strings.NewReplacer(pairs...)
	p.restore = strings.NewReplacer(back...)
}

// shortened is data of which the trace shows only the beginning; it is one group of base64 again and again.
var shortened = regexp.MustCompile(`"([A-Za-z0-9+/]{4})[A-Za-z0-9+/]*\.\.\.\((\d+) base64 chars\)"`)

func parseTrace(t *testing.T, name string) []entry {
	text, err := os.ReadFile(filepath.Join("testdata/traces", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	text = shortened.ReplaceAllFunc(text, func(m []byte) []byte {
		parts := shortened.FindSubmatch(m)
		n, err := strconv.Atoi(string(parts[2]))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(`"` + strings.Repeat(string(parts[1]), n/4) + `"`)
	})
	var entries []entry
	for line := range bytes.Lines(text) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

func (p *player) firstSubscribed() *executorapi.Event_Subscribed {
	for _, e := range p.entries {
		var event executorapi.Event
		if e.Dir == "executor-event" && wire.JSON.Unmarshal(e.Body, &event) == nil && event.Subscribed != nil {
			return event.Subscribed
		}
		if raw := rawBody(e); raw != "" { // a stream that the recorder read itself
			if _, records, ok := strings.Cut(raw, "\r\n\r\n"); ok {
				for record := range chunkedRecords(records) {
					if wire.JSON.Unmarshal(record, &event) == nil && event.Subscribed != nil {
						return event.Subscribed
					}
				}
			}
		}
	}
	return p.shownSubscribed()
}

// step plays one entry. It says false after an error that makes the rest pointless.
func (p *player) step(e entry) bool {
	switch e.Dir {
	case "request":
		if e.To == "agent" {
			return p.request(e)
		}
		if e.To != "" {
			p.answer = nil // the master's business
			return true
		}
		return p.schedulerCall(e)
	case "response":
		if e.Conn == "" && p.answer != nil {
			return p.response(e)
		}
	case "event":
		return p.schedulerEvent(e)
	case "executor-call":
		return p.executorCall(e)
	case "executor-response":
		return p.executorResponse(e)
	case "executor-event":
		return p.executorEvent(e)
	case "executor-note":
		return p.executorNote(e)
	case "file-server":
		return p.fileServer(e)
	case "note":
		return p.note(e)
	case "env":
		return p.environment(e)
	case "file":
		return p.file(e)
	}
	return true
}

// schedulerCall does what the master would do because of a call.
func (p *player) schedulerCall(e entry) bool {
	if e.Path != "/api/v1/scheduler" {
		return true
	}
	var call schedulerapi.Call
	if err := wire.JSON.Unmarshal([]byte(p.replace.Replace(string(e.Body))), &call); err != nil {
		p.Errorf("scheduler call: %v", err)
		return false
	}
	fw := *p.framework.ID
	switch call.Type {
	case schedulerapi.Call_SUBSCRIBE:
		if p.master.connect(true) {
			p.agent.FrameworkReregistered(fw)
		}
	case schedulerapi.Call_ACCEPT:
		for _, op := range call.Accept.Operations {
			for _, task := range op.Launch.GetTaskInfos() {
				p.run(task)
			}
		}
	case schedulerapi.Call_ACKNOWLEDGE:
		recorded := base64.StdEncoding.EncodeToString(call.Acknowledge.UUID)
		id, known := p.uuids[recorded]
		if !known {
			id = call.Acknowledge.UUID
		}
		p.agent.AcknowledgeUpdate(fw, call.Acknowledge.TaskID, id)
	case schedulerapi.Call_KILL:
		if _, known := p.tasks[call.Kill.TaskID.Value]; known && (call.Kill.AgentID == nil || *call.Kill.AgentID == p.master.id) {
			p.agent.KillTask(fw, call.Kill.TaskID, call.Kill.KillPolicy)
		}
	case schedulerapi.Call_SHUTDOWN:
		if call.Shutdown.AgentID == p.master.id {
			p.agent.ShutdownExecutor(fw, call.Shutdown.ExecutorID)
		}
	case schedulerapi.Call_MESSAGE:
		if call.Message.AgentID == p.master.id {
			p.agent.FrameworkMessage(fw, call.Message.ExecutorID, call.Message.Data)
		}
	case schedulerapi.Call_TEARDOWN:
		p.agent.ShutdownFramework(fw)
	}
	return true
}

// run launches a task with what the master adds.
func (p *player) run(task mesos.TaskInfo) {
	x := p.executors[task.Executor.ExecutorID.Value]
	launch := x == nil || !x.launched
	if launch {
		x = &played{launched: true}
		p.executors[task.Executor.ExecutorID.Value] = x
	}
	allocate(task.Resources)
	allocate(task.Executor.Resources)
	if task.AgentID != p.master.id {
		p.Fatalf("task for agent %s", task.AgentID.Value)
	}
	p.tasks[task.TaskID.Value] = task.Executor.ExecutorID.Value
	p.agent.RunTask(link.RunTask{Framework: p.framework, Task: task, LaunchExecutor: launch})
}

func allocate(resources []mesos.Resource) {
	for i := range resources {
		if resources[i].AllocationInfo != nil {
			continue
		}
		resources[i].AllocationInfo = &mesos.Resource_AllocationInfo{Role: ptr("*")}
	}
}

// schedulerEvent expects what the agent told the master.
func (p *player) schedulerEvent(e entry) bool {
	var event schedulerapi.Event
	if wire.JSON.Unmarshal(e.Body, &event) != nil {
		return true // (EOF)
	}
	switch event.Type {
	case schedulerapi.Event_UPDATE:
		want := event.Update.Status
		if want.GetSource() == mesos.SOURCE_MASTER {
			return true
		}
		return p.expectUpdate(want)
	case schedulerapi.Event_FAILURE:
		if event.Failure.ExecutorID == nil {
			return true
		}
		x := p.executors[event.Failure.ExecutorID.Value]
		if sig, ok := map[string]syscall.Signal{"kill -9": syscall.SIGKILL, "kill -TERM": syscall.SIGTERM}[p.lastNote]; ok {
			if !p.agent.SignalExecutor(*p.framework.ID, *event.Failure.ExecutorID, sig) {
				p.Error("no executor to signal")
			}
		}
		c, ok := p.master.next(p.T, "ExitedExecutor "+event.Failure.ExecutorID.Value)
		if !ok {
			return false
		}
		want := event.Failure.GetStatus()
		// A failing fetch and the agent's kill of the waiting launcher were a race in the recording.
		if c.status != want && (want != 9 || p.lastNote != "fetch 500" || c.status != 256) {
			p.Errorf("status is %d, want %d", c.status, want)
		}
		if want != neverRan || x.stream == nil {
			x.launched = false
		}
	case schedulerapi.Event_MESSAGE:
		c, ok := p.master.next(p.T, "ExecutorMessage "+event.Message.ExecutorID.Value)
		if !ok {
			return false
		}
		if want := event.Message.Data; c.data != string(want) {
			p.Errorf("message is %.80q, want %.80q", c.data, want)
		}
	}
	return true
}

func (p *player) expectUpdate(want mesos.TaskStatus) bool {
	channel := "StatusUpdate " + want.TaskID.Value
	c, ok := p.master.next(p.T, channel)
	for ok && c.update.Status.GetState() != want.GetState() && p.seen(c.update.Status.UUID) {
		c, ok = p.master.next(p.T, channel) // time runs faster here, there may be more retries
	}
	if !ok {
		return false
	}
	got := c.update.Status
	p.uuids[base64.StdEncoding.EncodeToString(want.UUID)] = got.UUID
	if want.GetSource() == mesos.SOURCE_AGENT {
		if len(got.UUID) != 16 || got.Timestamp == nil {
			p.Errorf("update without uuid or time: %v", got)
		}
		want.UUID, want.Timestamp = got.UUID, got.Timestamp
	}
	if bytes.Equal(want.UUID, untimed) {
		want.Timestamp = got.Timestamp
	}
	if c := want.ContainerStatus; c != nil {
		if got.ContainerStatus.GetExecutorPID() == 0 {
			p.Errorf("no executor_pid in %v", got)
		}
		c.ExecutorPID = got.ContainerStatus.ExecutorPID
	}
	if isEnd(want.GetState()) {
		delete(p.tasks, want.TaskID.Value)
	}
	p.same("update", wire.AppendJSON(nil, &got), wire.AppendJSON(nil, &want))
	return true
}

// untimed is the uuid of the one update in 03c that its executor sent without a time; the agent adds one.
var untimed, _ = base64.StdEncoding.DecodeString("rlEHJZbQQBOXQLci9RtGIg==")

func isEnd(s mesos.TaskState) bool {
	return s == mesos.TASK_FINISHED || s == mesos.TASK_FAILED || s == mesos.TASK_KILLED || s == mesos.TASK_DROPPED ||
		s == mesos.TASK_LOST || s == mesos.TASK_GONE
}

func (p *player) seen(id []byte) bool {
	for _, known := range p.uuids {
		if bytes.Equal(known, id) {
			return true
		}
	}
	return false
}

// same compares texts after this run's names were replaced by the recorded ones.
func (p *player) same(what string, got, want []byte) {
	p.Helper()
	if g := p.restore.Replace(string(got)); g != string(want) {
		p.Errorf("%s:\n got %s\nwant %s", what, g, want)
	}
}

func (p *player) executorCall(e entry) bool {
	x := p.executors[e.Executor]
	if x.dir == "" {
		p.locate(x, e.Executor)
	}
	body := p.replace.Replace(string(e.Body))
	answer, err := p.post(e.Method, e.Path, e.Headers, body)
	if err != nil {
		p.Errorf("call of executor %s: %v", e.Executor, err)
		return false
	}
	x.responses = append(x.responses, answer.StatusCode)
	if answer.StatusCode == http.StatusOK {
		if x.stream != nil {
			x.stream.Body.Close()
		}
		x.stream, x.records = answer, bufio.NewReader(answer.Body)
		p.Cleanup(func() { answer.Body.Close() })
	} else {
		answer.Body.Close()
	}
	return true
}

// locate finds an executor's sandbox.
func (p *player) locate(x *played, id string) {
	p.agent.ask(func(run *process) {
		if f := run.frameworks[p.framework.ID.Value]; f != nil {
			if e := f.executor(id); e != nil {
				x.dir = e.directory
			}
		}
	})
	if x.dir == "" {
		p.Fatalf("executor %s is unknown to the agent", id)
	}
}

func (p *player) executorResponse(e entry) bool {
	x := p.executors[e.Executor]
	if len(x.responses) == 0 {
		p.Error("no response is due")
		return false
	}
	got := x.responses[0]
	x.responses = x.responses[1:]
	if got != e.Status {
		p.Errorf("executor %s was answered %d, want %d", e.Executor, got, e.Status)
	}
	return true
}

func (p *player) executorEvent(e entry) bool {
	x := p.executors[e.Executor]
	if e.Note == "executor stream ended" {
		if _, err := readRecord(x.records); !errors.Is(err, io.EOF) {
			p.Errorf("stream has not ended: %v", err)
		}
		return true
	}
	record, err := readRecord(x.records)
	if err != nil {
		p.Errorf("stream of executor %s: %v", e.Executor, err)
		return false
	}
	p.same("event for executor "+e.Executor, record, e.Body)
	return true
}

func (p *player) executorNote(e entry) bool {
	x := p.executors[e.Executor]
	code := "0"
	if rest, ok := strings.CutPrefix(e.Note, "executor exits with "); ok {
		code = rest
	}
	if x.dir == "" {
		p.locate(x, e.Executor)
	}
	if err := os.WriteFile(x.dir+".exit.new", []byte(code), 0o644); err != nil {
		p.Error(err)
	}
	if err := os.Rename(x.dir+".exit.new", x.dir+".exit"); err != nil {
		p.Error(err)
	}
	return true
}

var recordedToken = regexp.MustCompile(`JWT\(([^.]+\.[^.]+)\.SIGNATURE_REDACTED\)`)

// sign makes a recorded token whole again.
func (p *player) sign(text string) string {
	return recordedToken.ReplaceAllStringFunc(text, func(m string) string {
		signed := recordedToken.FindStringSubmatch(m)[1]
		mac := hmac.New(sha256.New, p.secret)
		mac.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	})
}

func (p *player) post(method, path string, headers map[string]string, body string) (*http.Response, error) {
	r, err := http.NewRequest(method, "http://"+p.agent.Endpoint()+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		r.Header.Set(name, p.sign(value))
	}
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
}

// request is one that the recorder made itself.
func (p *player) request(e entry) bool {
	body := string(e.Body)
	var text string
	if json.Unmarshal(e.Body, &text) == nil {
		body = text
	}
	if e.Path == "/help" {
		p.answer = nil
		return true
	}
	p.lastPath = e.Path
	answer, err := p.post(e.Method, p.replace.Replace(e.Path), e.Headers, p.replace.Replace(body))
	if err != nil {
		p.Error(err)
		return false
	}
	p.answer = answer
	return true
}

func rawBody(e entry) string {
	var body struct {
		Raw string `json:"raw"`
	}
	if e.Dir != "response" || json.Unmarshal(e.Body, &body) != nil {
		return ""
	}
	return body.Raw
}

func (p *player) response(e entry) bool {
	answer := p.answer
	p.Cleanup(func() { answer.Body.Close() })
	if raw := rawBody(e); raw != "" {
		return p.rawStream(raw)
	}
	body, err := io.ReadAll(p.answer.Body)
	if err != nil {
		p.Error(err)
	}
	if p.answer.StatusCode != e.Status {
		p.Errorf("status is %d %s, want %s", p.answer.StatusCode, body, e)
	}
	if len(e.Body) > 0 && e.Body[0] != '"' {
		delete(e.Headers, "Content-Length")
		p.shape(p.lastPath, body, e.Body)
	} else if strings.HasPrefix(p.lastPath, "/files/") {
		delete(e.Headers, "Content-Length")
	}
	for name, want := range e.Headers {
		if got := p.answer.Header.Get(name); got != want {
			p.Errorf("header %s is %q, want %q: %s", name, got, want, e)
		}
	}
	if text := ""; json.Unmarshal(e.Body, &text) == nil && string(body) != text && !strings.HasSuffix(text, "bytes left out)") && !strings.HasPrefix(text, "cb(") {
		p.Errorf("body is %q, want %s", body, e)
	}
	return true
}

// rawStream compares the records of a stream that the recorder read; how many there were is known.
func (p *player) rawStream(raw string) bool {
	_, chunks, _ := strings.Cut(raw, "\r\n\r\n")
	records := bufio.NewReader(p.answer.Body)
	for want := range chunkedRecords(chunks) {
		got, err := readRecord(records)
		if err != nil {
			p.Errorf("stream: %v, want %s", err, want)
			return false
		}
		p.same("record", got, want)
	}
	return true
}

// chunkedRecords reads RecordIO out of a chunked body, one record a chunk. Lengths of records are those
// before names were replaced in the trace, so chunk borders are searched.
func chunkedRecords(chunks string) func(yield func([]byte) bool) {
	record := regexp.MustCompile(`[0-9a-f]+\r\n[0-9]+\n(\{.*?\})\r\n`)
	return func(yield func([]byte) bool) {
		for _, m := range record.FindAllStringSubmatch(chunks, -1) {
			if !yield([]byte(m[1])) {
				return
			}
		}
	}
}

func (p *player) fileServer(e entry) bool {
	select {
	case got := <-p.files.seen:
		want := e.Method + " " + e.Path
		if got.request != want {
			if p.files.later == nil && e.Method == http.MethodHead { // they went out together
				p.files.later = &got
				return p.fileServer(e)
			}
			p.Errorf("the artifact server saw %q, want %q", got.request, want)
		}
		if len(e.Headers) > 0 && (got.headers != "Accept=*/*" || e.Headers["Accept"] != "*/*") {
			p.Errorf("headers of %s are %q", want, got.headers)
		}
		if p.files.later != nil && p.files.later.request != want {
			later := *p.files.later
			p.files.later = nil
			p.files.seen <- later
		}
		return true
	case <-time.After(patience):
		p.Error("the artifact server sees nothing")
		return false
	}
}

// note does what the recorder only noted.
func (p *player) note(e entry) bool {
	switch {
	case strings.HasPrefix(e.Note, "second SUBSCRIBE of the same executor"):
		for _, call := range p.entries {
			if call.Dir == "executor-call" {
				call.Dir = "request"
				return p.request(call)
			}
		}
	case e.Note == "after the end of v1":
		return p.epilogue()
	case strings.HasPrefix(e.Note, "scheduler closes its connection"):
		p.master.connect(false)
	}
	return true
}
