package driver

import (
	"testing"

	"github.com/mesos/mesos-go/api/v1/lib/executor"
)

// FuzzEvents dispatches whatever can be decoded.
func FuzzEvents(f *testing.F) {
	for _, e := range []*executor.Event{
		{Type: executor.Event_HEARTBEAT},
		{Type: executor.Event_MESSAGE, Message: &executor.Event_Message{Data: []byte("x")}},
		{Type: executor.Event_LAUNCH, Launch: &executor.Event_Launch{Task: launched("a")}},
		{Type: 99},
	} {
		record, err := e.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(record)
	}
	f.Add([]byte("\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f12345"))
	f.Fuzz(func(t *testing.T, record []byte) {
		h := newRecorder()
		d, err := New(testConfig(roundTripper(nil)), h)
		if err != nil {
			t.Fatal(err)
		}
		event, err := decodeEvent(record)
		if err != nil || event.LaunchGroup != nil && len(event.LaunchGroup.TaskGroup.Tasks) > cap(h.events) {
			return
		}
		d.dispatch(event)
	})
}
