package scheduler

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler/driver"
)

// A stream that breaks right after SUBSCRIBED must not be followed by a SUBSCRIBE
// without the framework id, however slow the disk is.
func TestDriverWaitsUntilTheFrameworkIDIsStored(t *testing.T) {
	for _, tt := range []struct {
		name  string
		event mesossched.Event
		waits bool
	}{
		{"SUBSCRIBED", mesossched.Event{
			Type:       mesossched.Event_SUBSCRIBED,
			Subscribed: &mesossched.Event_Subscribed{FrameworkID: &mesos.FrameworkID{Value: "F1"}},
		}, true},
		{"ERROR", mesossched.Event{
			Type: mesossched.Event_ERROR, Error: &mesossched.Event_Error{Message: "Framework failed over"},
		}, true},
		{"RESCIND", mesossched.Event{
			Type: mesossched.Event_RESCIND, Rescind: &mesossched.Event_Rescind{OfferID: mesos.OfferID{Value: "O1"}},
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Scheduler{events: make(chan queued, 1), stopped: make(chan struct{})}
				returned := make(chan struct{})
				go func() {
					s.handle(driver.Event{Mesos: &tt.event})
					close(returned)
				}()
				q := <-s.events
				synctest.Wait()
				select {
				case <-returned:
					if tt.waits {
						t.Fatal("the driver goes on before the event was dealt with")
					}
				default:
					if !tt.waits {
						t.Fatal("the driver waits")
					}
					close(q.done)
				}
				<-returned
			})
		})
	}
}

func TestWhatIsNotUnderstoodIsLoggedAndIgnored(t *testing.T) {
	for _, tt := range []struct {
		name  string
		event mesossched.Event
		log   string
	}{
		{"an event of a newer Mesos", mesossched.Event{Type: 99}, "type=99"},
		{"an operation that is not ours", mesossched.Event{Type: mesossched.Event_UPDATE_OPERATION_STATUS}, "type=UPDATE_OPERATION_STATUS"},
		{"an event without its body", mesossched.Event{Type: mesossched.Event_UPDATE}, "type=UPDATE"},
		{"a heartbeat", mesossched.Event{Type: mesossched.Event_HEARTBEAT}, ""},
		{"an inverse offer taken back", mesossched.Event{Type: mesossched.Event_RESCIND_INVERSE_OFFER}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			s := &Scheduler{
				events: make(chan queued, 1), stopped: make(chan struct{}), log: slog.New(slog.NewTextHandler(&log, nil)),
			}
			s.handle(driver.Event{Mesos: &tt.event})
			if len(s.events) > 0 {
				t.Error("the core is told")
			}
			if got := log.String(); tt.log == "" && got != "" || !strings.Contains(got, tt.log) {
				t.Errorf("log %q, want %q in it", got, tt.log)
			}
		})
	}
}
