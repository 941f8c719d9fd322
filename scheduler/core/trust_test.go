package core

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

func count[T Action](s *script) (n int) {
	for _, a := range s.actions {
		if _, ok := a.(T); ok {
			n++
		}
	}
	return n
}

func (s *script) helloMessage() *message.ToScheduler {
	return &message.ToScheduler{Event: &message.ToScheduler_Hello{Hello: &message.Hello{
		NeedSecrets: true, ExecutorDigest: "d", PublicKey: s.publicKey(),
	}}}
}

func plain(t *testing.T, task string, version uint32, m *message.ToScheduler) []byte {
	t.Helper()
	m.Version, m.TaskId = version, task
	b, err := message.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What somebody can say who has no more than the public data of the cluster, or the
// key of another launch.
func TestMessagesOfStrangersAreRefused(t *testing.T) {
	for _, test := range []struct {
		name, kind string
		agent      string
		data       func(s *script, proxy, miner string) []byte
	}{
		{"as executors of version 1 spoke", "forged", "S0", func(s *script, proxy, _ string) []byte {
			return plain(s.t, proxy, 1, s.helloMessage())
		}},
		{"without an envelope", "forged", "S0", func(s *script, proxy, _ string) []byte {
			return plain(s.t, proxy, message.Version, s.helloMessage())
		}},
		{"with a key of one's own", "forged", "S0", func(s *script, proxy, _ string) []byte {
			s.ends = map[string]*message.Sealer{proxy: message.ExecutorEnd(make([]byte, 32), s.c.state.Session)}
			return s.seal(proxy, s.helloMessage())
		}},
		{"with the key of a miner", "forged", "S0", func(s *script, proxy, miner string) []byte {
			m := s.helloMessage()
			m.TaskId = proxy
			return s.seal(miner, m)
		}},
		{"what the scheduler sent, sent back", "forged", "S0", func(s *script, proxy, _ string) []byte {
			s.hello(proxy, true)
			return s.calls(scheduler.Call_MESSAGE)[0].Message.Data
		}},
		{"from another agent", "other_agent", "S1", func(s *script, proxy, _ string) []byte {
			return s.seal(proxy, s.helloMessage())
		}},
		{"a second time", "replayed", "S0", func(s *script, proxy, _ string) []byte {
			b := s.seal(proxy, s.helloMessage())
			s.step(Message{AgentID: "S0", ExecutorID: proxy, Data: b})
			return b
		}},
		{"in the name of another task", "other_task", "S0", func(s *script, proxy, miner string) []byte {
			m := s.helloMessage()
			m.TaskId = miner
			return s.seal(proxy, m)
		}},
		{"garbage", "unreadable", "S0", func(*script, string, string) []byte { return []byte("\xff\xfe") }},
		{"nothing", "unreadable", "S0", func(*script, string, string) []byte { return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			proxy, miners := s.mining("S1")
			s.now = s.now.Add(time.Minute)
			data := test.data(s, proxy, miners[0])
			s.now = s.now.Add(time.Minute)
			before := s.c.counters.Refused[test.kind]
			s.step(Message{AgentID: test.agent, ExecutorID: proxy, Data: data})
			if n := len(s.calls(scheduler.Call_MESSAGE)); n != 0 {
				t.Errorf("it is answered %d times", n)
			}
			if got := s.c.counters.Refused[test.kind] - before; got != 1 {
				t.Errorf("counted %d times as %s: %v", got, test.kind, s.c.counters.Refused)
			}
		})
	}
}

func TestAMillionForgedMessagesAreAFewLinesOfTheLog(t *testing.T) {
	s := newScript(t)
	proxy, _ := s.mining("S1")
	lines := 0
	data := plain(t, proxy, 1, s.helloMessage())
	for i := range 20000 {
		s.now = s.now.Add(time.Millisecond)
		executor := proxy
		if i%2 == 0 {
			executor = fmt.Sprintf("proxy-0-%d", i)
		}
		s.step(Message{AgentID: "S0", ExecutorID: executor, Data: data})
		lines += count[Notice](s)
	}
	if lines > 4 {
		t.Errorf("%d lines", lines)
	}
	if n := len(s.c.retired) + len(s.c.complaints) + len(s.c.blocks); n > 10 {
		t.Errorf("%d entries are kept", n)
	}
}

func TestWrongDigestGetsNothing(t *testing.T) {
	s := newScript(t)
	proxy := s.launchOne("S0")
	s.update(proxy, mesos.TASK_RUNNING)
	m := s.helloMessage()
	m.GetHello().ExecutorDigest = "another"
	s.say(proxy, m)
	if len(s.calls(scheduler.Call_MESSAGE)) != 0 || s.c.counters.Refused["digest"] != 1 {
		t.Errorf("%v, refused %v", s.actions, s.c.counters.Refused)
	}
}

func TestSecretsGoToTheFirstKeyAlone(t *testing.T) {
	s := newScript(t)
	proxy := s.launchOne("S0")
	s.update(proxy, mesos.TASK_RUNNING)
	s.hello(proxy, true)
	if n := len(s.calls(scheduler.Call_MESSAGE)); n != 1 {
		t.Fatalf("%d answers", n)
	}
	s.now = s.now.Add(time.Minute)
	s.key = nil // somebody who holds the launch's key makes one of his own
	s.hello(proxy, true)
	if len(s.calls(scheduler.Call_MESSAGE)) != 0 || s.c.counters.Refused["key"] != 1 {
		t.Errorf("%v, refused %v", s.actions, s.c.counters.Refused)
	}
	s.restart()
	s.hello(proxy, true)
	if len(s.calls(scheduler.Call_MESSAGE)) != 0 || s.c.counters.Refused["key"] != 1 {
		t.Errorf("after a restart: %v, refused %v", s.actions, s.c.counters.Refused)
	}
}

// restart is a scheduler that goes on from what is on disk.
func (s *script) restart() {
	s.t.Helper()
	b, err := s.c.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	state, err := DecodeState(b)
	if err != nil {
		s.t.Fatal(err)
	}
	s.now = s.now.Add(time.Minute)
	set := s.c.set
	if s.c, err = New(set, state); err != nil {
		s.t.Fatal(err)
	}
	s.step(Subscribed{FrameworkID: "F", Master: "m:5050"})
	if count[Persist](s) != 1 {
		s.t.Error("the new session is not stored before anything is sent")
	}
	s.ends = nil
	for id := range maps.Clone(s.c.state.Tasks) {
		s.update(id, mesos.TASK_RUNNING)
	}
}

func TestMessagesOfBeforeARestartAreNotTakenAgain(t *testing.T) {
	s := newScript(t)
	proxy, _ := s.mining("S1")
	old := s.seal(proxy, s.helloMessage())
	end := s.end(proxy)
	s.restart()
	s.step(Message{AgentID: "S0", ExecutorID: proxy, Data: old})
	if s.c.counters.Refused["session"] != 1 {
		t.Errorf("refused %v", s.c.counters.Refused)
	}
	// Its executor learns of the new session, and is heard from then on.
	sent := s.calls(scheduler.Call_MESSAGE)
	if len(sent) != 1 {
		t.Fatalf("%d answers", len(sent))
	}
	if m, err := end.OpenToExecutor(sent[0].Message.Data); err != nil || m.GetWelcome() == nil {
		t.Fatalf("%v, %v", m, err)
	}
	s.step(Message{AgentID: "S0", ExecutorID: proxy, Data: old})
	if len(s.calls(scheduler.Call_MESSAGE)) != 0 {
		t.Error("each repetition is answered")
	}
	s.ends = map[string]*message.Sealer{proxy: end}
	s.now = s.now.Add(time.Minute)
	s.hello(proxy, true)
	if len(s.calls(scheduler.Call_MESSAGE)) != 1 {
		t.Errorf("refused %v", s.c.counters.Refused)
	}
}

// Executors of version 1 go on as they are, but get no secrets.
func TestExecutorsOfVersion1(t *testing.T) {
	s := newScript(t)
	proxy, miners := s.mining("S1")
	for _, task := range s.c.state.Tasks {
		task.Version = 0 // as a state of before has it
		task.run.peer = nil
	}
	miner := miners[0]
	report := &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Sequence: 9, Detail: &message.Report_Miner{Miner: &message.MinerReport{Hashrate: 77}},
	}}}
	s.step(Message{AgentID: "S1", ExecutorID: miner, Data: plain(t, miner, 1, report)})
	for _, v := range everything(s.c, s.now).Tasks {
		if v.ID == miner && (v.Report.Hashrate != 77 || v.Verified) {
			t.Errorf("hashrate %g, verified %v", v.Report.Hashrate, v.Verified)
		}
	}
	s.update(proxy, mesos.TASK_FAILED) // the list changes
	sent := s.calls(scheduler.Call_MESSAGE)
	if len(sent) != 1 {
		t.Fatalf("%d messages", len(sent))
	}
	if m, err := message.DecodeToExecutor(sent[0].Message.Data); err != nil || m.Version != 1 || m.GetProxies() == nil {
		t.Errorf("the miner is told %v, %v", m, err)
	}
	s = newScript(t)
	proxy, _ = s.mining()
	s.c.state.Tasks[proxy].Version, s.c.state.Tasks[proxy].run.peer = 1, nil
	s.now = s.now.Add(time.Minute)
	s.step(Message{AgentID: "S0", ExecutorID: proxy, Data: plain(t, proxy, 1, s.helloMessage())})
	if len(s.calls(scheduler.Call_MESSAGE)) != 0 || len(s.calls(scheduler.Call_KILL)) != 1 {
		t.Errorf("secrets for a proxy of version 1: %v", s.actions)
	}
}

func blockMessage(data []byte) *message.ToScheduler {
	return &message.ToScheduler{Event: &message.ToScheduler_Block{Block: &message.Block{
		Block: &message.BlockState{Height: 3, Hash: hashOf(data), State: "submitted"}, Parts: 1, Data: data,
	}}}
}

// What a block must be to get to the disk, even of a proxy that has its key.
func TestBlocksThatAreRefused(t *testing.T) {
	good := testBlock(1, 200, easyBits)
	change := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	idle := testBlock(1, 200, easyBits)
	for h := hashOf(idle); h[31] <= 0x7f; h = hashOf(idle) {
		idle[76]++
	}
	hard := bytes.Clone(good)
	// Two inputs: with a script of 200 KB, and with one that is to have 4 MB.
	long := slices.Concat([]byte{2, 0, 0, 0, 2}, make([]byte, 36), []byte{0xfe, 0x40, 0x0d, 3, 0}, make([]byte, 200_000+4), make([]byte, 36), []byte{0xfe, 0, 9, 0x3d, 0}, make([]byte, 8))
	copy(hard[72:], []byte{0xff, 0xff, 0, 0x1d})
	for _, test := range []struct {
		name  string
		chain *Chain
		data  []byte
		want  string // "": taken
	}{
		{"as it should be", nil, good, ""},
		{"without work", nil, idle, "own bits"},
		{"claims work that it has not", nil, hard, "own bits"},
		{"bits of nothing", nil, append(append(bytes.Clone(good[:72]), 0, 0, 0, 0), good[76:]...), "bits"},
		{"easier than the chain", &Chain{Bits: 0x1d00ffff}, good, "easier"},
		{"on a network that takes such blocks", &Chain{Bits: 0x1d00ffff, Easy: true}, good, ""},
		{"a little easier than the chain", &Chain{Bits: 0x201fffff}, good, ""},
		{"another transaction", nil, change(len(good) - 1), "commit"},
		{"something behind it", nil, append(bytes.Clone(good), 0), "follow"},
		{"cut", nil, good[:len(good)-1], "read"},
		{"scripts longer than there is data", nil, slices.Concat(good[:80], []byte{1}, long), "read"},
		{"no transactions", nil, append(bytes.Clone(good[:80]), 0), "transactions"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			proxy, _ := s.mining()
			if test.chain != nil {
				s.step(*test.chain)
			}
			s.say(proxy, blockMessage(test.data))
			stored := count[StoreBlock](s)
			switch {
			case test.want == "" && stored != 1:
				t.Errorf("not stored: %v", s.actions)
			case test.want != "" && (stored != 0 || s.c.counters.Refused["block"] != 1 || len(s.c.state.Blocks) != 0):
				t.Errorf("stored %d, refused %v", stored, s.c.counters.Refused)
			case test.want != "" && !strings.Contains(fmt.Sprint(s.actions), test.want):
				t.Errorf("%v, expected that they tell %q", s.actions, test.want)
			}
		})
	}
}

func TestBlocksOfTasksThatAreNoProxies(t *testing.T) {
	s := newScript(t)
	proxy, miners := s.mining("S1")
	block := testBlock(1, 200, easyBits)
	for name, from := range map[string]string{"a miner": miners[0], "nobody": "proxy-0-999"} {
		s.say(from, blockMessage(block))
		if count[StoreBlock](s) != 0 {
			t.Errorf("a block of %s is stored", name)
		}
	}
	s.update(proxy, mesos.TASK_FAILED)
	s.say(proxy, blockMessage(block)) // found in its last moment
	if count[StoreBlock](s) != 1 {
		t.Fatalf("the block of a proxy that has just ended is refused: %v", s.actions)
	}
	s.step(Stored{Hash: fmt.Sprintf("%x", reversed(hashOf(block)))})
	if len(s.calls(scheduler.Call_MESSAGE)) != 1 {
		t.Error("no receipt")
	}
	s.restart()
	s.say(proxy, blockMessage(testBlock(2, 200, easyBits)))
	if count[StoreBlock](s) != 1 {
		t.Errorf("after a restart: %v", s.actions)
	}
	s.step(Stored{Hash: s.c.state.Blocks[1].Hash})
	s.now = s.now.Add(retiredLife)
	s.pass(2 * time.Second)
	s.say(proxy, blockMessage(testBlock(3, 200, easyBits)))
	if count[StoreBlock](s) != 0 {
		t.Error("a proxy that ended long ago still finds blocks")
	}
}

// A proxy in wrong hands sends blocks without end: what is stored is bounded, and
// a block with more work takes the place of the others.
func TestFloodOfBlocks(t *testing.T) {
	s := newScript(t)
	proxy, _ := s.mining()
	disk := make(map[string]int)
	send := func(data []byte) bool {
		s.say(proxy, blockMessage(data))
		var stored []Event
		for _, a := range s.actions {
			switch a := a.(type) {
			case StoreBlock:
				disk[a.Hash] = len(a.Data)
				stored = append(stored, Stored{Hash: a.Hash})
			case DropBlock:
				delete(disk, a.Hash)
			}
		}
		for _, e := range stored {
			s.step(e)
		}
		return len(stored) == 1
	}
	for i := range uint64(2 * mostStored) {
		send(testBlock(i, 200, easyBits))
	}
	if len(disk) != mostStored {
		t.Errorf("%d blocks are stored", len(disk))
	}
	real := testBlock(1e6, 200, 0x1f7fffff)
	if !send(real) || len(disk) != mostStored {
		t.Errorf("a block with more work is not stored; %d are", len(disk))
	}
	if name := fmt.Sprintf("%x", reversed(hashOf(real))); disk[name] == 0 {
		t.Error("it was deleted")
	}
	if n := len(s.c.state.Blocks); n > mostBlocks+1 {
		t.Errorf("%d blocks are remembered", n)
	}
}

// A full disk ends nothing: the proxy hears nothing and sends again.
func TestBlockOnAFullDisk(t *testing.T) {
	s := newScript(t)
	proxy, _ := s.mining()
	block := testBlock(1, 200, easyBits)
	hash := fmt.Sprintf("%x", reversed(hashOf(block)))
	for range 3 {
		s.say(proxy, blockMessage(block))
		if count[StoreBlock](s) != 1 {
			t.Fatalf("%v", s.actions)
		}
		s.step(Stored{Hash: hash, Err: "no space left on device"})
		if len(s.calls(scheduler.Call_MESSAGE)) != 0 || count[Stop](s) != 0 {
			t.Fatalf("%v", s.actions)
		}
		if p := s.c.Snapshot(s.now).Problems; len(p) != 1 || !strings.Contains(p[0].Text, "no space left") {
			t.Errorf("problems %v", p)
		}
	}
	s.say(proxy, blockMessage(block))
	s.step(Stored{Hash: hash})
	if len(s.calls(scheduler.Call_MESSAGE)) != 1 || len(s.c.Snapshot(s.now).Problems) != 0 {
		t.Errorf("after there is room: %v", s.actions)
	}
}

func TestInvalidBlockIsDropped(t *testing.T) {
	s := newScript(t)
	proxy, _ := s.mining()
	block := testBlock(1, 200, easyBits)
	hash := fmt.Sprintf("%x", reversed(hashOf(block)))
	s.say(proxy, blockMessage(block))
	s.step(Stored{Hash: hash})
	s.pass(submitPatience + 2*time.Second)
	s.step(Submitted{Hash: hash, Invalid: true, Err: "bad-cb-amount"})
	if count[DropBlock](s) != 1 {
		t.Errorf("%v", s.actions)
	}
	if b := s.c.Snapshot(s.now).Blocks[0]; b.State != "orphaned" || b.Stored || b.Error != "bad-cb-amount" {
		t.Errorf("%+v", b)
	}
}

func TestRotationOfTheWorkerKey(t *testing.T) {
	s := newScript(t)
	proxy, miners := s.mining("S1", "S2")
	s.hello(proxy, true)
	secrets := s.opened(s.calls(scheduler.Call_MESSAGE)[0]).GetSecrets()
	old := secrets.WorkerKey
	s.now = s.now.Add(time.Minute)
	s.step(RotateKeys{Key: bytes.Repeat([]byte{9}, 32)})
	sent := s.calls(scheduler.Call_MESSAGE)
	if len(sent) != 1 || count[Persist](s) != 1 {
		t.Fatalf("%v", s.actions)
	}
	secrets = s.opened(sent[0]).GetSecrets()
	if bytes.Equal(secrets.WorkerKey, old) || len(secrets.FormerKeys) != 1 || !bytes.Equal(secrets.FormerKeys[0], old) || secrets.Epoch != 2 {
		t.Fatalf("secrets %v", secrets)
	}
	report := func(epoch uint64) {
		s.say(proxy, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
			Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true, SecretsEpoch: epoch}},
		}}})
	}
	report(1) // the message was lost
	s.pass(5 * time.Second)
	if n := len(s.calls(scheduler.Call_MESSAGE)); n == 0 {
		t.Error("the keys are not sent again")
	}
	report(2)
	// Miners are replaced one after the other; then the former key is void.
	for range 2 {
		s.pass(5 * time.Second) // until the one before has reported
		var killed string
		for _, id := range miners {
			if task := s.c.state.Tasks[id]; task != nil && task.Kill != "" {
				killed = id
			}
		}
		if killed == "" {
			t.Fatal("no miner is replaced")
		}
		agent := s.c.state.Tasks[killed].AgentID
		s.update(killed, mesos.TASK_KILLED)
		m := s.launchOne(agent)
		task, err := message.DecodeTask(s.launched()[0].Data)
		if err != nil || task.GetMiner().Password != message.WorkerPassword(bytes.Repeat([]byte{9}, 32), m) {
			t.Errorf("password of the new miner: %v", err)
		}
		s.update(m, mesos.TASK_RUNNING)
		report(2)
	}
	s.pass(10 * time.Second)
	if len(s.c.state.FormerKeys) != 0 {
		t.Fatal("the former key is still good")
	}
	var last *message.Secrets
	for _, c := range s.calls(scheduler.Call_MESSAGE) {
		if got := s.opened(c).GetSecrets(); got != nil {
			last = got
		}
	}
	if last == nil || len(last.FormerKeys) != 0 || last.Epoch != 3 {
		t.Errorf("the proxy is told %v", last)
	}
	s.step(RotateKeys{Key: bytes.Repeat([]byte{8}, 32), Revoke: true})
	if len(s.c.state.FormerKeys) != 0 || s.c.state.Tasks[proxy].Kill == "" {
		t.Error("a revoked key is still good, or its proxy")
	}
}

// A report that was overtaken changes nothing: what a newer one said of a block was
// acknowledged, and is not said again.
func TestOvertakenReport(t *testing.T) {
	s := newScript(t)
	proxy, _ := s.mining()
	hash := hashOf(testBlock(1, 200, easyBits))
	report := func(sequence uint64, state string) []byte {
		return s.seal(proxy, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
			Sequence: sequence, UptimeMs: 1000 * sequence, Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{
				Ready: true, Blocks: []*message.BlockState{{Height: 5, Hash: hash, State: state}},
			}},
		}}})
	}
	first, second := report(7, "confirmed"), report(8, "orphaned")
	agent := s.c.state.Tasks[proxy].AgentID
	s.step(Message{AgentID: agent, ExecutorID: proxy, Data: second})
	s.step(Message{AgentID: agent, ExecutorID: proxy, Data: first})
	if blocks := s.c.Snapshot(s.now).Blocks; len(blocks) != 1 || blocks[0].State != "orphaned" {
		t.Errorf("%+v", blocks)
	}
	if sent := s.calls(scheduler.Call_MESSAGE); len(sent) != 0 {
		t.Errorf("it is acknowledged: %v", sent)
	}
}

// However many blocks change their state, each is acknowledged once it is stored.
func TestStatesOfBlocksAreAcknowledged(t *testing.T) {
	s := newScript(t)
	proxy, _ := s.mining()
	var blocks []*message.BlockState
	for i := range uint64(50) {
		blocks = append(blocks, &message.BlockState{Height: 5, Hash: hashOf(testBlock(i, 200, easyBits)), State: "orphaned"})
	}
	s.say(proxy, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true, Blocks: blocks}},
	}}})
	sent := s.calls(scheduler.Call_MESSAGE)
	if len(sent) != 1 || count[Persist](s) != 1 {
		t.Fatalf("%v", s.actions)
	}
	if got := s.opened(sent[0]).GetBlockStates().GetBlocks(); len(got) != 50 || got[49].State != "orphaned" {
		t.Errorf("acknowledged: %v", got)
	}
	for _, b := range s.c.Snapshot(s.now).Blocks {
		if b.State != "orphaned" {
			t.Errorf("%+v", b)
		}
	}
}
