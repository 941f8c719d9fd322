package agent

import (
	"bufio"
	"bytes"
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
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	executorapi "github.com/mesos/mesos-go/api/v1/lib/executor"

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
