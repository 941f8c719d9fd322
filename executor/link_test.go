package executor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesosexec "github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/message"
	"lode/pool"
)

func evilList() *message.ToExecutor {
	return &message.ToExecutor{Version: message.Version, Event: &message.ToExecutor_Proxies{Proxies: &message.Proxies{
		Epoch: 1 << 40, Addresses: []string{"203.0.113.9:3333"},
	}}}
}

// Who can reach the agent can send messages in the scheduler's name: none of them
// makes a miner work for somebody else.
func TestMessagesInTheSchedulersNameAreIgnored(t *testing.T) {
	seal := func(end *message.Sealer, m *message.ToExecutor) []byte {
		b, err := end.Seal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := func(version uint32) []byte {
		m := evilList()
		m.Version = version
		b, err := message.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, data := range map[string][]byte{
		"version 1":              plain(1),
		"without an envelope":    plain(message.Version),
		"another key":            seal(message.SchedulerEnd(make([]byte, 32), firstSession), evilList()),
		"an older session":       seal(message.SchedulerEnd(launchKey, firstSession-1), evilList()),
		"a later session forged": seal(message.SchedulerEnd(make([]byte, 32), firstSession+1), evilList()),
		"garbage":                []byte("\xff\xff"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.mining("miner-1")
				for range 1000 {
					w.Message(data)
				}
				synctest.Wait()
				w.Forget()
				if p := w.nextReport(t.Context()).GetMiner(); p.Proxy != "10.0.0.1:3333" || p.ProxiesEpoch != 1 {
					t.Errorf("it works for %s now", p.Proxy)
				}
				if n := strings.Count(w.logText.String(), "name ignored"); n != 1 {
					t.Errorf("%d lines in the log", n)
				}
				w.Kill("miner-1", -1)
				w.NextState(t.Context(), mesos.TASK_KILLED)
				w.end(nil)
			})
		})
	}
}

func TestRepeatedMessageIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mining("miner-1")
		list := func(epoch uint64, address string) []byte {
			b, err := w.scheduler().Seal(&message.ToExecutor{Version: message.Version, Event: &message.ToExecutor_Proxies{
				Proxies: &message.Proxies{Epoch: epoch, Addresses: []string{address}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		first := list(2, "a:1")
		w.Message(first)
		w.Message(first)
		synctest.Wait()
		if n := strings.Count(w.logText.String(), "received before"); n != 1 {
			t.Errorf("%d complaints", n)
		}
		w.Kill("miner-1", -1)
		w.NextState(t.Context(), mesos.TASK_KILLED)
		w.end(nil)
	})
}

// A scheduler that was restarted takes nothing of its old session: the executor says
// Hello again in the new one.
func TestExecutorFollowsTheSchedulersSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mining("miner-1")
		w.sealer = message.SchedulerEnd(launchKey, firstSession+1)
		w.tell(&message.ToExecutor{Event: &message.ToExecutor_Welcome{Welcome: &message.Welcome{}}})
		synctest.Wait()
		w.Forget()
		w.tell(&message.ToExecutor{Event: &message.ToExecutor_Welcome{Welcome: &message.Welcome{}}})
		w.nextReport(t.Context()) // sealed in the new session, or it cannot be opened
		w.Kill("miner-1", -1)
		w.NextState(t.Context(), mesos.TASK_KILLED)
		w.end(nil)
	})
}

func TestLaunchWithoutAKeyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.Next(t.Context())
		spec := minerSpec()
		spec.Version, spec.Link = message.Version, &message.Link{Key: []byte("short")}
		w.Launch(taskInfo(t, "x", spec))
		if s := w.NextState(t.Context(), mesos.TASK_ERROR); !strings.Contains(s.GetMessage(), "key of 5 bytes") {
			t.Errorf("%q", s.GetMessage())
		}
		w.end(nil)
	})
}

func TestSecretsInTheClearAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		ctx := t.Context()
		w.Next(ctx)
		w.Launch(taskInfo(t, "proxy-1", proxySpec(), scalar("cpus", 1), portRange(31005, 31006)))
		w.NextState(ctx, mesos.TASK_STARTING)
		w.NextState(ctx, mesos.TASK_RUNNING)
		m := secrets()
		m.Version = message.Version
		data, err := w.scheduler().Seal(m)
		if err != nil {
			t.Fatal(err)
		}
		w.Message(data)
		synctest.Wait()
		if len(w.pools) != 0 {
			t.Error("a pool was started")
		}
		w.Kill("proxy-1", -1)
		w.NextState(ctx, mesos.TASK_KILLED)
		w.end(nil)
	})
}

// A launch by a scheduler of version 1 is spoken to as it was then.
func TestLaunchOfVersion1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		ctx := t.Context()
		w.Next(ctx)
		spec := proxySpec()
		spec.Version = 1
		w.Launch(taskInfo(t, "proxy-1", spec, scalar("cpus", 1), portRange(31005, 31006)))
		w.NextState(ctx, mesos.TASK_STARTING)
		w.NextState(ctx, mesos.TASK_RUNNING)
		m := secrets()
		m.Version = 1
		data, err := message.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		w.Message(data)
		<-w.pools
		call := w.NextOf(ctx, mesosexec.Call_MESSAGE)
		if got, err := message.DecodeToScheduler(call.Message.Data); err != nil || got.Version != 1 || got.TaskId != "proxy-1" {
			t.Errorf("%v, %v", got, err)
		}
		w.Kill("proxy-1", -1)
		w.NextState(ctx, mesos.TASK_KILLED)
		w.end(nil)
	})
}

// Fifty blocks that change their state at once are all told, and told again until
// the scheduler has said that it knows.
func TestEveryStateOfABlockIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const blocks = 150
		w := newWorld(t)
		p := startProxy(t, w)
		ctx := t.Context()
		set := func(state pool.BlockState, confirmations int) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.status.Ready, p.status.Blocks = true, nil
			for i := range byte(blocks) {
				p.status.Blocks = append(p.status.Blocks, pool.Block{
					Height: 9, Hash: chainhash.Hash{i}.String(), State: state, Confirmations: confirmations,
				})
			}
		}
		told := map[string]string{}
		gather := func(answer bool) {
			r := w.nextReport(ctx).GetProxy()
			if len(r.Blocks) > 64 {
				t.Errorf("%d blocks in a report", len(r.Blocks))
			}
			for _, b := range r.Blocks {
				told[string(b.Hash)] = b.State
			}
			if answer && len(r.Blocks) > 0 {
				w.tell(&message.ToExecutor{Event: &message.ToExecutor_BlockStates{BlockStates: &message.BlockStates{Blocks: r.Blocks}}})
			}
		}
		all := func(state string) bool {
			for _, s := range told {
				if s != state {
					return false
				}
			}
			return len(told) == blocks
		}
		set(pool.BlockSubmitted, 0)
		for range 20 {
			gather(true)
		}
		if !all("submitted") {
			t.Fatalf("%d blocks told", len(told))
		}
		set(pool.BlockOrphaned, 0)
		for range 5 {
			gather(false) // answers are lost
		}
		for range 20 {
			gather(true)
		}
		if !all("orphaned") {
			t.Error("not every block is told to be orphaned")
		}
		time.Sleep(time.Minute)
		w.Forget()
		if r := w.nextReport(ctx).GetProxy(); len(r.Blocks) != 0 {
			t.Errorf("%d blocks are told that the scheduler knows", len(r.Blocks))
		}
		// A scheduler that was restarted is told all again: what it had may be gone.
		w.sealer = message.SchedulerEnd(launchKey, firstSession+1)
		w.tell(&message.ToExecutor{Event: &message.ToExecutor_Welcome{Welcome: &message.Welcome{}}})
		synctest.Wait()
		w.Forget()
		clear(told)
		for range 20 {
			gather(true)
		}
		if !all("orphaned") {
			t.Errorf("a new session is told %d blocks", len(told))
		}
		w.Kill("proxy-1", -1)
		w.NextState(ctx, mesos.TASK_KILLED)
		w.end(nil)
	})
}
