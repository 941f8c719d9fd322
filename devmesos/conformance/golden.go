package conformance

import (
	"bufio"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// The transcripts of a real cluster, trimmed to what is replayed. "line" is the line of the
// request in the full recording.
//
//go:embed testdata/*.jsonl
var transcripts embed.FS

// entry is one line of a transcript.
type entry struct {
	Line    int             `json:"line"`
	Dir     string          `json:"dir"`
	Method  string          `json:"method"`
	Path    string          `json:"path"`
	Status  int             `json:"status"`
	Headers header          `json:"headers"`
	Body    json.RawMessage `json:"body"`
	Note    string          `json:"note"`
}

// exchange is one recorded request with its answer and the first events of its stream.
type exchange struct {
	Request, Response entry
	Events            []Doc
	After             string // the last note before the request
}

func (x exchange) name(file string) string {
	what := x.Request.Note
	if what == "" {
		what = x.Request.Method + " " + x.Request.Path
	}
	if len(what) > 70 {
		what = what[:70]
	}
	return fmt.Sprintf("golden/%s/line %d %s", file, x.Request.Line, strings.ReplaceAll(what, "/", "∕"))
}

func readTranscript(r io.Reader) ([]exchange, error) {
	var all []exchange
	note := ""
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("transcript: %w: %.80s", err, lines.Text())
		}
		switch {
		case e.Dir == "note":
			note = e.Note
		case e.Dir == "request":
			all = append(all, exchange{Request: e, After: note})
		case len(all) == 0:
		case e.Dir == "response":
			all[len(all)-1].Response = e
		case e.Dir == "event":
			var d Doc
			if err := json.Unmarshal(e.Body, &d); err != nil {
				return nil, fmt.Errorf("transcript: event: %w", err)
			}
			all[len(all)-1].Events = append(all[len(all)-1].Events, d)
		}
	}
	return all, lines.Err()
}

// transcript reads one of the embedded files. They are part of the program: a bad one is a
// programming error.
func transcript(name string) []exchange {
	f, err := transcripts.Open("testdata/" + name + ".jsonl")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	all, err := readTranscript(f)
	if err != nil {
		panic(err)
	}
	return all
}

// bytes is the recorded body as it went over the wire, after substitution.
func (e entry) bytes(replace func(string) string) []byte {
	if len(e.Body) == 0 || string(e.Body) == "null" {
		return nil
	}
	var v any
	if err := json.Unmarshal(e.Body, &v); err != nil {
		panic(err)
	}
	switch x := v.(type) {
	case string:
		return []byte(replace(x))
	case Doc:
		if raw, ok := x["base64"].(string); ok && len(x) == 1 {
			b, err := base64.StdEncoding.DecodeString(raw)
			if err != nil {
				panic(err)
			}
			return b
		}
	}
	return mustJSON(transform(v, replace))
}

func (e entry) header(replace func(string) string) header {
	h := header{}
	for k, v := range e.Headers {
		if k == "Authorization" {
			continue // redacted in the recording; the suite adds its own
		}
		h[k] = replace(v)
	}
	return h
}

// compare checks an answer against the recorded one: status, the headers that matter, and text bodies.
func (x exchange) compare(c *C, got answer, replace func(string) string) {
	c.Helper()
	what := fmt.Sprintf("line %d (%s)", x.Request.Line, x.Request.Note)
	if got.Status != x.Response.Status {
		c.Errorf("%s: status %d, recorded %d; body %.300q", what, got.Status, x.Response.Status, got.Body)
		return
	}
	for _, k := range []string{"Allow", "Content-Type", "Content-Disposition", "WWW-Authenticate"} {
		if want := x.Response.Headers[k]; want != "" {
			equal(c, what+": "+k, got.Header.Get(k), want)
		}
	}
	var body string
	if json.Unmarshal(x.Response.Body, &body) == nil && body != "" && x.Request.Method != http.MethodHead && !strings.HasSuffix(body, "left out)") {
		equal(c, what+": body", got.Body, replace(body))
	}
}

// replay sends a recorded request to the master. Streams are read up to the recorded events and closed.
func (x exchange) replay(c *C, replace func(string) string) {
	c.Helper()
	f := c.newFramework(Spec{WantOffers: true})
	var got answer
	stream := x.Response.Status == http.StatusOK && x.Response.Headers["Content-Type"] != "" && strings.Contains(string(x.Request.Body), `"SUBSCRIBE"`)
	if stream {
		got = f.openRaw(x.Request.Path, x.Request.header(replace), x.Request.bytes(replace))
	} else {
		a, err := c.master.send(c.ctx, x.Request.Method, x.Request.Path, x.Request.header(replace), x.Request.bytes(replace))
		if err != nil {
			c.Fatal(err)
		}
		got = a
	}
	x.compare(c, got, replace)
	if got.Status != http.StatusOK || c.Failed() {
		return
	}
	expected := x.Events
	if stream && len(expected) == 0 { // the protobuf records are not in the trimmed transcript
		expected = []Doc{{"type": "SUBSCRIBED"}}
	}
	for i, want := range expected {
		kind := text(want, "type")
		e := c.wait(f.log, "recorded event "+kind, func(e Event) bool { return e.Type != "OFFERS" })
		equal(c, fmt.Sprintf("event %d", i), e.Type, kind)
		if kind == "ERROR" {
			equal(c, "ERROR", text(e.Doc, "error.message"), replace(text(want, "error.message")))
			f.Ended("the stream after ERROR")
		}
	}
}

func same(s string) string { return s }

func goldenChecks() []Check {
	return slices.Concat(goldenErrors(), goldenRefused(), goldenAuth(), goldenExecutorCalls(), goldenFiles(), goldenValidation())
}

// goldenErrors replays R02: bad and borderline calls in three states of a framework.
func goldenErrors() []Check {
	const (
		file   = "02-errors-status"
		fwID   = "b8421a9a-33ba-4db2-93c0-0b88fb841e46-0014"
		stream = "85606345-d9cc-44e6-a3c0-5ce54aa3b1b9"
	)
	var checks []Check
	for _, x := range transcript(file) {
		if x.Request.Path == "/" {
			continue // the web UI: a matter of installation, not of the API
		}
		ch := Check{Name: x.name(file), Doc: "§1, §2.1, §2.2; R02"}
		own := strings.Contains(string(x.Request.Body), fwID)
		if strings.Contains(string(x.Request.Body), "UPDATE_FRAMEWORK") {
			ch.Needs = NeedAnonymous // an authenticated framework's principal is filled in, and then differs
		}
		ch.Run = func(c *C) {
			if !own {
				x.replay(c, same)
				return
			}
			f := c.Framework(Spec{FailoverTimeout: 30, Info: Doc{"user": "root", "name": "err"}})
			if x.After != "" { // the recorded scheduler had closed its stream by then
				f.Disconnected()
			}
			x.replay(c, strings.NewReplacer(fwID, f.ID, stream, f.StreamID).Replace)
		}
		checks = append(checks, ch)
	}
	return checks
}

// goldenRefused replays R02b: what the master thinks of FrameworkInfos.
func goldenRefused() []Check {
	const file = "02b-errors-refused-subscribe"
	var checks []Check
	for _, x := range transcript(file) {
		if strings.HasPrefix(x.Request.Note, "removed framework id") {
			continue // needs the removal before; see teardown/id-refused
		}
		checks = append(checks, Check{
			Name: x.name(file), Doc: "§2.3; R02b",
			Run: func(c *C) {
				// Ids of one's own choice are good for one run only: a removed id is refused.
				own := c.name("id")
				x.replay(c, strings.NewReplacer("my-own-id-0001", own, "my framework", "my framework "+own).Replace)
			},
		})
	}
	return checks
}

// goldenAuth replays those parts of R02c that need no second account.
func goldenAuth() []Check {
	const file = "02c-errors-auth"
	var checks []Check
	for _, x := range transcript(file) {
		if x.Response.Status != http.StatusUnauthorized || x.Request.Path != schedulerAPI.path || strings.Contains(string(x.Request.Body), "framework_id") {
			continue
		}
		checks = append(checks, Check{
			Name: x.name(file), Doc: "§2.1 row 0; R02c", Needs: NeedPrincipal,
			Run: func(c *C) {
				h := x.Request.header(same)
				switch auth := x.Request.Headers["Authorization"]; auth {
				case "": // none at all
					h["Authorization"] = ""
				case "Basic REDACTED":
					h["Authorization"] = "Basic " + b64(c.target.Principal+":wrong "+c.target.Secret)
				default:
					h["Authorization"] = auth
				}
				got, err := c.master.send(c.ctx, x.Request.Method, x.Request.Path, h, x.Request.bytes(same))
				if err != nil {
					c.Fatal(err)
				}
				x.compare(c, got, same)
			},
		})
	}
	return checks
}

// goldenExecutorCalls replays R03c through a probe: bad calls to the agent's executor endpoint.
func goldenExecutorCalls() []Check {
	const file = "03c-executor-endpoint-status"
	return []Check{{
		Name: "golden/" + file, Doc: "§5.1, §5.4; R03c",
		Run: func(c *C) {
			f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}, Checkpoint: true, FailoverTimeout: 30})
			p, tasks := f.Start(Prepared{})
			p.Subscribe()
			p.Launched(tasks[0])
			replace := strings.NewReplacer(
				"51df2919-d06d-4814-83c2-5aec50a570f3-0001", f.ID, "ex-status", p.ID, "task-status", tasks[0]).Replace
			for _, x := range transcript(file) {
				got, err := p.request(x.Request.Method, x.Request.Path, x.Request.header(replace), x.Request.bytes(replace))
				if err != nil {
					c.Errorf("line %d (%s): %v", x.Request.Line, x.Request.Note, err)
					continue
				}
				x.compare(c, got, replace)
			}
		},
	}}
}

// goldenFiles replays the refusals of R13 for /files.
func goldenFiles() []Check {
	const file = "13-http-endpoints-files"
	return []Check{{
		Name: "golden/" + file, Doc: "§7, §15; R13",
		Run: func(c *C) {
			f := c.Framework(Spec{})
			p, _ := f.Start(Prepared{})
			replace := strings.NewReplacer("c4e73a45-2dc0-48dc-a945-fc577975849f-0000", f.ID, "vis1", p.ID).Replace
			for _, x := range transcript(file) {
				if x.Response.Status < 400 {
					continue
				}
				got, err := p.request(x.Request.Method, replace(x.Request.Path), x.Request.header(replace), nil)
				if err != nil {
					c.Errorf("line %d (%s): %v", x.Request.Line, x.Request.Path, err)
					continue
				}
				x.Request.Note = x.Request.Path
				x.compare(c, got, replace)
			}
		},
	}}
}
