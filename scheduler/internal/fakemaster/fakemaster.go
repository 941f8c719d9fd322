// Package fakemaster is a stand-in for a Mesos master in tests of single behaviours:
// it speaks the wire protocol of the v1 scheduler API, does nothing by itself, and
// answers as the test says. Tests of whole clusters use devmesos.
package fakemaster

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// Answer is what the master says to a request instead of doing its work.
type Answer struct {
	Code   int
	Body   string
	Header map[string]string
	Hang   bool // never answers
}

// Master is a stand-in master.
type Master struct {
	t      testing.TB
	server *httptest.Server
	// Calls are the calls that arrived and were accepted, SUBSCRIBE included.
	Calls chan *scheduler.Call

	mu       sync.Mutex
	streams  int
	stream   *Stream
	answer   func(*http.Request, *scheduler.Call) *Answer
	requests []*http.Request
	redirect string
	noLeader bool
}

// Stream is one subscription.
type Stream struct {
	ID     string
	events chan []byte
	done   chan struct{}
	once   sync.Once
}

// New starts a master; it ends with the test.
func New(t testing.TB) *Master {
	m := &Master{t: t, Calls: make(chan *scheduler.Call, 10000)}
	m.server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

// Close ends the master and its streams.
func (m *Master) Close() {
	m.Break()
	m.server.CloseClientConnections()
	m.server.Close()
}

// URL of the master.
func (m *Master) URL() string { return m.server.URL }

// Host is host:port of the master.
func (m *Master) Host() string { return strings.TrimPrefix(m.server.URL, "http://") }

// Answer sets what decides about every request before anything else; nil goes on.
func (m *Master) Answer(f func(*http.Request, *scheduler.Call) *Answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = f
}

// Redirect makes the master point to another one, as host:port; "": it leads.
func (m *Master) Redirect(host string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.redirect = host
}

// NoLeader makes the master answer that it knows no leader.
func (m *Master) NoLeader(v bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noLeader = v
}

// Requests are all requests that arrived.
func (m *Master) Requests() []*http.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*http.Request{}, m.requests...)
}

// Break ends the current stream.
func (m *Master) Break() {
	m.mu.Lock()
	s := m.stream
	m.stream = nil
	m.mu.Unlock()
	if s != nil {
		s.end()
	}
}

func (s *Stream) end() { s.once.Do(func() { close(s.done) }) }

// Send sends an event on the current stream.
func (m *Master) Send(e *scheduler.Event) {
	b, err := e.Marshal()
	if err != nil {
		m.t.Errorf("fake master: %v", err)
		return
	}
	m.SendRaw(append([]byte(strconv.Itoa(len(b))+"\n"), b...))
}

// SendRaw sends bytes on the current stream.
func (m *Master) SendRaw(b []byte) {
	m.mu.Lock()
	s := m.stream
	m.mu.Unlock()
	if s == nil {
		m.t.Error("fake master: there is no stream")
		return
	}
	select {
	case s.events <- b:
	case <-s.done:
	}
}

// Subscribed is the first event of a stream.
func Subscribed(id string, heartbeat float64) *scheduler.Event {
	return &scheduler.Event{
		Type: scheduler.Event_SUBSCRIBED,
		Subscribed: &scheduler.Event_Subscribed{
			FrameworkID: &mesos.FrameworkID{Value: id}, HeartbeatIntervalSeconds: &heartbeat,
		},
	}
}

// ServeHTTP implements http.Handler.
func (m *Master) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var call *scheduler.Call
	if r.URL.Path == "/api/v1/scheduler" {
		call = new(scheduler.Call)
		if err := call.Unmarshal(body); err != nil {
			http.Error(w, "Failed to parse body into Call protobuf", http.StatusBadRequest)
			return
		}
	}
	m.mu.Lock()
	m.requests = append(m.requests, r)
	answer, redirect, noLeader := m.answer, m.redirect, m.noLeader
	m.mu.Unlock()
	if answer != nil {
		if a := answer(r, call); a != nil {
			if a.Hang {
				<-r.Context().Done()
				return
			}
			for k, v := range a.Header {
				w.Header().Set(k, v)
			}
			w.WriteHeader(a.Code)
			fmt.Fprint(w, a.Body)
			return
		}
	}
	switch {
	case noLeader:
		w.WriteHeader(http.StatusServiceUnavailable)
	case redirect != "":
		// Mesos leaves the scheme out.
		w.Header().Set("Location", "//"+redirect+r.URL.Path)
		w.WriteHeader(http.StatusTemporaryRedirect)
	case r.URL.Path == "/redirect":
		w.Header().Set("Location", "//"+r.Host)
		w.WriteHeader(http.StatusTemporaryRedirect)
	case call == nil:
		http.NotFound(w, r)
	case call.Type == scheduler.Call_SUBSCRIBE:
		m.subscribe(w, r, call)
	default:
		m.mu.Lock()
		s := m.stream
		m.mu.Unlock()
		switch {
		case s == nil:
			http.Error(w, "Framework is not subscribed", http.StatusForbidden)
		case r.Header.Get("Mesos-Stream-Id") != s.ID:
			http.Error(w, "The stream ID included in this request didn't match the stream ID currently associated with framework", http.StatusBadRequest)
		default:
			m.Calls <- call
			w.WriteHeader(http.StatusAccepted)
		}
	}
}

func (m *Master) subscribe(w http.ResponseWriter, r *http.Request, call *scheduler.Call) {
	m.mu.Lock()
	m.streams++
	s := &Stream{ID: fmt.Sprintf("stream-%d", m.streams), events: make(chan []byte, 1000), done: make(chan struct{})}
	old := m.stream
	m.stream = s
	m.mu.Unlock()
	if old != nil {
		old.end()
	}
	w.Header().Set("Mesos-Stream-Id", s.ID)
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.WriteHeader(http.StatusOK)
	flusher := w.(http.Flusher)
	flusher.Flush()
	m.Calls <- call
	for {
		select {
		case b := <-s.events:
			if _, err := w.Write(b); err != nil {
				return
			}
			flusher.Flush()
		case <-s.done:
			// What was sent before the end still goes out.
			for {
				select {
				case b := <-s.events:
					_, _ = w.Write(b)
					continue
				default:
				}
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
