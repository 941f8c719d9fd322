package updates

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"pgregory.net/rapid"
)

func update(framework, task string, uuid byte, state mesos.TaskState) Update {
	return Update{Framework: framework, Executor: "e", Status: mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: task}, State: &state, UUID: []byte{uuid},
	}}
}

// recorder notes what a manager forwards and when, by a clock that only moves when it is told to.
type recorder struct {
	now    time.Duration
	alarms map[int]alarm
	serial int
	sent   []string
}

type alarm struct {
	at time.Duration
	do func()
}

func newManager(r *recorder) *Manager {
	r.alarms = make(map[int]alarm)
	return New(Config{
		Forward: func(u Update) {
			r.sent = append(r.sent, fmt.Sprintf("%s/%d@%v", u.Status.TaskID.Value, u.Status.UUID[0], r.now))
		},
		After: func(d time.Duration, f func()) func() {
			r.serial++
			n := r.serial
			r.alarms[n] = alarm{r.now + d, f}
			return func() { delete(r.alarms, n) }
		},
		RetryMin: 10 * time.Second,
		RetryMax: 10 * time.Minute,
	})
}

// pass lets time go by.
func (r *recorder) pass(d time.Duration) {
	end := r.now + d
	for {
		next := 0
		for n, a := range r.alarms {
			if a.at <= end && (next == 0 || a.at < r.alarms[next].at || a.at == r.alarms[next].at && n < next) {
				next = n
			}
		}
		if next == 0 {
			r.now = end
			return
		}
		a := r.alarms[next]
		delete(r.alarms, next)
		r.now = a.at
		a.do()
	}
}

func (r *recorder) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(r.sent, want) {
		t.Errorf("sent %q, want %q", r.sent, want)
	}
	r.sent = nil
}

// TestRetries follows trace 04: only the head is sent, after 10, 30, 70 … seconds again.
func TestRetries(t *testing.T) {
	var r recorder
	m := newManager(&r)
	m.Resume()
	defer m.Cleanup("f")
	for i, s := range []mesos.TaskState{mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_FINISHED} {
		if err := m.Update(update("f", "t", byte(i), s), nil); err != nil {
			t.Fatal(err)
		}
	}
	r.pass(71 * time.Second)
	r.expect(t, "t/0@0s", "t/0@10s", "t/0@30s", "t/0@1m10s")

	if _, err := m.Acknowledge("f", "t", []byte{9}); !errors.Is(err, ErrUnexpected) {
		t.Errorf("a wrong uuid gives %v", err)
	}
	for i := range 3 {
		ended, err := m.Acknowledge("f", "t", []byte{byte(i)})
		if err != nil || ended != (i == 2) {
			t.Errorf("acknowledgement %d: %v, %v", i, ended, err)
		}
	}
	r.expect(t, "t/1@1m11s", "t/2@1m11s")
	if _, err := m.Acknowledge("f", "t", []byte{2}); !errors.Is(err, ErrNoStream) {
		t.Errorf("an acknowledgement too many gives %v", err)
	}
	r.pass(time.Hour)
	r.expect(t)
}

func TestRetryBound(t *testing.T) {
	var r recorder
	m := newManager(&r)
	m.Resume()
	if err := m.Update(update("f", "t", 1, mesos.TASK_RUNNING), nil); err != nil {
		t.Fatal(err)
	}
	r.pass(time.Hour)
	m.Cleanup("f")
	n := len(r.sent)
	if last, before := r.sent[n-1], r.sent[n-2]; !strings.HasSuffix(before, "@40m30s") || !strings.HasSuffix(last, "@50m30s") {
		t.Errorf("sent at %q", r.sent)
	}
}

func TestPauseAndResume(t *testing.T) {
	var r recorder
	m := newManager(&r)
	for _, u := range []Update{
		update("f", "a", 1, mesos.TASK_RUNNING), update("g", "b", 2, mesos.TASK_RUNNING), update("f", "c", 3, mesos.TASK_RUNNING),
	} {
		if err := m.Update(u, nil); err != nil {
			t.Fatal(err)
		}
	}
	r.pass(time.Minute)
	r.expect(t)
	m.Resume()
	r.expect(t, "a/1@1m0s", "b/2@1m0s", "c/3@1m0s")
	m.ResumeFramework("f")
	r.expect(t, "a/1@1m0s", "c/3@1m0s")
	m.Pause()
	r.pass(time.Minute)
	r.expect(t)
	m.ResumeFramework("f") // nothing while paused
	r.expect(t)
	m.Resume()
	r.expect(t, "a/1@2m0s", "b/2@2m0s", "c/3@2m0s")
	m.Cleanup("f")
	m.Cleanup("g")
}

// memory is a journal.
type memory struct {
	statuses []mesos.TaskStatus
	acked    [][]byte
}

func (m *memory) Update(s mesos.TaskStatus) error { m.statuses = append(m.statuses, s); return nil }
func (m *memory) Acknowledged(uuid []byte) error  { m.acked = append(m.acked, uuid); return nil }

// TestAnyHistory plays random updates, duplicates, acknowledgements and restarts against a plain model: a queue.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent []byte
		config := Config{
			Forward:  func(u Update) { sent = append(sent, u.Status.UUID[0]) },
			After:    func(time.Duration, func()) func() { return func() {} },
			RetryMin: 1, RetryMax: 1,
		}
		m := New(config)
		m.Resume()
		var queue []byte // the model
		journal := new(memory)
		next := byte(1)
		ended := false
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"update", "again", "ack", "wrong", "restart"}).Draw(t, "step") {
			case "update":
				if ended {
					continue
				}
				state := mesos.TASK_RUNNING
				if rapid.IntRange(0, 9).Draw(t, "last") == 0 {
					state, ended = mesos.TASK_FINISHED, true
				}
				if err := m.Update(update("f", "t", next, state), journal); err != nil {
					t.Fatal(err)
				}
				queue = append(queue, next)
				next++
			case "again":
				if next > 1 && len(queue) > 0 {
					uuid := rapid.ByteRange(1, next-1).Draw(t, "uuid")
					if err := m.Update(update("f", "t", uuid, mesos.TASK_RUNNING), journal); err != nil {
						t.Fatal(err)
					}
				}
			case "ack":
				if len(queue) == 0 {
					continue
				}
				over, err := m.Acknowledge("f", "t", queue[:1])
				if err != nil {
					t.Fatal(err)
				}
				queue = queue[1:]
				if over != (ended && len(queue) == 0) {
					t.Fatalf("over is %v with %v left", over, queue)
				}
				if over {
					return
				}
			case "wrong":
				if _, err := m.Acknowledge("f", "t", []byte{next}); err == nil {
					t.Fatal("took an acknowledgement of what was never sent")
				}
			case "restart":
				m = New(config)
				m.Replay("f", "e", journal.statuses, journal.acked, journal)
				m.Resume()
			}
			if len(queue) > 0 && (len(sent) == 0 || sent[len(sent)-1] != queue[0]) {
				t.Fatalf("sent %v last, the head of %v should have been", sent, queue)
			}
			var pending []byte
			for _, s := range m.Pending("f", "t") {
				pending = append(pending, s.UUID[0])
			}
			if !slices.Equal(pending, queue) {
				t.Fatalf("pending are %v, want %v", pending, queue)
			}
		}
	})
}
