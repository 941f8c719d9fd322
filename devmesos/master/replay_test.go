package master

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/wire"
)

// The recordings of a real master are replayed against this one, in virtual time:
// every request is made when and as it was made then, and every answer and event
// must be as it was then. What agents said is said again when schedulers heard it.

// entry is a line of a recording.
type entry struct {
	T       float64           `json:"t"`
	Dir     string            `json:"dir"`
	Conn    string            `json:"conn"`
	To      string            `json:"to"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
	Note    string            `json:"note"`
}

func readTrace(t *testing.T, name string) []entry {
	t.Helper()
	b, err := os.ReadFile("testdata/traces/" + name + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var entries []entry
	for line := range bytes.Lines(b) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

// tolerance is how much earlier or later than recorded an event may come: the phase
// of the allocations, one a second, is not known.
const tolerance = 2 * time.Second

// replay is a recording on its way.
type replay struct {
	t        *testing.T
	cfg      Config
	master   *Master
	agents   []*fakeAgent
	hooks    map[string]func() // by a note's beginning
	handlers []func(*entry) bool
	planned  []plan
	start    time.Time
	clock    time.Time // of the recording, at its start
	// actual says what a string of the recording is now: ids that are given out.
	actual    map[string]string
	conns     map[string]*connection
	last      *connection // the latest without a name
	shortened bool        // bodies of the recording have only some of their fields
	subset    bool        // what is compared now is such a body
	skip      func(*entry) bool
	ends      []func() // checks after the first recording
}

// connection is one stream of a scheduler.
type connection struct {
	name   string
	stream *memStream
	// Two rows of what was heard in the recording: about offers, and everything else.
	// Between the two the order depends on the moment.
	expected [2][]expectation
	heard    [2][]heardEvent
	seen     int  // events that were sorted into heard
	closed   bool // by the recorder
}

type expectation struct {
	at   time.Duration
	body any
}

// row says which of the two rows an event belongs to; −1: it is left out.
func row(event any) int {
	kind, _ := dig(event, "type").(string)
	switch kind {
	case "HEARTBEAT", "":
		return -1
	case "OFFERS", "RESCIND", "INVERSE_OFFERS", "RESCIND_INVERSE_OFFER":
		return 0
	default:
		return 1
	}
}

func dig(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			o, _ := v.(map[string]any)
			v = o[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

func (r *replay) run(entries []entry) {
	if r.conns == nil {
		r.conns, r.actual = make(map[string]*connection), make(map[string]string)
	}
	r.start = time.Now()
	r.setClock(entries)
	for i := range entries {
		e := &entries[i]
		at := time.Duration(e.T * float64(time.Second))
		r.advance(at)
		if r.skip != nil && r.skip(e) {
			continue
		}
		switch e.Dir {
		case "request":
			r.request(e, answerOf(entries[i+1:], e))
		case "event":
			r.event(e, at)
		case "note":
			r.note(e)
		}
	}
	time.Sleep(tolerance)
	synctest.Wait()
	for _, c := range r.conns {
		r.compare(c, true)
	}
}

// advance lets time pass, and does what was planned meanwhile.
func (r *replay) advance(at time.Duration) {
	for len(r.planned) > 0 && r.planned[0].at <= at {
		next := r.planned[0]
		r.planned = r.planned[1:]
		r.advance(next.at)
		next.do()
	}
	if wait := at - time.Since(r.start); wait > 0 {
		time.Sleep(wait)
	}
	synctest.Wait()
}

// later plans something.
func (r *replay) later(d time.Duration, do func()) {
	r.planned = append(r.planned, plan{time.Since(r.start) + d, do})
}

// plan is what happens in a recording without an entry of its own.
type plan struct {
	at time.Duration
	do func()
}

// setClock gives the master the time of the recording.
func (r *replay) setClock(entries []entry) {
	for _, e := range entries {
		var body any
		if e.Dir != "event" || json.Unmarshal(e.Body, &body) != nil {
			continue
		}
		if seconds, ok := dig(body, "update", "status", "timestamp").(float64); ok && dig(body, "update", "status", "source") == "SOURCE_MASTER" || ok && r.clock.IsZero() {
			r.clock = time.Unix(0, int64((seconds-e.T)*1e9))
			break
		}
	}
	if !r.clock.IsZero() {
		r.master.SkewClock(r.clock.Sub(r.start))
	}
}

// answerOf finds the response to a request.
func answerOf(rest []entry, request *entry) *entry {
	for i := range rest {
		if rest[i].Dir == "response" && rest[i].Conn == request.Conn {
			return &rest[i]
		}
		if rest[i].Dir == "request" && rest[i].Conn == request.Conn {
			return nil
		}
	}
	return nil
}

var offerIDs = regexp.MustCompile(`[0-9a-f-]{36}-O[0-9]+`)

// translate puts the ids of now in place of those of the recording.
func (r *replay) translate(s string) string {
	for _, id := range offerIDs.FindAllString(s, -1) {
		for try := 0; r.actual[id] == "" && try < 15 && r.isExpected(id); try++ {
			time.Sleep(100 * time.Millisecond) // it comes with the next allocation
			synctest.Wait()
			for _, c := range r.conns {
				r.compare(c, false)
			}
		}
	}
	recorded := make([]string, 0, len(r.actual))
	for id := range r.actual {
		recorded = append(recorded, id)
	}
	slices.SortFunc(recorded, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, id := range recorded {
		pairs = append(pairs, id, r.actual[id])
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// isExpected says whether an offer was recorded but has not come yet.
func (r *replay) isExpected(id string) bool {
	for _, c := range r.conns {
		for _, x := range c.expected[0] {
			b, _ := json.Marshal(x.body)
			if bytes.Contains(b, []byte(id+`"`)) {
				return true
			}
		}
	}
	return false
}

// rawBody is the body as it was sent.
func rawBody(e *entry) []byte {
	if len(e.Body) == 0 {
		return nil
	}
	var text string
	if json.Unmarshal(e.Body, &text) == nil {
		return []byte(text)
	}
	var coded struct{ Base64 string }
	if json.Unmarshal(e.Body, &coded) == nil && coded.Base64 != "" {
		b, _ := base64.StdEncoding.DecodeString(coded.Base64)
		return b
	}
	return e.Body
}

// credentialsFor puts back what was left out of recording 02c.
func credentialsFor(e *entry) string {
	switch {
	case strings.Contains(e.Note, "wrong secret"):
		return "framework:wrong"
	case strings.Contains(e.Note, "unknown principal"):
		return "nobody:secret"
	case strings.Contains(e.Note, "admin"), e.Path == "/frameworks":
		return "admin:secret"
	default:
		return "framework:secret"
	}
}

func (r *replay) request(e, answer *entry) {
	if answer == nil || answer.Status == 0 {
		return
	}
	for _, handle := range r.handlers {
		if handle(e) {
			return
		}
	}
	body := []byte(r.translate(string(rawBody(e))))
	header := make(http.Header)
	for key, value := range e.Headers {
		header.Set(key, r.translate(value))
	}
	if header.Get("Authorization") == "Basic REDACTED" {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentialsFor(e))))
	}
	stream := serve(r.t, r.master, e.Method, r.translate(e.Path), header, body)
	synctest.Wait()
	where := fmt.Sprintf("%.3f %s %s %s", e.T, e.Conn, e.Note, e.Body)
	if stream.status() != answer.Status {
		r.t.Errorf("%.300s:\n answered %d %s, want %d %s", where, stream.status(), stream.text(), answer.Status, answer.Body)
	}
	if id := answer.Headers["Mesos-Stream-Id"]; id != "" {
		r.actual[id] = stream.header.Get("Mesos-Stream-Id")
	}
	for _, name := range []string{"Allow", "WWW-Authenticate", "Location", "Content-Type"} {
		if want, got := answer.Headers[name], strings.Join(stream.header[name], ","); got != want && !(name == "Content-Type" && len(answer.Body) == 0) {
			r.t.Errorf("%.300s: %s is %q, want %q", where, name, got, want)
		}
	}
	if answer.Headers["Transfer-Encoding"] == "chunked" || (answer.Status == 200 && bytes.Contains(e.Body, []byte(`"SUBSCRIBE"`))) {
		c := &connection{name: e.Conn, stream: stream}
		r.last = c
		name := e.Conn
		if old := r.conns[name]; old != nil || name == "" {
			name = fmt.Sprintf("%s#%d", name, len(r.conns))
			if old != nil {
				r.conns[name] = old
			}
		}
		if e.Conn != "" {
			name = e.Conn
		}
		r.conns[name] = c
		return
	}
	if e.Method == "HEAD" {
		return
	}
	var want, got any
	if json.Unmarshal(answer.Body, &want) == nil {
		if text, ok := want.(string); ok {
			if text = r.translate(text); strings.HasPrefix(text, "<") || strings.HasPrefix(text, "(") {
				return // pages of the web UI, and what was left out
			} else if stream.text() != text {
				r.t.Errorf("%.300s:\n answered %q,\nwant     %q", where, stream.text(), text)
			}
			return
		}
		if err := json.Unmarshal([]byte(stream.text()), &got); err != nil {
			r.t.Errorf("%.300s: answered %q, want JSON", where, stream.text())
			return
		}
		if e.Path == "/metrics/snapshot" {
			r.matchKeys(want, got)
			return
		}
		r.subset = r.shortened
		r.match(where, want, got)
		r.subset = false
	}
}

// matchKeys checks that the real master has every metric that there is here.
func (r *replay) matchKeys(want, got any) {
	for key := range got.(map[string]any) {
		if !slices.Contains(want.([]any), any(key)) {
			r.t.Errorf("/metrics/snapshot has %s, which the real master has not", key)
		}
	}
}

func (r *replay) event(e *entry, at time.Duration) {
	var body any
	if err := json.Unmarshal(e.Body, &body); err != nil {
		r.t.Fatal(err)
	}
	if coded, ok := dig(body, "base64").(string); ok {
		b, _ := base64.StdEncoding.DecodeString(coded)
		body = decodeEvent(wire.Protobuf, b)
	}
	c := r.conns[e.Conn]
	if e.Conn == "" {
		c = r.last
	}
	if n := row(body); n >= 0 && c != nil && !strings.HasPrefix(dig(body, "type").(string), "(read") {
		if dig(body, "type") == "(EOF)" && c.closed {
			return
		}
		c.expected[n] = append(c.expected[n], expectation{at, body})
		r.compare(c, false)
		if len(c.expected[n]) > 0 {
			r.fromAgent(body)
			synctest.Wait()
			r.compare(c, false)
		}
	}
}

// compare matches what was heard with what is to be heard. At the end nothing may be
// missing on either side.
func (r *replay) compare(c *connection, end bool) {
	all := c.stream.events()
	for _, h := range all[c.seen:] {
		if n := row(h.body); n >= 0 {
			c.heard[n] = append(c.heard[n], h)
		}
	}
	c.seen = len(all)
	for n := range c.heard {
		for len(c.expected[n]) > 0 && len(c.heard[n]) > 0 {
			want := c.expected[n][0]
			i := pick(want.body, c.heard[n])
			got := c.heard[n][i]
			c.expected[n] = c.expected[n][1:]
			c.heard[n] = slices.Delete(c.heard[n], i, i+1)
			where := fmt.Sprintf("%s at %v", c.name, want.at)
			if late := got.at.Sub(r.start) - want.at; late > tolerance || late < -tolerance {
				r.t.Errorf("%s: heard at %v: %v", where, got.at.Sub(r.start), got.body)
			}
			r.bindOffers(want.body, got.body)
			r.match(where, want.body, got.body)
		}
		if !end {
			continue
		}
		for _, want := range c.expected[n] {
			r.t.Errorf("%s at %v: not heard: %.400v", c.name, want.at, want.body)
		}
		for _, got := range c.heard[n] {
			if c.closed || dig(got.body, "type") == "(EOF)" {
				continue
			}
			r.t.Errorf("%s: not expected at %v: %.400v", c.name, got.at.Sub(r.start), got.body)
		}
	}
}

// pick chooses the event that answers an expectation: the next one, but updates of
// different tasks, and offers taken back, come in the order of a hash.
func pick(want any, heard []heardEvent) int {
	same := func(path ...any) func(heardEvent) bool {
		return func(h heardEvent) bool {
			return h.at.Equal(heard[0].at) && reflect.DeepEqual(dig(h.body, path...), dig(want, path...))
		}
	}
	i := -1
	if dig(want, "type") == "UPDATE" {
		task, state := same("update", "status", "task_id"), same("update", "status", "state")
		i = slices.IndexFunc(heard, func(h heardEvent) bool { return task(h) && state(h) })
	}
	return max(i, 0)
}

// bindOffers learns the ids of offers, which stand for the same agents.
func (r *replay) bindOffers(want, got any) {
	for _, path := range [][]any{{"offers", "offers"}, {"inverse_offers", "inverse_offers"}} {
		wanted, _ := dig(want, path...).([]any)
		heard, _ := dig(got, path...).([]any)
		for _, w := range wanted {
			for _, g := range heard {
				if dig(w, "agent_id", "value") == dig(g, "agent_id", "value") {
					if id, ok := dig(g, "id", "value").(string); ok {
						r.actual[dig(w, "id", "value").(string)] = id
					}
				}
			}
		}
		byAgent := func(a, b any) int {
			return strings.Compare(fmt.Sprint(dig(a, "agent_id", "value")), fmt.Sprint(dig(b, "agent_id", "value")))
		}
		slices.SortFunc(wanted, byAgent)
		slices.SortFunc(heard, byAgent)
	}
	if id, ok := dig(want, "subscribed", "framework_id", "value").(string); ok {
		if now, ok := dig(got, "subscribed", "framework_id", "value").(string); ok {
			r.actual[id] = now
		}
	}
}

// volatile are fields whose values are those of the day.
var volatile = map[string]bool{
	"timestamp": true, "unreachable_time": true, "registered_time": true, "reregistered_time": true, "unregistered_time": true,
	"start_time": true, "elected_time": true, "build_date": true, "build_time": true, "build_user": true, "git_sha": true,
	"git_branch": true, "flags": true, "estimated_drain_start_time": true, "webui_url": false,
}

// notOurs are fields that this master does not show.
var notOurs = map[string]bool{"log_dir": true}

func (r *replay) match(where string, want, got any) {
	if list, ok := want.([]any); ok && r.subset {
		if frameworks := dig(got, "frameworks"); frameworks != nil {
			want, got = list, frameworks
		}
	}
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			r.t.Errorf("%.200s: got %v, want %v", where, got, want)
			return
		}
		for key, w := range want {
			g, there := object[key]
			switch {
			case notOurs[key]:
			case key == "checkpoint" && strings.HasSuffix(where, ".agent_info"), key == "offer_constraints" && strings.Contains(where, "get_frameworks"):
				// mesos-go's types have no such field.
			case !there && r.subset && key == "reregistered_time": // of a subscription that was not recorded
			case !there:
				r.t.Errorf("%.300s: %s is missing, want %v in %v", where, key, w, got)
			case !volatile[key]:
				r.match(where+"."+key, w, g)
			}
		}
		for key, g := range object {
			if _, there := want[key]; !there && !r.subset {
				r.t.Errorf("%.300s: %s is not expected: %v", where, key, g)
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			r.t.Errorf("%.300s:\n got  %v,\n want %v", where, got, want)
			return
		}
		if strings.HasSuffix(where, ".executor_ids") { // they come in the order of a hash
			byValue := func(a, b any) int { return strings.Compare(dig(a, "value").(string), dig(b, "value").(string)) }
			slices.SortFunc(want, byValue)
			slices.SortFunc(list, byValue)
		}
		byID := func(a, b any) int {
			return strings.Compare(fmt.Sprint(dig(a, "agent_info", "id", "value")), fmt.Sprint(dig(b, "agent_info", "id", "value")))
		}
		slices.SortStableFunc(want, byID)
		slices.SortStableFunc(list, byID)
		for i := range want {
			r.match(fmt.Sprintf("%s[%d]", where, i), want[i], list[i])
		}
	case string:
		if id, ok := dig(got, "id").(string); ok && r.subset {
			got = id
		}
		if g, ok := got.(string); !ok || (g != want && g != r.translate(want)) {
			r.t.Errorf("%.300s:\n got  %v\n want %v", where, got, want)
		}
	default:
		if !reflect.DeepEqual(want, got) {
			r.t.Errorf("%.300s: got %v, want %v", where, got, want)
		}
	}
}

func (r *replay) note(e *entry) {
	for prefix, do := range r.hooks {
		if strings.HasPrefix(e.Note, prefix) {
			do()
		}
	}
	closes := strings.Contains(e.Note, "closes") || strings.HasPrefix(e.Note, "close;")
	if !closes {
		return
	}
	c := r.last
	if e.Conn != "" {
		c = r.conns[e.Conn]
	}
	if c != nil && !c.closed {
		synctest.Wait()
		r.compare(c, false)
		c.closed = true
		c.stream.cancel()
		synctest.Wait()
	}
}

// fromAgent says again what an agent said, if that is where an event came from.
func (r *replay) fromAgent(body any) {
	switch dig(body, "type") {
	case "UPDATE":
		if dig(body, "update", "status", "uuid") == nil {
			return
		}
		var status mesos.TaskStatus
		b, _ := json.Marshal(dig(body, "update", "status"))
		if err := wire.JSON.Unmarshal([]byte(r.translate(string(b))), &status); err != nil {
			r.t.Fatal(err)
		}
		a := r.agentByID(status.AgentID.Value)
		framework := a.frameworkOf(status.TaskID.Value)
		a.report(framework, status)
	case "FAILURE":
		executor, _ := dig(body, "failure", "executor_id", "value").(string)
		if executor == "" {
			return
		}
		a := r.agentByID(r.translate(dig(body, "failure", "agent_id", "value").(string)))
		a.exited(executor, int32(dig(body, "failure", "status").(float64)))
	case "MESSAGE":
		a := r.agentByID(r.translate(dig(body, "message", "agent_id", "value").(string)))
		executor := dig(body, "message", "executor_id", "value").(string)
		data, _ := base64.StdEncoding.DecodeString(dig(body, "message", "data").(string))
		a.master.ExecutorMessage(mesos.AgentID{Value: a.id}, a.frameworkOfExecutor(executor), mesos.ExecutorID{Value: executor}, data)
	}
}

func (r *replay) agentByID(id string) *fakeAgent {
	for _, a := range r.agents {
		if a.id == id {
			return a
		}
	}
	r.t.Fatalf("no agent %s", id)
	return nil
}

var _ link.Agent = (*fakeAgent)(nil)
