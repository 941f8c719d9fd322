package wire

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// TestRecordedRecords decodes the records that a real master sent, once in protobuf
// and once in JSON, and encodes them again: the bytes must come out the same, and
// the other encoding of the same event must agree with what the master wrote.
func TestRecordedRecords(t *testing.T) {
	f, err := os.Open("testdata/01b-subscribe-protobuf.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	records := 0
	for lines.Scan() {
		var entry struct {
			Body struct {
				Base64 string          `json:"base64"`
				JSON   json.RawMessage `json:"json"`
			} `json:"body"`
		}
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil || entry.Body.Base64 == "" {
			continue
		}
		records++
		record, err := base64.StdEncoding.DecodeString(entry.Body.Base64)
		if err != nil {
			t.Fatal(err)
		}
		codec, other := Protobuf, JSON
		if record[0] == '{' {
			codec, other = JSON, Protobuf
		}
		var event, back scheduler.Event
		if err := codec.Unmarshal(record, &event); err != nil {
			t.Fatalf("%s: %v", entry.Body.Base64, err)
		}
		again, err := codec.Marshal(&event)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, record) {
			t.Errorf("encoded again as %s:\n got %q\nwant %q", codec.MediaType(), again, record)
		}
		translated, err := other.Marshal(&event)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Unmarshal(translated, &back); err != nil {
			t.Fatalf("decode our %s: %v", other.MediaType(), err)
		}
		if again, _ := codec.Marshal(&back); !bytes.Equal(again, record) {
			t.Errorf("through %s and back:\n got %q\nwant %q", other.MediaType(), again, record)
		}
	}
	if records != 6 {
		t.Errorf("%d records in the recording, want 6", records)
	}
}

// The bodies are those of a real master, recording 02-errors-status.
func TestReadCallRefusals(t *testing.T) {
	const contentType = "Expecting 'Content-Type' of application/json or application/x-protobuf"
	for _, test := range []struct {
		name, method, contentType, body string
		status                          int
		want                            string
	}{
		{"text/plain", "POST", "text/plain", "{}", 415, contentType},
		{"charset", "POST", "application/json; charset=utf-8", "{}", 415, contentType},
		{"upper case", "POST", "Application/JSON", "{}", 415, contentType},
		{"none", "POST", "", "{}", 400, "Expecting 'Content-Type' to be present"},
		{"GET", "GET", "", "", 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'."},
		{"bad JSON", "POST", "application/json", `{"type":`, 400, "Failed to parse body into JSON: syntax error at line 1 near: "},
		{"bad JSON in line 2", "POST", "application/json", "{\n\"type\":!!\n}", 400, "Failed to parse body into JSON: syntax error at line 2 near: !!"},
		{"empty", "POST", "application/json", "", 400, "Failed to parse body into JSON: syntax error at line 1 near: "},
		{"protobuf as JSON", "POST", "application/json", "\b\x01", 400, "Failed to parse body into JSON: syntax error at line 1 near: "},
		{"JSON as protobuf", "POST", "application/x-protobuf", `{"type":"SUBSCRIBE"}`, 400, "Failed to parse body into Call protobuf"},
		{"array", "POST", "application/json", "[]", 400, "Failed to convert JSON into Call protobuf: Expecting a JSON object"},
		{"type as number", "POST", "application/json", `{"type":1}`, 400, "Failed to convert JSON into Call protobuf: Not expecting a JSON number for field 'type'"},
		{"number for string", "POST", "application/json", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":1,"name":"e"}}}`, 400, "Failed to convert JSON into Call protobuf: Not expecting a JSON number for field 'user'"},
		{"no name", "POST", "application/json", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root"}}}`, 400, "Failed to convert JSON into Call protobuf: Missing required fields: subscribe.framework_info.name"},
		{"no name in protobuf", "POST", "application/x-protobuf", "\x10\x01\x1a\x08\x0a\x06\x0a\x04root", 400, "Failed to parse body into Call protobuf"},
		{"no task", "POST", "application/json", `{"type":"KILL","kill":{}}`, 400, "Failed to convert JSON into Call protobuf: Missing required fields: kill.task_id"},
		{"no uuid", "POST", "application/json", `{"type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"}}}`, 400, "Failed to convert JSON into Call protobuf: Missing required fields: acknowledge.uuid"},
		{"bad base64", "POST", "application/json", `{"type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"%%%"}}`, 400, "Failed to convert JSON into Call protobuf: Failed to base64 decode bytes field 'uuid': Invalid character '%'"},
		{"two fields missing", "POST", "application/json", `{"type":"ACCEPT","accept":{"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"a"}]}}]}}`, 400, "Failed to convert JSON into Call protobuf: Missing required fields: accept.operations[0].launch.task_infos[0].task_id, accept.operations[0].launch.task_infos[0].agent_id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "/api/v1/scheduler", strings.NewReader(test.body))
			if test.contentType != "" {
				r.Header.Set("Content-Type", test.contentType)
			}
			_, refusal := ReadCall(r, new(scheduler.Call))
			if refusal == nil || refusal.Status != test.status || refusal.Body != test.want {
				t.Errorf("got %v\nwant %d %s", refusal, test.status, test.want)
			}
		})
	}
}

func TestReadCallTolerates(t *testing.T) {
	for _, test := range []struct {
		name, body string
		hasType    bool
	}{
		{"unknown fields", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"e","zzz":{"a":1}}},"zzz":1}`, true},
		{"null", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"e"}},"framework_id":null}`, true},
		{"unknown type", `{"type":"NO_SUCH_CALL"}`, false},
		{"no type", `{}`, false},
		{"type UNKNOWN", `{"type":"UNKNOWN"}`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/api/v1/scheduler", strings.NewReader(test.body))
			r.Header.Set("Content-Type", "application/json")
			call, refusal := ReadCall(r, new(scheduler.Call))
			if refusal != nil {
				t.Fatal(refusal)
			}
			if call.HasType != test.hasType {
				t.Errorf("HasType is %t, want %t", call.HasType, test.hasType)
			}
		})
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader("\x10\x63"))
	r.Header.Set("Content-Type", "application/x-protobuf")
	if call, refusal := ReadCall(r, new(scheduler.Call)); refusal != nil || call.HasType {
		t.Errorf("a type of number 99: %v, HasType %t; want it to be unset", refusal, call.HasType)
	}
}

func TestAccept(t *testing.T) {
	for accept, want := range map[string]string{
		"application/json":                  "application/json",
		"application/x-protobuf":            "application/x-protobuf",
		"*/*":                               "application/json",
		"application/*":                     "application/json",
		"text/html, application/json;q=0.5": "application/json",
		"application/json;q=0, application/x-protobuf":     "application/x-protobuf",
		"application/json; charset=utf-8":                  "application/json",
		"application/x-protobuf;q=1,application/json;q=.1": "application/json",
		"*/*;q=0":              "",
		"application/xml":      "",
		"application/recordio": "",
		"":                     "",
	} {
		r := &http.Request{Header: http.Header{"Accept": {accept}}}
		codec, refusal := Accept(r)
		if codec.MediaType() != want || (refusal == nil) == (want == "") {
			t.Errorf("Accept: %s gives %q, %v; want %q", accept, codec.MediaType(), refusal, want)
		}
		if refusal != nil && (refusal.Status != 406 || refusal.Body != "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'") {
			t.Errorf("Accept: %s is refused with %v", accept, refusal)
		}
	}
	if codec, refusal := Accept(new(http.Request)); codec != JSON || refusal != nil {
		t.Errorf("no Accept gives %v, %v; want JSON", codec, refusal)
	}
}

// What a real agent wrote, recording 03c: defaults of the proto file are shown, the
// deprecated ones are not.
func TestExecutorEventJSON(t *testing.T) {
	const record = `{"type":"SUBSCRIBED","subscribed":{"executor_info":{"type":"CUSTOM","executor_id":{"value":"ex-status"},"framework_id":{"value":"51df2919-d06d-4814-83c2-5aec50a570f3-0001"},"command":{"uris":[{"value":"$REC/executor.py","executable":true,"extract":false,"output_file":"executor"}],"shell":false,"value":"./executor","arguments":["executor","manual"]},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1},"allocation_info":{"role":"*"}},{"name":"mem","type":"SCALAR","scalar":{"value":32.0},"allocation_info":{"role":"*"}}],"name":"rec-executor"},"framework_info":{"user":"root","name":"exec","id":{"value":"51df2919-d06d-4814-83c2-5aec50a570f3-0001"},"failover_timeout":30.0,"checkpoint":true,"capabilities":[{"type":"PARTITION_AWARE"},{"type":"TASK_KILLING_STATE"}]},"agent_info":{"hostname":"127.0.0.1","port":15031,"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":2.0}},{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31099}]}}],"attributes":[{"name":"node","type":"TEXT","text":{"value":"n0"}}],"id":{"value":"51df2919-d06d-4814-83c2-5aec50a570f3-S0"}},"container_id":{"value":"625646c0-eedb-4102-9165-ad668d99f11e"}}}`
	var event executor.Event
	if err := JSON.Unmarshal([]byte(record), &event); err != nil {
		t.Fatal(err)
	}
	if got, _ := JSON.Marshal(&event); string(got) != record {
		t.Errorf("got  %s\nwant %s", got, record)
	}
	event.Subscribed.FrameworkInfo.FailoverTimeout = nil
	event.Subscribed.FrameworkInfo.Checkpoint = nil
	got, _ := JSON.Marshal(&event)
	if want := `"failover_timeout":0.0,"checkpoint":false,"capabilities"`; !strings.Contains(string(got), want) {
		t.Errorf("without its optional fields the framework is shown as %s, want %s in it", got, want)
	}
}

func TestDoubles(t *testing.T) {
	for d, want := range map[float64]string{
		15: "15.0", 0: "0.0", 0.1: "0.1", 1795403524.9491076: "1795403524.9491076",
		1e21: "1e21", 1e20: "100000000000000000000.0", -2.5e-9: "-2.5e-9", 1e-6: "0.000001",
	} {
		if got := string(AppendJSON(nil, d)); got != want {
			t.Errorf("%g is written as %s, want %s", d, got, want)
		}
	}
}

func FuzzReadCall(f *testing.F) {
	f.Add(true, []byte(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"e","failover_timeout":1e400,"offer_filters":{"a":{}}}}}`))
	f.Add(true, []byte(`{"type":"ACCEPT","accept":{"offer_ids":{"value":"1"},"operations":[null,{"type":"X"}]}}`))
	f.Add(false, []byte("\x10\x01\x1a\x0d\x0a\x0b\x0a\x04root\x12\x03abc"))
	f.Fuzz(func(t *testing.T, asJSON bool, body []byte) {
		codec := Protobuf
		if asJSON {
			codec = JSON
		}
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", codec.MediaType())
		var call scheduler.Call
		if _, refusal := ReadCall(r, &call); refusal != nil {
			return
		}
		for _, codec := range []Codec{JSON, Protobuf} {
			b, err := codec.Marshal(&call)
			if err != nil {
				t.Fatalf("encode what was read: %v", err)
			}
			if codec == JSON && !json.Valid(b) {
				t.Fatalf("not JSON: %s", b)
			}
		}
	})
}
