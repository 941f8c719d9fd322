package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// verdict is a testing.TB that notes the result of a check in place of failing the test.
type verdict struct {
	testing.TB

	mu     sync.Mutex
	failed bool
	log    strings.Builder
}

func (v *verdict) note(failed bool, s string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failed = v.failed || failed
	v.log.WriteString("\n\t" + s)
}

func (v *verdict) Error(args ...any)            { v.note(true, fmt.Sprint(args...)) }
func (v *verdict) Errorf(f string, args ...any) { v.note(true, fmt.Sprintf(f, args...)) }
func (v *verdict) Fatal(args ...any)            { v.note(true, fmt.Sprint(args...)); runtime.Goexit() }

func (v *verdict) Fatalf(f string, args ...any) {
	v.note(true, fmt.Sprintf(f, args...))
	runtime.Goexit()
}
func (v *verdict) Logf(f string, args ...any) { v.note(false, fmt.Sprintf(f, args...)) }
func (v *verdict) Skip(args ...any)           { v.note(false, fmt.Sprint(args...)); runtime.Goexit() }

func (v *verdict) Failed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failed
}

// fault spoils what a good master says.
type fault struct {
	name   string
	record func(Doc) []Doc      // of an event stream; nil: as it is
	answer func(*http.Response) // of a complete answer; nil: as it is
	finds  []string             // checks that must find it
}

// edit changes events of one type in place.
func edit(kind string, f func(Doc)) func(Doc) []Doc {
	return func(d Doc) []Doc {
		if text(d, "type") == kind {
			f(d)
		}
		return []Doc{d}
	}
}

func status(f func(Doc)) func(Doc) []Doc {
	return edit("UPDATE", func(d Doc) { f(at(d, "update.status").(Doc)) })
}

var faultsToFind = []fault{
	{name: "none"},
	{
		name: "calls answered 200", finds: []string{"status/calls in protobuf are taken", "messages/unknown targets"},
		answer: func(r *http.Response) {
			if r.StatusCode == http.StatusAccepted {
				r.StatusCode = http.StatusOK
			}
		},
	},
	{
		name: "other text", finds: []string{"teardown/calls afterwards are 400", "failover/calls while disconnected are 403", "golden/02-errors-status/line 146"},
		answer: func(r *http.Response) {
			if r.StatusCode >= 400 {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader("no")), 2
				r.Header.Set("Content-Length", "2")
			}
		},
	},
	{
		name: "heartbeats lost", finds: []string{"subscribe/first events in JSON", "subscribe/heartbeats keep the announced interval"},
		record: func(d Doc) []Doc {
			if text(d, "type") == "HEARTBEAT" {
				return nil
			}
			return []Doc{d}
		},
	},
	{
		name: "offers without allocation_info", finds: []string{"subscribe/offer of a MULTI_ROLE framework"},
		record: edit("OFFERS", func(d Doc) {
			for _, o := range items(d, "offers.offers") {
				delete(o.(Doc), "allocation_info")
			}
		}),
	},
	{
		name: "updates without uuid", finds: []string{"updates/fields of an executor's update", "ends/exit 1 with a running task"},
		record: status(func(s Doc) { delete(s, "uuid") }),
	},
	{
		name: "updates with a wrong source", finds: []string{"reconcile/unknown task, no agent", "kill/before the executor subscribed"},
		record: status(func(s Doc) { s["source"] = "SOURCE_EXECUTOR" }),
	},
	{
		name: "reconciliation with a uuid", finds: []string{"reconcile/implicit", "reconcile/the agent of a known task is not looked at"},
		record: status(func(s Doc) { s["uuid"] = newUUID() }),
	},
	{
		name: "every update twice", finds: []string{"retries/first after the interval, second after twice that", "retries/none after the acknowledgement"},
		record: func(d Doc) []Doc {
			if text(d, "type") == "UPDATE" {
				return []Doc{d, d}
			}
			return []Doc{d}
		},
	},
	{
		name: "failures without status", finds: []string{"ends/exit 77 with a running task", "shutdown/grace of the ExecutorInfo"},
		record: edit("FAILURE", func(d Doc) { d["failure"].(Doc)["status"] = 0.0 }),
	},
	{
		name: "ERROR with other words", finds: []string{"failover/takeover: the old stream gets ERROR, its calls 400", "teardown/id of one's own choice is refused afterwards"},
		record: edit("ERROR", func(d Doc) { d["error"] = Doc{"message": "no"} }),
	},
	{
		name: "messages lost", finds: []string{"messages/both ways", "messages/a burst keeps its order"},
		record: func(d Doc) []Doc {
			if text(d, "type") == "MESSAGE" {
				return nil
			}
			return []Doc{d}
		},
	},
}

// spoil serves the master at the URL with a fault.
func spoil(t *testing.T, master string, f fault) string {
	t.Helper()
	u, err := url.Parse(master)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			// Whole: net/http closes the body of a request when its answer begins, and a
			// transport that has yet to read its end then drops the stream.
			body, err := io.ReadAll(r.In.Body)
			if err == nil && len(body) > 0 {
				r.Out.Body = io.NopCloser(bytes.NewReader(body))
			}
		},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // streams are cut at the end of every check
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ModifyResponse: func(r *http.Response) error {
			stream := r.Header.Get("Mesos-Stream-Id") != "" && r.Header.Get("Content-Type") == string(JSON)
			if !stream && f.answer != nil {
				f.answer(r)
			}
			if stream && f.record != nil {
				r.Body = spoiledStream(r.Body, f.record)
			}
			return nil
		},
	}
	srv := httptest.NewServer(proxy)
	t.Cleanup(srv.Close)
	return srv.URL
}

// spoiledStream passes the records of a stream through a fault.
func spoiledStream(body io.ReadCloser, change func(Doc) []Doc) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		defer body.Close()
		for records := newRecordReader(body); ; {
			rec, err := records.next()
			if err != nil {
				w.CloseWithError(err)
				return
			}
			var d Doc
			if err := json.Unmarshal(rec, &d); err != nil {
				w.CloseWithError(err)
				return
			}
			for _, d := range change(d) {
				b := mustJSON(d)
				if _, err := fmt.Fprintf(w, "%d\n%s", len(b), b); err != nil {
					return
				}
			}
		}
	}()
	return r
}

// TestChecksFindFaults spoils what devmesos says, fault by fault: the checks must find it. Without a fault
// the same checks must pass, through the same proxy.
func TestChecksFindFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("the checks are tried against faults with real timers: left out by -short")
	}
	t.Parallel()
	target := startEmbedded(t, 1, 32, nil)
	target.ProbePath = BuildProbe(t, "")
	byName := map[string]Check{}
	for _, check := range Checks() {
		byName[check.Name] = check
	}
	find := func(name string) Check {
		if check, ok := byName[name]; ok {
			return check
		}
		for full, check := range byName {
			if strings.HasPrefix(full, name) {
				return check
			}
		}
		t.Fatalf("no check %q", name)
		return Check{}
	}
	var all []string
	for _, f := range faultsToFind {
		all = append(all, f.finds...)
	}
	for _, f := range faultsToFind {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			spoiled := target
			spoiled.Master = spoil(t, target.Master, f)
			spoiled.Patience = 5 * time.Second // what never comes is not worth a longer wait
			names := f.finds
			if names == nil {
				names, spoiled.Patience = all, target.Patience
			}
			s := newSuite(t, spoiled)
			for _, name := range names {
				v := &verdict{TB: t}
				done := make(chan struct{})
				go func() { // Fatal ends its goroutine, not the test's
					defer close(done)
					s.judge(v, find(name), nil)
				}()
				<-done
				if want := f.finds != nil; v.failed != want {
					t.Errorf("%s: failed: %v, expected %v%s", name, v.failed, want, v.log.String())
				}
			}
		})
	}
}
