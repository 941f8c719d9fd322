package conformance

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func TestChecksAreNamedAndCited(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if c.Name == "" || c.Run == nil || seen[c.Name] {
			t.Errorf("check %q: no name, no code or a name that is used twice", c.Name)
		}
		seen[c.Name] = true
		if !strings.Contains(c.Doc, "§") && !strings.Contains(c.Doc, "R") {
			t.Errorf("check %q cites %q, expected a section or a recording", c.Name, c.Doc)
		}
	}
	t.Logf("%d checks", len(seen))
	if len(seen) < 250 {
		t.Errorf("%d checks, expected more: is a transcript missing?", len(seen))
	}
}

func TestTranscripts(t *testing.T) {
	for name, n := range map[string]int{
		"02-errors-status": 90, "02b-errors-refused-subscribe": 25, "02c-errors-auth": 15,
		"03c-executor-endpoint-status": 30, "08-offers-accept": 40, "13-http-endpoints-files": 24,
	} {
		all := transcript(name)
		if len(all) < n {
			t.Errorf("%s: %d exchanges, expected at least %d", name, len(all), n)
		}
		for _, x := range all {
			if x.Request.Line == 0 {
				t.Errorf("%s: a request without its line: %+v", name, x.Request)
			}
		}
	}
}

func TestReplayedRequestKeepsItsBody(t *testing.T) {
	for _, x := range transcript("02-errors-status") {
		switch x.Request.Note {
		case "bad JSON":
			if got := string(x.Request.bytes(same)); got != `{"type":` {
				t.Errorf("text body %q", got)
			}
		case "JSON announced, protobuf bytes":
			if got := x.Request.bytes(same); string(got) != "\x08\x01" {
				t.Errorf("bytes %q", got)
			}
		case "no Content-Type":
			if _, ok := x.Request.header(same)["Content-Type"]; ok {
				t.Error("a Content-Type was invented")
			}
		}
	}
}

func TestDurations(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"15secs": 15 * time.Second, "1mins": time.Minute, "2.5hrs": 150 * time.Minute, "100ms": 100 * time.Millisecond, "1weeks": 168 * time.Hour,
	} {
		if got, err := parseDuration(in); err != nil || got != want {
			t.Errorf("%s: %v %v, expected %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "15", "15s", "secs", "1.2.3secs"} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("%q was read as %v", in, got)
		}
	}
}

func TestTimingFromFlags(t *testing.T) {
	got := Timing{ShutdownGrace: time.Second}.resolve(
		Doc{"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "4", "allocation_interval": "500ms"}, Doc{"executor_registration_timeout": "6secs"})
	want := Timing{
		Allocation: 500 * time.Millisecond, DefaultRefuse: 5 * time.Second, UpdateRetry: 10 * time.Second, PingTotal: 4 * time.Second,
		Registration: 6 * time.Second, Reregistration: 2 * time.Second, ShutdownGrace: time.Second,
	}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestEssenceOfMessages(t *testing.T) {
	a := "Total resources mem(allocated: m):64; cpus(allocated: m):1 required by task and its executor is more than available cpus:2"
	b := "Total resources cpus(allocated: m):1; mem(allocated: m):64 required by task and its executor is more than available mem:7"
	if essence(a) != essence(b) {
		t.Errorf("%q\n%q", essence(a), essence(b))
	}
	if essence("first line\n----\nrest") != "first line" {
		t.Error("more than the first line is kept")
	}
}

// Calls of every kind that the checks make must survive the way through protobuf.
func TestCallsInProtobuf(t *testing.T) {
	for _, call := range []Doc{
		{"type": "SUBSCRIBE", "subscribe": Doc{"framework_info": Doc{"user": "u", "name": "n", "failover_timeout": 1.5}, "suppressed_roles": list("*")}},
		{"type": "ACKNOWLEDGE", "framework_id": value("f"), "acknowledge": Doc{"agent_id": value("a"), "task_id": value("t"), "uuid": newUUID()}},
		{"type": "KILL", "framework_id": value("f"), "kill": Doc{"task_id": value("t"), "kill_policy": Doc{"grace_period": Doc{"nanoseconds": 2e9}}}},
		{"type": "ACCEPT", "framework_id": value("f"), "accept": Doc{"offer_ids": values("o"), "operations": list(launch(task("t", "a", nil)))}},
	} {
		b, err := Protobuf.encode(schedulerAPI, call)
		if err != nil || len(b) == 0 {
			t.Errorf("%v: %v", call["type"], err)
			continue
		}
		m := schedulerAPI.call()
		if err := m.Unmarshal(b); err != nil {
			t.Errorf("%v: %v", call["type"], err)
		}
	}
}
