package executor

import (
	"bytes"
	"errors"
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

const nodePassword = "s3cret-of-the-node"

func secrets() *message.ToExecutor {
	return &message.ToExecutor{Event: &message.ToExecutor_Secrets{Secrets: &message.Secrets{
		Upstreams: map[string]*message.Credentials{"node:http://127.0.0.1:18556": {User: "rpc", Password: nodePassword}},
		WorkerKey: []byte("key"),
	}}}
}

// startProxy brings a proxy task up to its running pool.
func startProxy(t *testing.T, w *world) *fakePool {
	w.start()
	ctx := t.Context()
	w.Next(ctx)
	w.Launch(taskInfo(t, "proxy-1", proxySpec(), scalar("cpus", 1), portRange(31005, 31006)))
	w.NextState(ctx, mesos.TASK_STARTING)
	w.NextState(ctx, mesos.TASK_RUNNING)
	w.tell(secrets())
	return <-w.pools
}

func TestLifeOfAProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		ctx := t.Context()
		w.Next(ctx)
		w.Launch(taskInfo(t, "proxy-1", proxySpec(), scalar("cpus", 1), portRange(31005, 31006)))
		w.NextState(ctx, mesos.TASK_STARTING)
		w.NextState(ctx, mesos.TASK_RUNNING)
		// Messages may be lost: it asks until it has what it needs.
		asked, reported := 0, false
		for began := time.Now(); time.Since(began) < 20*time.Second; {
			m := w.nextMessage(ctx)
			if h := m.GetHello(); h != nil {
				if !h.NeedSecrets || h.ExecutorDigest != ownDigest {
					t.Errorf("hello %v", h)
				}
				asked++
			}
			if p := m.GetReport().GetProxy(); p != nil {
				reported = true
				if p.Ready || p.Stratum != "" || !strings.Contains(p.Error, "secrets") {
					t.Errorf("report before the secrets: %v", p)
				}
			}
		}
		if asked < 5 || !reported {
			t.Errorf("asked %d times in 20 s, reported: %v", asked, reported)
		}
		w.tell(secrets())
		w.tell(secrets())
		p := <-w.pools
		c := p.config
		if c.Listen != ":31005" || c.HTTPListen != ":31006" || c.Shard != 3 || !strings.HasPrefix(c.StateDir, w.options.Config.Sandbox+"/") ||
			len(c.Upstreams) != 1 || c.Upstreams[0].User != "rpc" || c.Upstreams[0].Password != nodePassword {
			t.Errorf("pool %+v", c)
		}
		if err := c.Authorize("a.b", message.WorkerPassword([]byte("key"), "a.b")); err != nil {
			t.Error(err)
		}
		if err := c.Authorize("a.b", message.WorkerPassword([]byte("key"), "a.b")+",d=16"); err != nil {
			t.Error(err)
		}
		if c.Authorize("a.c", message.WorkerPassword([]byte("key"), "a.b")) == nil || c.Authorize("a.b", "") == nil {
			t.Error("a wrong password is accepted")
		}
		hash := chainhash.DoubleHashH([]byte("block"))
		p.mu.Lock()
		p.status = pool.Status{
			Ready: true, Listen: "[::]:31005", HTTP: "[::]:31006", Upstream: "node:http://127.0.0.1:18556", Height: 7, Connections: 2, Hashrate: 1e6,
			Shares: pool.Shares{Accepted: 5, Rejected: 1, Stale: 2, Difficulty: 2.5}, LastError: "last time with " + nodePassword,
			Blocks: []pool.Block{{Height: 6, Hash: hash.String(), State: pool.BlockConfirmed, Finder: "w", Confirmations: 1}},
		}
		p.mu.Unlock()
		synctest.Wait() // a report of before may be on its way
		w.Forget()
		r := w.nextReport(ctx)
		got := r.GetProxy()
		if !got.Ready || got.Stratum != "proxy.example:31005" || got.Http != "proxy.example:31006" || got.Height != 7 ||
			got.Connections != 2 || got.Hashrate != 1e6 || r.Shares.Accepted != 5 || r.Shares.Difficulty != 2.5 {
			t.Errorf("report %v", r)
		}
		if len(got.Blocks) != 1 || !bytes.Equal(got.Blocks[0].Hash, hash[:]) || got.Blocks[0].State != "confirmed" {
			t.Errorf("blocks %v", got.Blocks)
		}
		if strings.Contains(got.Error, nodePassword) {
			t.Errorf("the password is in the report: %q", got.Error)
		}
		for len(w.pools) > 0 {
			t.Error("a second pool was started")
			<-w.pools
		}
		w.Kill("proxy-1", -1)
		w.NextState(ctx, mesos.TASK_KILLED)
		w.end(nil)
	})
}

func TestProxyThatCannotStart(t *testing.T) {
	tests := []struct {
		name   string
		change func(*world)
		tell   *message.ToExecutor
		text   string
	}{
		{"refused configuration", func(w *world) {
			w.options.NewProxy = func(pool.Config) (pool.Runner, error) {
				return nil, errors.New("payout address SXXX is not of mainnet; password " + nodePassword)
			}
		}, secrets(), "payout address SXXX is not of mainnet"},
		{"taken port", func(w *world) {
			w.options.NewProxy = func(pool.Config) (pool.Runner, error) {
				return &fakePool{err: errors.New("listen tcp :31005: address already in use")}, nil
			}
		}, secrets(), "address already in use"},
		{"no key", func(*world) {}, &message.ToExecutor{Event: &message.ToExecutor_Secrets{Secrets: &message.Secrets{}}}, "no key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				test.change(w)
				w.start()
				w.Next(t.Context())
				w.Launch(taskInfo(t, "proxy-1", proxySpec(), scalar("cpus", 1), portRange(31005, 31006)))
				w.NextState(t.Context(), mesos.TASK_STARTING)
				w.NextState(t.Context(), mesos.TASK_RUNNING)
				w.tell(test.tell)
				s := w.NextState(t.Context(), mesos.TASK_FAILED)
				if !strings.Contains(s.GetMessage(), test.text) || strings.Contains(s.GetMessage(), nodePassword) {
					t.Errorf("message %q, expected %q without secrets", s.GetMessage(), test.text)
				}
				w.end(nil)
				if strings.Contains(w.logText.String(), nodePassword) {
					t.Errorf("the password is in the log:\n%s", w.logText)
				}
			})
		})
	}
}

// A block goes to the scheduler in parts, again and again until it has it.
func TestBlocksReachTheScheduler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := startProxy(t, w)
		ctx := t.Context()
		raw := bytes.Repeat([]byte("0123456789abcdef"), message.BlockPartSize/16*5/2) // 2.5 parts
		hash := chainhash.DoubleHashH(raw)
		p.config.OnBlock(pool.Block{Height: 9, Hash: hash.String(), State: pool.BlockSubmitted, Finder: "w", Raw: raw})
		p.config.OnBlock(pool.Block{Height: 9, Hash: hash.String(), State: pool.BlockConfirmed, Finder: "w"})

		receive := func() []byte {
			parts := map[uint32][]byte{}
			for {
				b := w.nextMessage(ctx).GetBlock()
				if b == nil {
					continue
				}
				if !bytes.Equal(b.Block.Hash, hash[:]) || b.Block.Height != 9 {
					t.Errorf("block %v", b.Block)
				}
				parts[b.Part] = b.Data
				if len(parts) == int(b.Parts) {
					var whole []byte
					for i := range b.Parts {
						whole = append(whole, parts[i]...)
					}
					return whole
				}
			}
		}
		for range 3 {
			if !bytes.Equal(receive(), raw) {
				t.Error("the parts are not the block")
			}
		}
		w.tell(&message.ToExecutor{Event: &message.ToExecutor_BlockReceived{BlockReceived: &message.BlockReceived{Hash: hash[:]}}})
		synctest.Wait()
		w.Forget()
		p.config.OnBlock(pool.Block{Height: 9, Hash: hash.String(), State: pool.BlockConfirmed, Raw: raw}) // replayed
		for began := time.Now(); time.Since(began) < 10*time.Minute; {
			if w.nextMessage(ctx).GetBlock() != nil {
				t.Fatal("the block is sent although the scheduler has it")
			}
		}
		w.Kill("proxy-1", -1)
		w.end(nil)
	})
}

func TestBlockSurvivesAnAgentRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := startProxy(t, w)
		w.Down(true)
		raw := []byte("a small block")
		p.config.OnBlock(pool.Block{Height: 9, Hash: chainhash.DoubleHashH(raw).String(), State: pool.BlockSubmitted, Raw: raw})
		time.Sleep(time.Minute)
		w.Forget()
		w.Down(false)
		for {
			if b := w.nextMessage(t.Context()).GetBlock(); b != nil {
				if string(b.Data) != string(raw) {
					t.Errorf("%v", b)
				}
				break
			}
		}
		w.Kill("proxy-1", -1)
		w.NextOf(t.Context(), mesosexec.Call_UPDATE)
		w.end(nil)
	})
}
