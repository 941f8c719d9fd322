package driver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/executor/fakeagent"
)

// entry is one line of a recorded dialogue between an executor and a real agent
// of Mesos 1.11; testdata/traces holds what the executor saw.
type entry struct {
	Dir    string          `json:"dir"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
	Note   string          `json:"note"`
}

func readTrace(t *testing.T, path string) (entries []entry) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

// answerTo is the response that follows a call.
func answerTo(entries []entry, call int) (code int, text string) {
	for _, e := range entries[call+1:] {
		if e.Dir == "executor-response" {
			_ = json.Unmarshal(e.Body, &text)
			return e.Status, text
		}
	}
	return 0, ""
}

// TestReplay plays the agent's part of recorded dialogues and expects the driver
// to make the recorded calls when its handler does what the recorded executor did.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/traces/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal("no traces: ", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".jsonl"), func(t *testing.T) {
			entries := readTrace(t, file)
			synctest.Test(t, func(t *testing.T) {
				replay(t, entries, !strings.Contains(file, "checkpoint-false") && !strings.Contains(file, "no-checkpoint"))
			})
		})
	}
}

func replay(t *testing.T, entries []entry, checkpoint bool) {
	agent := fakeagent.New(t)
	agent.AutoAck, agent.Subscribed = false, nil
	var mu sync.Mutex
	var code int
	var text string
	agent.Answer = func(*executor.Call, *http.Request) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		switch code {
		case 200, 202:
			return 0, ""
		case 0:
			return fakeagent.Refuse, ""
		}
		return code, text
	}
	cfg := testConfig(agent)
	cfg.Checkpoint = checkpoint
	code, text = answerTo(entries, 0)
	d := start(t, cfg)
	ctx := t.Context()
	connected := false
	for i, e := range entries {
		switch e.Dir {
		case "executor-call":
			want := new(executor.Call)
			if err := json.Unmarshal(e.Body, want); err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
			mu.Lock()
			code, text = answerTo(entries, i)
			down := code == 0
			mu.Unlock()
			switch want.Type {
			case executor.Call_UPDATE:
				d.Update(want.Update.Status)
				if !connected || down {
					continue // it is told at the next SUBSCRIBE
				}
			case executor.Call_MESSAGE:
				d.Send("", want.Message.Data)
			}
			compareCalls(t, i, want, agent.Next(ctx))
		case "executor-event":
			if bytes.Contains(e.Body, []byte("(EOF)")) {
				connected = false
				mu.Lock()
				code, text = answerTo(entries, i) // the driver does not wait for the next line
				mu.Unlock()
				agent.Break()
				synctest.Wait()
				agent.Forget() // an attempt that came before the recorded executor's
				if !checkpoint {
					if err := <-d.result; !errors.Is(err, ErrDisconnected) {
						t.Fatalf("line %d: %v", i+1, err)
					}
					return
				}
				continue
			}
			event := new(executor.Event)
			if err := json.Unmarshal(e.Body, event); err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
			agent.Send(event)
			connected = true
			if want := described(event); want != "" {
				d.expect(t, want)
			}
			synctest.Wait()
		case "executor-note":
			if strings.Contains(e.Note, "exits") {
				d.Finish(time.Second)
				err := <-d.result
				if left := d.out.pendingUpdates(); left == 0 && err != nil || left > 0 && !errors.Is(err, ErrUnacknowledged) {
					t.Fatalf("line %d: %d updates left: %v", i+1, left, err)
				}
				return
			}
		}
	}
	d.cancel(context.Canceled)
	<-d.result
}

// described is what a recorder notes for an event.
func described(e *executor.Event) string {
	switch e.Type {
	case executor.Event_SUBSCRIBED:
		return "subscribed"
	case executor.Event_LAUNCH:
		return "launch " + e.Launch.Task.TaskID.Value
	case executor.Event_KILL:
		return fmt.Sprintf("kill %s %v", e.Kill.TaskID.Value, time.Duration(e.Kill.KillPolicy.GetGracePeriod().GetNanoseconds()))
	case executor.Event_MESSAGE:
		return "message " + string(e.Message.Data)
	case executor.Event_SHUTDOWN:
		return "shutdown"
	}
	return ""
}

func compareCalls(t *testing.T, line int, want, got *executor.Call) {
	t.Helper()
	// Ids are of the test's configuration, and the executor's with them.
	want.FrameworkID, want.ExecutorID = got.FrameworkID, got.ExecutorID
	adapt := func(s *mesos.TaskStatus) { s.ExecutorID = &mesos.ExecutorID{Value: got.ExecutorID.Value} }
	if want.Update != nil {
		adapt(&want.Update.Status)
	}
	if want.Subscribe != nil {
		for i := range want.Subscribe.UnacknowledgedUpdates {
			adapt(&want.Subscribe.UnacknowledgedUpdates[i].Status)
		}
	}
	if !want.Equal(got) {
		t.Fatalf("line %d: call\n%v\nexpected\n%v", line+1, got, want)
	}
}
