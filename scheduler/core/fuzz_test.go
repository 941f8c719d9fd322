package core

import (
	"errors"
	"testing"
	"time"

	"lode/message"
)

// FuzzMessages lets executors send what they like: whatever it is, a core must go
// on, and store before it sends.
func FuzzMessages(f *testing.F) {
	for _, m := range []*message.ToScheduler{
		{Version: 1, TaskId: "proxy-0-1", Event: &message.ToScheduler_Hello{Hello: &message.Hello{NeedSecrets: true}}},
		{Version: 1, TaskId: "proxy-0-1", Event: &message.ToScheduler_Report{Report: &message.Report{Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true}}}}},
		{Version: 1, TaskId: "proxy-0-1", Event: &message.ToScheduler_Block{Block: &message.Block{Block: &message.BlockState{Hash: make([]byte, 32)}, Parts: 1}}},
		{Version: 9, TaskId: "x"},
	} {
		b, err := message.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newScript(t)
		s.mining("S1")
		// As a stranger, and as somebody who has the key of the launch.
		s.step(Message{AgentID: "S0", ExecutorID: "proxy-0-1", Data: data})
		if m, err := message.DecodeToScheduler(data); err == nil {
			s.say("proxy-0-1", m)
		}
		sent := false
		for _, a := range s.actions {
			switch a.(type) {
			case Call:
				sent = true
			case Persist, StoreBlock:
				if sent {
					t.Error("stored after sending")
				}
			}
		}
		s.c.Snapshot(s.now)
	})
}

// FuzzState reads states that somebody damaged.
func FuzzState(f *testing.F) {
	s := NewState([]byte("key"))
	s.FrameworkID = "F"
	s.Tasks["t"] = &Task{ID: "t", Kind: KindMiner, AgentID: "S", State: stateRunning}
	b, err := s.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"worker_key":"AAAA","framework_id":"F","tasks":{"a":null}}`))
	f.Add([]byte(`{"version":1,"worker_key":"AAAA","blocks":[null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeState(b)
		if err != nil {
			if !errors.Is(err, ErrState) {
				t.Errorf("%v is no ErrState", err)
			}
			return
		}
		// A state that is taken can be worked with, and stored and read again.
		set := testCore(t).set
		c, err := New(set, s)
		if err != nil {
			t.Fatal(err)
		}
		c.Step(simEpoch, Subscribed{FrameworkID: s.FrameworkID, Master: "m"})
		c.Step(simEpoch.Add(time.Second), Tick{})
		c.Snapshot(simEpoch)
		again, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeState(again); err != nil {
			t.Error(err)
		}
	})
}
