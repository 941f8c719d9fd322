package master

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/wire"
)

// faults are the things that go wrong on purpose. They belong to the loop.
type faults struct {
	messages  int // that are lost, in either direction
	delay     time.Duration
	delayed   []delayedUpdate // waiting, the oldest first
	duplicate int             // further copies of each update
	framing   wire.Framing    // of new streams
}

type delayedUpdate struct {
	due    time.Time
	fw     *framework
	status mesos.TaskStatus
}

func (f *faults) dropMessage() bool {
	if f.messages == 0 {
		return false
	}
	f.messages--
	return true
}

// sendUpdate gives an update to a scheduler, unless a fault is in the way.
func (m *Master) sendUpdate(fw *framework, status mesos.TaskStatus) {
	if m.faults.delay > 0 || len(m.faults.delayed) > 0 {
		m.faults.delayed = append(m.faults.delayed, delayedUpdate{time.Now().Add(m.faults.delay), fw, status})
		if len(m.faults.delayed) == 1 {
			m.after(m.faults.delay, m.sendDelayed)
		}
		return
	}
	m.sendUpdateNow(fw, status)
}

// sendDelayed sends what is due; the order is kept.
func (m *Master) sendDelayed() {
	for len(m.faults.delayed) > 0 {
		next := m.faults.delayed[0]
		if wait := time.Until(next.due); wait > 0 {
			m.after(wait, m.sendDelayed)
			return
		}
		m.faults.delayed = m.faults.delayed[1:]
		m.sendUpdateNow(next.fw, next.status)
	}
}

func (m *Master) sendUpdateNow(fw *framework, status mesos.TaskStatus) {
	for range 1 + m.faults.duplicate {
		m.send(fw, updateEvent(status))
	}
}

// DropMessages loses the next n framework messages, in either direction.
func (m *Master) DropMessages(n int) { m.call(func() { m.faults.messages = n }) }

// DelayUpdates holds every update back for a while; zero ends it.
func (m *Master) DelayUpdates(d time.Duration) { m.call(func() { m.faults.delay = d }) }

// DuplicateUpdates sends every update n more times.
func (m *Master) DuplicateUpdates(n int) { m.call(func() { m.faults.duplicate = n }) }

// RescindOffers takes back all outstanding offers and says so; it returns how many
// there were. They are offered again at the next allocation.
func (m *Master) RescindOffers() int {
	n := 0
	m.call(func() {
		for _, o := range sortedOffers(m.offers) {
			m.rescind(o)
			n++
		}
	})
	return n
}

// Frameworks lists the ids of all frameworks that are not completed.
func (m *Master) Frameworks() []string {
	var ids []string
	m.call(func() { ids = sortedKeys(m.frameworks) })
	return ids
}

// Framing changes how records are laid out in chunks, for streams there are and new
// ones. Mute is not for this: see HalfOpen.
func (m *Master) Framing(f wire.Framing) {
	m.call(func() {
		m.faults.framing = f
		for _, fw := range m.frameworks {
			if fw.stream != nil {
				fw.stream.SetFraming(f)
			}
		}
	})
}

// onStream does something to the stream of a framework; false if there is none.
func (m *Master) onStream(framework string, f func(*wire.Stream)) bool {
	found := false
	m.call(func() {
		if fw := m.frameworks[framework]; fw != nil && fw.stream != nil {
			found = true
			f(fw.stream)
		}
	})
	return found
}

// HalfOpen silences a framework's stream without ending it: nothing arrives any more,
// not even heartbeats, and the master believes that all is well. It is false if the
// framework has no stream.
func (m *Master) HalfOpen(framework string) bool {
	return m.onStream(framework, func(s *wire.Stream) { s.SetFraming(wire.Mute) })
}

// CutStream breaks a framework's connection in the middle of the chunked coding.
func (m *Master) CutStream(framework string) bool {
	return m.onStream(framework, (*wire.Stream).Abort)
}

// UnknownEvent sends an event of a type that no client knows yet.
func (m *Master) UnknownEvent(framework string) bool {
	return m.onStream(framework, func(s *wire.Stream) {
		record := []byte{0x08, 0x63, 0xa2, 0x06, 0x00} // type: 99, field 100: an empty message
		if s.Codec() == wire.JSON {
			record = []byte(`{"type":"EVENT_OF_THE_FUTURE","event_of_the_future":{}}`)
		}
		s.SendRecord(record) //nolint:errcheck // a stream that has ended needs no event
	})
}

// SendError ends a framework's stream with an ERROR event.
func (m *Master) SendError(framework, message string) bool {
	return m.onStream(framework, func(s *wire.Stream) {
		s.Send(&scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: message}}) //nolint:errcheck // as above
		s.Close()
	})
}

// Refuse503 answers every scheduler call with 503 for a while, as during recovery.
func (m *Master) Refuse503(d time.Duration) { m.unavailableUntil.Store(time.Now().Add(d).UnixNano()) }

// RedirectToSelf answers every scheduler call with a 307 to this master: a loop.
func (m *Master) RedirectToSelf(on bool) { m.redirects.Store(on) }

// SkewClock sets the master's clock ahead, or, with a negative duration, back. Timers
// are not affected, timestamps are.
func (m *Master) SkewClock(ahead time.Duration) { m.skew.Store(int64(ahead)) }
