package scheduler_test

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler"
	"lode/scheduler/api"
	"lode/scheduler/internal/fakemaster"
)

// A full disk ends nothing: what must be stored first waits, the rest goes on, and
// everybody who asks is told.
func TestFullDisk(t *testing.T) {
	m := fakemaster.New(t)
	var sick atomic.Pointer[error]
	full := error(syscall.ENOSPC)
	i := run(t, m, config(t, m.URL()), func(s *scheduler.Scheduler) { s.Sicken(&sick) })
	i.subscribe()
	i.offer("O1", "S0")
	proxy := i.call(mesossched.Call_ACCEPT).Accept.Operations[0].Launch.TaskInfos[0]

	sick.Store(&full)
	uuid := i.update(proxy, mesos.TASK_RUNNING)
	i.eventually("status tells of it", func(s api.Status) bool {
		return len(s.Problems) > 0 && strings.Contains(s.Problems[len(s.Problems)-1].Text, full.Error())
	})
	if code, body := i.get("/healthz"); code != 503 || !strings.Contains(body, full.Error()) {
		t.Errorf("healthz: %d %s", code, body)
	}
	if _, body := i.get("/metrics"); !strings.Contains(body, "lode_scheduler_store_failing 1") {
		t.Error("metrics do not tell of it")
	}
	i.logged("the state cannot be stored")
	// What says nothing about tasks goes on: the offer of an agent without cpus is
	// declined, and its call arrives before the acknowledgement.
	i.master.Send(&mesossched.Event{Type: mesossched.Event_OFFERS, Offers: &mesossched.Event_Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: "O2"}, FrameworkID: mesos.FrameworkID{Value: "F1"}, AgentID: mesos.AgentID{Value: "S1"}, Hostname: "host-S1",
	}}}})
	for {
		select {
		case c := <-i.master.Calls:
			if c.Type == mesossched.Call_ACKNOWLEDGE {
				t.Fatal("acknowledged before it was stored")
			}
			if c.Type != mesossched.Call_DECLINE {
				continue
			}
		case <-time.After(patience):
			t.Fatalf("no DECLINE; log:\n%s", i.log)
		}
		break
	}

	sick.Store(nil)
	if ack := i.call(mesossched.Call_ACKNOWLEDGE).Acknowledge; string(ack.UUID) != string(uuid) {
		t.Errorf("acknowledged %q", ack.UUID)
	}
	if state := i.stored().Tasks[proxy.TaskID.Value]; state == nil || state.State != "TASK_RUNNING" {
		t.Errorf("stored is %+v", state)
	}
	i.eventually("status tells that it is over", func(s api.Status) bool {
		for _, p := range s.Problems {
			if p.Kind == "store" {
				return false
			}
		}
		return true
	})
	select {
	case err := <-i.result:
		t.Fatalf("the scheduler ended: %v", err)
	default:
	}
}
