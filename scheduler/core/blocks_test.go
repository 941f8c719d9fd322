package core

import (
	"fmt"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

func TestBlockStates(t *testing.T) {
	s := newScript(t)
	p, _ := s.mining("S1")
	block := testBlock(7, 200, easyBits)
	hash := hashOf(block)
	send := func() {
		s.say(p, &message.ToScheduler{Event: &message.ToScheduler_Block{Block: &message.Block{
			Block: &message.BlockState{Height: 3, Hash: hash, State: "submitted"}, Parts: 1, Data: block,
		}}})
	}
	report := func(state string, confirmations uint32) {
		s.say(p, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
			Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true, Blocks: []*message.BlockState{{
				Height: 3, Hash: hash, State: state, Confirmations: confirmations,
			}}}},
		}}})
	}
	has := func(want Action) bool {
		for _, a := range s.actions {
			if fmt.Sprintf("%T", a) == fmt.Sprintf("%T", want) {
				return true
			}
		}
		return false
	}
	send()
	if _, ok := s.actions[0].(StoreBlock); !ok || !has(Persist{}) || len(s.calls(scheduler.Call_MESSAGE)) != 0 {
		t.Fatalf("%v", s.actions)
	}
	s.step(Stored{Hash: fmt.Sprintf("%x", reversed(hash))})
	if !has(Persist{}) || len(s.calls(scheduler.Call_MESSAGE)) != 1 {
		t.Fatalf("no receipt: %v", s.actions)
	}
	send() // the receipt was lost
	if has(StoreBlock{}) || len(s.calls(scheduler.Call_MESSAGE)) != 1 {
		t.Errorf("sent again: %v", s.actions)
	}
	s.pass(submitPatience + time.Second)
	if !has(SubmitBlock{}) {
		t.Fatal("nobody submits the block")
	}
	name := fmt.Sprintf("%x", reversed(hash))
	s.step(Submitted{Hash: name, Err: "connection refused"})
	s.pass(time.Minute)
	if !has(SubmitBlock{}) {
		t.Fatal("it is not tried again")
	}
	s.step(Submitted{Hash: name, State: "submitted"})
	report("confirmed", 1)
	if b := s.c.Snapshot(s.now).Blocks; len(b) != 1 || b[0].State != "confirmed" || !b[0].Stored {
		t.Fatalf("%+v", b)
	}
	report("submitted", 0) // a proxy that was restarted knows less
	if b := s.c.Snapshot(s.now).Blocks; b[0].State != "confirmed" {
		t.Errorf("%+v", b)
	}
	report("confirmed", 6)
	if !has(DropBlock{}) || s.c.Snapshot(s.now).Blocks[0].Stored {
		t.Errorf("a deep block is kept: %v", s.actions)
	}
	s.pass(time.Hour)
	if has(SubmitBlock{}) {
		t.Error("a confirmed block is submitted")
	}
}

// A node that answers is asked every few minutes until a block's fate is decided, one that
// does not more and more seldom.
func TestFateIsAskedForUntilItIsDecided(t *testing.T) {
	for _, test := range []struct {
		answer Submitted
		most   time.Duration
	}{
		{Submitted{State: "submitted"}, askMost * 5 / 4},
		{Submitted{Err: "connection refused"}, submitMost * 5 / 4},
	} {
		s := newScript(t)
		p, _ := s.mining("S1")
		block := testBlock(7, 200, easyBits)
		hash := fmt.Sprintf("%x", reversed(hashOf(block)))
		s.say(p, &message.ToScheduler{Event: &message.ToScheduler_Block{Block: &message.Block{
			Block: &message.BlockState{Height: 3, Hash: hashOf(block), State: "submitted"}, Parts: 1, Data: block,
		}}})
		s.step(Stored{Hash: hash})
		var longest time.Duration
		for last, asked := s.now, 0; asked < 20; {
			s.pass(time.Second)
			if s.now.Sub(last) > time.Hour {
				t.Fatalf("after %d answers %+v nobody is asked any more", asked, test.answer)
			}
			for _, a := range s.actions {
				if a == Action(SubmitBlock{hash}) {
					longest, last = max(longest, s.now.Sub(last)), s.now
					test.answer.Hash = hash
					s.step(test.answer)
					asked++
					break
				}
			}
		}
		if longest > test.most || longest < test.most/2 {
			t.Errorf("%+v: the longest pause is %v, want at most %v", test.answer, longest, test.most)
		}
	}
}

// A block of which a proxy has told, and no copy has come, stays submitted until a node
// tells what became of it.
func TestFateOfABlockWithoutACopy(t *testing.T) {
	s := newScript(t)
	p, _ := s.mining("S1")
	block := testBlock(7, 200, easyBits)
	hash := fmt.Sprintf("%x", reversed(hashOf(block)))
	s.say(p, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true, Blocks: []*message.BlockState{{Height: 3, Hash: hashOf(block), State: "submitted"}}}},
	}}})
	asked := func(d time.Duration) (n int) {
		s.pass(d)
		for _, a := range s.actions {
			switch a := a.(type) {
			case AskBlock:
				if n++; a != (AskBlock{hash, 3}) {
					t.Errorf("asked for %+v", a)
				}
			case SubmitBlock:
				t.Error("a block is submitted that is not there")
			}
		}
		return n
	}
	if n := asked(tellPatience / 2); n != 0 {
		t.Errorf("asked %d times while its proxy may tell", n)
	}
	for _, step := range []struct {
		within time.Duration
		answer Submitted
	}{
		{2 * tellPatience, Submitted{Err: "connection refused"}},
		{2 * askMost, Submitted{State: "submitted"}},
		{2 * tellPatience, Submitted{State: "submitted"}},
	} {
		if n := asked(step.within); n != 1 {
			t.Fatalf("asked %d times before %+v", n, step.answer)
		}
		step.answer.Hash = hash
		s.step(step.answer)
	}
	// Its proxy ends: nobody else is going to tell.
	s.update(p, mesos.TASK_FAILED)
	if n := asked(2 * submitPatience); n != 1 {
		t.Fatalf("asked %d times when its proxy had ended", n)
	}
	s.step(Submitted{Hash: hash, State: "orphaned", Confirmations: 9})
	if b := s.c.Snapshot(s.now).Blocks; len(b) != 1 || b[0].State != "orphaned" || b[0].Stored {
		t.Errorf("%+v", b)
	}
	if n := asked(time.Hour); n != 0 {
		t.Errorf("asked %d times for what is known", n)
	}
}

func TestBadBlocks(t *testing.T) {
	s := newScript(t)
	p, _ := s.mining()
	hash := make([]byte, 32)
	for name, b := range map[string]*message.Block{
		"no state":       {Parts: 1, Data: make([]byte, 200)},
		"short hash":     {Block: &message.BlockState{Hash: hash[:31]}, Parts: 1, Data: make([]byte, 200)},
		"no parts":       {Block: &message.BlockState{Hash: hash}, Data: make([]byte, 200)},
		"many parts":     {Block: &message.BlockState{Hash: hash}, Parts: 1 << 31, Data: make([]byte, 200)},
		"part too high":  {Block: &message.BlockState{Hash: hash}, Part: 2, Parts: 2},
		"another hash":   {Block: &message.BlockState{Hash: hash}, Parts: 1, Data: make([]byte, 200)},
		"only a header":  {Block: &message.BlockState{Hash: hashOf(make([]byte, 80))}, Parts: 1, Data: make([]byte, 80)},
		"large part":     {Block: &message.BlockState{Hash: hash}, Parts: 1, Data: make([]byte, message.BlockPartSize+1)},
		"nothing at all": {},
	} {
		bad := s.c.counters.BadMessages
		s.say(p, &message.ToScheduler{Event: &message.ToScheduler_Block{Block: b}})
		if s.c.counters.BadMessages != bad+1 || len(s.c.state.Blocks) != 0 || len(s.calls(scheduler.Call_MESSAGE)) != 0 {
			t.Errorf("%s: %v", name, s.actions)
		}
	}
	for i := range 100 { // halves that never become whole
		hash[0] = byte(i)
		s.say(p, &message.ToScheduler{Event: &message.ToScheduler_Block{Block: &message.Block{
			Block: &message.BlockState{Hash: hash}, Parts: 2, Data: []byte{1},
		}}})
	}
	if n := len(s.c.blocks); n > mostAssemblies {
		t.Errorf("%d half blocks are kept", n)
	}
}
