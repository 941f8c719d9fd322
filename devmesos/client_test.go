package devmesos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long tests wait for what must come.
const patience = 30 * time.Second

// object is a JSON object.
type object = map[string]any

// scheduler is a scheduler that speaks JSON and keeps every event that it hears.
type scheduler struct {
	t        *testing.T
	url      string
	id       string
	streamID string
	body     io.ReadCloser
	reader   sync.WaitGroup

	mu     sync.Mutex
	events []object
	ended  bool
	news   chan struct{} // closed and replaced with each event
}

// subscribe subscribes a framework and waits for SUBSCRIBED, or the ERROR in its place.
func subscribe(t *testing.T, url string, info object) *scheduler {
	t.Helper()
	s := &scheduler{t: t, url: url, news: make(chan struct{})}
	call := object{"type": "SUBSCRIBE", "subscribe": object{"framework_info": info}}
	if id, ok := info["id"]; ok {
		call["framework_id"] = id
	}
	response := post(t, url+"/api/v1/scheduler", call, nil)
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("SUBSCRIBE: %s: %s", response.Status, body)
	}
	s.body, s.streamID = response.Body, response.Header.Get("Mesos-Stream-Id")
	s.reader.Go(s.read)
	t.Cleanup(s.close)
	s.wait("SUBSCRIBED", func(event object) bool {
		if event["type"] == "SUBSCRIBED" {
			s.id = dig(event, "subscribed", "framework_id", "value").(string)
		}
		return event["type"] == "SUBSCRIBED" || event["type"] == "ERROR"
	})
	return s
}

func post(t *testing.T, url string, body any, header map[string]string) *http.Response {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest("POST", url, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for key, value := range header {
		request.Header.Set(key, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("POST %s: %v", url, err)
	}
	return response
}

// dig goes down into a JSON value; nil if there is no such place.
func dig(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			o, _ := v.(object)
			v = o[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

func (s *scheduler) read() {
	in := bufio.NewReader(s.body)
	for {
		line, err := in.ReadString('\n')
		length, _ := strconv.Atoi(strings.TrimSpace(line))
		record := make([]byte, length)
		if err == nil {
			_, err = io.ReadFull(in, record)
		}
		var event object
		if err == nil {
			err = json.Unmarshal(record, &event)
		}
		s.mu.Lock()
		if err != nil {
			s.ended = true
		} else if event["type"] != "HEARTBEAT" {
			s.events = append(s.events, event)
		}
		close(s.news)
		s.news = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *scheduler) close() {
	s.body.Close()
	s.reader.Wait()
}

// wait takes events off the front until one is wanted, which it returns.
func (s *scheduler) wait(what string, wanted func(object) bool) object {
	s.t.Helper()
	deadline := time.After(patience)
	var seen []string
	for {
		s.mu.Lock()
		news, ended := s.news, s.ended
		for len(s.events) > 0 {
			event := s.events[0]
			s.events = s.events[1:]
			if wanted(event) {
				s.mu.Unlock()
				return event
			}
			seen = append(seen, fmt.Sprint(event))
		}
		s.mu.Unlock()
		if ended {
			s.t.Fatalf("stream ended while waiting for %s; seen: %s", what, strings.Join(seen, "\n"))
		}
		select {
		case <-news:
		case <-deadline:
			s.t.Fatalf("no %s; seen: %s", what, strings.Join(seen, "\n"))
		}
	}
}

// waitEnd waits for the end of the stream.
func (s *scheduler) waitEnd() {
	s.t.Helper()
	done := make(chan struct{})
	go func() {
		s.reader.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		s.t.Fatal("the stream does not end")
	}
}

func (s *scheduler) waitType(kind string) object {
	s.t.Helper()
	return s.wait(kind, func(event object) bool { return event["type"] == kind })
}

// waitOffer returns the next offer.
func (s *scheduler) waitOffer() object {
	s.t.Helper()
	return dig(s.waitType("OFFERS"), "offers", "offers", 0).(object)
}

// waitState waits for an update of a task to a state.
func (s *scheduler) waitState(task, state string) object {
	s.t.Helper()
	event := s.wait(task+" "+state, func(event object) bool {
		return dig(event, "update", "status", "task_id", "value") == task && dig(event, "update", "status", "state") == state
	})
	return dig(event, "update", "status").(object)
}

// call makes a call that is answered with 202.
func (s *scheduler) call(kind string, part object) {
	s.t.Helper()
	call := object{"type": kind, "framework_id": object{"value": s.id}}
	if part != nil {
		call[strings.ToLower(kind)] = part
	}
	response := post(s.t, s.url+"/api/v1/scheduler", call, map[string]string{"Mesos-Stream-Id": s.streamID})
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusAccepted {
		s.t.Fatalf("%s: %s: %s", kind, response.Status, body)
	}
}

func (s *scheduler) acknowledge(status object) {
	s.t.Helper()
	s.call("ACKNOWLEDGE", object{"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]})
}

func value(id any) object { return object{"value": id} }

func scalar(name string, amount float64) object {
	return object{"name": name, "type": "SCALAR", "scalar": object{"value": amount}}
}

// launch accepts an offer for one task with an executor of its own.
func (s *scheduler) launch(offer object, task string, filters object) {
	s.t.Helper()
	info := object{
		"name": task, "task_id": value(task), "agent_id": offer["agent_id"],
		"resources": []any{scalar("cpus", 0.5), scalar("mem", 64)},
		"data":      []byte("V-TASKDATA"),
		"executor": object{
			"type": "CUSTOM", "executor_id": value("e-" + task), "name": "test",
			"resources": []any{scalar("cpus", 0.1), scalar("mem", 32)},
			"data":      []byte("V-EXDATA"),
			"command":   testExecutorCommand(),
		},
	}
	accept := object{
		"offer_ids":  []any{offer["id"]},
		"operations": []any{object{"type": "LAUNCH", "launch": object{"task_infos": []any{info}}}},
	}
	if filters != nil {
		accept["filters"] = filters
	}
	s.call("ACCEPT", accept)
}

// get reads a JSON endpoint of the master.
func (s *scheduler) get(path string) any {
	s.t.Helper()
	response, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var v any
	if err := json.NewDecoder(response.Body).Decode(&v); err != nil {
		s.t.Fatal(err)
	}
	return v
}
