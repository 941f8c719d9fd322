package conformance

import (
	"encoding/json"
	"fmt"

	"github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// Encoding is one of the two encodings of the Mesos APIs, by media type.
type Encoding string

// The encodings, exactly as Content-Type must spell them (§1).
const (
	JSON     Encoding = "application/json"
	Protobuf Encoding = "application/x-protobuf"
)

// message is what generated protobuf types have in common.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// api names the messages of one of the two APIs.
type api struct {
	path  string
	call  func() message
	event func() message
}

var (
	schedulerAPI = api{"/api/v1/scheduler", func() message { return new(scheduler.Call) }, func() message { return new(scheduler.Event) }}
	executorAPI  = api{"/api/v1/executor", func() message { return new(executor.Call) }, func() message { return new(executor.Event) }}
)

// encode turns a call into bytes. Protobuf goes by way of generated types, which drop
// fields that they do not know; what only JSON can say must be sent in JSON.
func (e Encoding) encode(a api, call Doc) ([]byte, error) {
	b, err := json.Marshal(call)
	if err != nil || e == JSON {
		return b, err
	}
	m := a.call()
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("call %v as protobuf: %w", call["type"], err)
	}
	return m.Marshal()
}

// decode turns a record of a stream into a document.
func (e Encoding) decode(a api, record []byte) (Doc, error) {
	if e == Protobuf {
		m := a.event()
		if err := m.Unmarshal(record); err != nil {
			return nil, fmt.Errorf("protobuf event: %w", err)
		}
		b, err := json.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("protobuf event: %w", err)
		}
		record = b
	}
	var d Doc
	if err := json.Unmarshal(record, &d); err != nil {
		return nil, fmt.Errorf("event %.200q: %w", record, err)
	}
	prune(d)
	return d, nil
}
