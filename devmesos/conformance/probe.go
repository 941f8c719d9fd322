package conformance

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"lode/devmesos/conformance/internal/control"
)

// Probe is the suite's end of one probe executor: what a check tells it, the executor
// does; what happens to the executor, the check sees.
type Probe struct {
	ID  string // executor id
	URL string // its control URL

	once     sync.Once
	arrived  chan struct{} // closed when the process first asked for a command
	gone     chan struct{} // closed at the end of the check
	commands chan control.Command
	results  chan control.Result
	mu       sync.Mutex
	seq      int
	streams  map[string]*eventLog
	enc      Encoding

	c         *C
	framework string
	agent     string
	tasks     []string // that it was launched with
	opened    int
	current   *eventLog // of the newest stream
	name      string    // its name
}

func (p *Probe) arrive() { p.once.Do(func() { close(p.arrived) }) }

func (p *Probe) stream(name string) *eventLog {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.streams[name] == nil {
		p.streams[name] = newEventLog()
	}
	return p.streams[name]
}

func (p *Probe) receive(ev control.Event) {
	log := p.stream(ev.Stream)
	if ev.End {
		var err error
		if ev.Err != "" {
			err = errors.New(ev.Err)
		}
		log.end(err)
		return
	}
	p.mu.Lock()
	enc := p.enc
	p.mu.Unlock()
	d, err := enc.decode(executorAPI, ev.Record)
	if err != nil {
		d = Doc{"type": "(undecodable)", "error": err.Error()}
	}
	log.push(d)
}

// try carries out a command and returns its result, or an error if the probe does
// not answer.
func (p *Probe) try(cmd control.Command) (control.Result, error) {
	p.mu.Lock()
	p.seq++
	cmd.Seq = p.seq
	p.mu.Unlock()
	timeout := time.NewTimer(p.c.target.Patience + callTimeout)
	defer timeout.Stop()
	select {
	case p.commands <- cmd:
	case <-timeout.C:
		return control.Result{}, fmt.Errorf("probe %s does not ask for commands", p.ID)
	}
	if cmd.Op == control.OpExit {
		return control.Result{}, nil
	}
	for {
		select {
		case res := <-p.results:
			if res.Seq == cmd.Seq {
				return res, nil
			}
		case <-timeout.C:
			return control.Result{}, fmt.Errorf("probe %s does not answer %s", p.ID, cmd.Op)
		}
	}
}

func (p *Probe) do(cmd control.Command) control.Result {
	p.c.Helper()
	res, err := p.try(cmd)
	if err != nil {
		p.c.Fatal(err)
	}
	if res.Err != "" && cmd.Op != control.OpHTTP && cmd.Op != control.OpOpen {
		p.c.Fatalf("probe %s: %s: %s", p.ID, cmd.Op, res.Err)
	}
	return res
}

// Process asks for the description of the process.
func (p *Probe) Process() control.Process {
	p.c.Helper()
	return *p.do(control.Command{Op: control.OpProcess}).Process
}

// Exit makes the probe exit.
func (p *Probe) Exit(code int) {
	p.c.Helper()
	p.do(control.Command{Op: control.OpExit, Code: code})
}

// Die makes the probe send itself a signal.
func (p *Probe) Die(sig syscall.Signal) {
	p.c.Helper()
	p.do(control.Command{Op: control.OpSignal, Code: int(sig)})
}

// request makes a raw request to the agent; an error means that no answer came.
func (p *Probe) request(method, path string, h header, body []byte) (answer, error) {
	p.c.Helper()
	res := p.do(control.Command{Op: control.OpHTTP, HTTP: &control.Request{Method: method, Path: path, Header: h, Body: body}})
	if res.Err != "" {
		return answer{}, errors.New(res.Err)
	}
	return answer{res.HTTP.Status, http.Header(res.HTTP.Header), string(res.HTTP.Body)}, nil
}

func (p *Probe) headers() header {
	return header{"Content-Type": string(p.enc), "Accept": string(p.enc)}
}

// fill adds the ids of framework and executor to a call.
func (p *Probe) fill(call Doc) Doc {
	return merge(Doc{"framework_id": value(p.framework), "executor_id": value(p.ID)}, call)
}

// tryCall makes a call to the agent.
func (p *Probe) tryCall(call Doc) (answer, error) {
	p.c.Helper()
	b, err := p.enc.encode(executorAPI, p.fill(call))
	if err != nil {
		p.c.Fatal(err)
	}
	return p.request(http.MethodPost, executorAPI.path, p.headers(), b)
}

// Call makes a call to the agent, which must answer with the status.
func (p *Probe) Call(status int, call Doc) answer {
	p.c.Helper()
	a, err := p.tryCall(call)
	if err != nil {
		p.c.Fatalf("executor %s: %v: %v", p.ID, call["type"], err)
	}
	if a.Status != status {
		p.c.Fatalf("executor %s: %v: answer %v, expected status %d", p.ID, call["type"], a, status)
	}
	return a
}

// trySubscribe opens an event stream.
func (p *Probe) trySubscribe(tasks, updates []any) (answer, error) {
	p.c.Helper()
	call := Doc{"type": "SUBSCRIBE", "subscribe": Doc{"unacknowledged_tasks": tasks, "unacknowledged_updates": updates}}
	b, err := p.enc.encode(executorAPI, p.fill(call))
	if err != nil {
		p.c.Fatal(err)
	}
	p.opened++
	name := fmt.Sprintf("s%d", p.opened)
	log := p.stream(name)
	res := p.do(control.Command{Op: control.OpOpen, Stream: name, HTTP: &control.Request{
		Method: http.MethodPost, Path: executorAPI.path, Header: p.headers(), Body: b,
	}})
	if res.Err != "" {
		return answer{}, errors.New(res.Err)
	}
	if res.HTTP.Status == http.StatusOK {
		p.current, p.name = log, name
	}
	return answer{res.HTTP.Status, http.Header(res.HTTP.Header), string(res.HTTP.Body)}, nil
}

// Subscribe opens an event stream without unacknowledged tasks or updates.
func (p *Probe) Subscribe() *eventLog {
	p.c.Helper()
	a, err := p.trySubscribe(list[any](), list[any]())
	if err != nil || a.Status != http.StatusOK {
		p.c.Fatalf("executor %s: SUBSCRIBE: %v %v", p.ID, a, err)
	}
	return p.current
}

// Close closes the newest stream from the executor's side.
func (p *Probe) Close() {
	p.c.Helper()
	p.do(control.Command{Op: control.OpClose, Stream: p.name})
	p.c.waitEnd(p.current, "the executor's own closed stream")
}

// Event waits for an event of the newest stream.
func (p *Probe) Event(what string, match func(Event) bool) Event {
	p.c.Helper()
	return p.c.wait(p.current, "executor "+p.ID+": "+what, match)
}

// Launched waits for the LAUNCH of the task.
func (p *Probe) Launched(task string) Event {
	p.c.Helper()
	return p.Event("LAUNCH of "+task, launched(task))
}

// awaitLaunch waits until a task that the executor was started for has come to it. An
// update before that aborts a real agent ("Queued tasks can only be transitioned to
// terminal states").
func (p *Probe) awaitLaunch(task string) {
	p.c.Helper()
	if !slices.Contains(p.tasks, task) {
		return
	}
	p.c.eventually("executor "+p.ID+": LAUNCH of "+task, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, log := range p.streams {
			if log.has(launched(task)) {
				return nil
			}
		}
		return errors.New("not there")
	})
}

// status builds a TaskStatus as an executor must send it (§5.4), with a fresh uuid.
func (p *Probe) status(task, state string, more ...Doc) Doc {
	return merge(Doc{
		"task_id": value(task), "state": state, "source": "SOURCE_EXECUTOR", "executor_id": value(p.ID),
		"uuid": newUUID(), "timestamp": float64(time.Now().UnixMicro()) / 1e6,
	}, more...)
}

// Update sends a status update and returns it; the agent must take it with 202.
func (p *Probe) Update(task, state string, more ...Doc) Doc {
	p.c.Helper()
	p.awaitLaunch(task)
	st := p.status(task, state, more...)
	p.Call(http.StatusAccepted, Doc{"type": "UPDATE", "update": Doc{"status": st}})
	return st
}

// Acknowledged waits until the agent has stored the update.
func (p *Probe) Acknowledged(status Doc) Event {
	p.c.Helper()
	return p.Event("ACKNOWLEDGED of "+text(status, "state"), func(e Event) bool {
		return e.Type == "ACKNOWLEDGED" && text(e.Doc, "acknowledged.uuid") == text(status, "uuid")
	})
}

// Message sends a framework message.
func (p *Probe) Message(data string) {
	p.c.Helper()
	p.Call(http.StatusAccepted, Doc{"type": "MESSAGE", "message": Doc{"data": b64(data)}})
}

// wait waits for the process to come up.
func (p *Probe) wait(ctx context.Context) bool {
	select {
	case <-p.arrived:
		return true
	case <-ctx.Done():
		return false
	}
}

func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4, RFC 9562
	return base64.StdEncoding.EncodeToString(b)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func unb64(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "(not base64: " + s + ")"
	}
	return string(b)
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // documents built by the checks themselves
	}
	return b
}
