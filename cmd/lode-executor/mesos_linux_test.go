package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos"
	"lode/devmesos/agent"
	"lode/executor"
	"lode/message"
	"lode/stratum"
)

// mesosCluster is the embedded Mesos with a framework and a pool.
type mesosCluster struct {
	*framework
	agent *devmesos.Agent
	pool  string // address
}

func startMesos(t *testing.T, checkpoint bool, change func(*devmesos.Config)) *mesosCluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	cfg := devmesos.Config{Timing: devmesos.Timing{
		Allocation: 50 * time.Millisecond,
		Agent:      agent.Timing{RegistrationBackoff: 50 * time.Millisecond, ExecutorReregistration: 2 * time.Second},
	}}
	if testing.Verbose() {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if change != nil {
		change(&cfg)
	}
	cluster, err := devmesos.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return &mesosCluster{
		framework: subscribe(t, ctx, cluster.MasterURL(), checkpoint),
		agent:     cluster.Agents()[0], pool: servePool(t),
	}
}

// easyPool is a stratum.Handler with one easy job that takes every share.
type easyPool struct{ stratum.Handler }

func (easyPool) Connected(*stratum.Conn) error { return nil }
func (easyPool) Subscribe(*stratum.Conn, string) (stratum.Subscription, error) {
	return stratum.Subscription{SessionID: "s", Extranonce1: []byte{1, 2, 3, 4}, Extranonce2Size: 8}, nil
}
func (easyPool) Authorize(*stratum.Conn, string, string) error { return nil }
func (easyPool) Authorized(c *stratum.Conn) {
	c.SetDifficulty(1e-4)
	c.Notify(stratum.EncodeJob(&stratum.Job{
		ID: "1", Coinbase1: []byte("one"), Coinbase2: []byte("two"), Version: 0x20000000, Bits: 0x1d00ffff,
		Time: uint32(time.Now().Unix()), Clean: true,
	}))
}
func (easyPool) Submit(*stratum.Conn, *stratum.Share) error { return nil }
func (easyPool) Disconnected(*stratum.Conn, error)          {}

func servePool(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := stratum.NewServer(stratum.ServerOptions{}, easyPool{})
	var group sync.WaitGroup
	group.Go(func() {
		if err := server.Serve(context.Background(), l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		server.Close()
		group.Wait()
	})
	return l.Addr().String()
}

// mine launches a miner whose executor is fetched by URI: this program.
func (c *mesosCluster) mine(task string) {
	c.t.Helper()
	digest, err := executor.SelfDigest()
	if err != nil {
		c.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	yes, no := true, false
	value, one, output := "./lode-executor", "1", "lode-executor"
	c.launch(task, &message.Task{
		Version: message.Version, ExecutorDigest: digest, ReportIntervalMs: 500,
		Kind: &message.Task_Miner{Miner: &message.MinerTask{
			User: "user", Password: "password-of-the-miner", Proxies: &message.Proxies{Epoch: 1, Addresses: []string{c.pool}},
		}},
	}, &mesos.CommandInfo{
		Shell: &no, Value: &value, Arguments: []string{"lode-executor"},
		URIs:        []mesos.CommandInfo_URI{{Value: self, Executable: &yes, Extract: &no, OutputFile: &output}},
		Environment: &mesos.Environment{Variables: []mesos.Environment_Variable{{Name: processVariable, Value: &one}}},
	})
	c.state(task, mesos.TASK_RUNNING)
}

func hashing(r *message.Report) bool {
	return r.GetMiner().GetState() == "mining" && r.GetMiner().GetHashrate() > 0 && r.Shares.GetAccepted() > 0
}

func TestMesosMineAndKill(t *testing.T) {
	c := startMesos(t, true, func(cfg *devmesos.Config) {
		cfg.Agents = []devmesos.AgentConfig{{AuthenticateExecutors: true}}
	})
	c.mine("m1")
	r := c.report(hashing)
	if m := r.GetMiner(); m.Threads != 1 || m.Proxy != c.pool || m.Kernel == "" || m.Error != "" || r.Shares.Rejected != 0 {
		t.Errorf("report %v", r)
	}
	c.kill("m1", 10*time.Second)
	c.state("m1", mesos.TASK_KILLING)
	c.state("m1", mesos.TASK_KILLED)
	if status := c.failure("e-m1"); status != 0 {
		t.Errorf("the executor ended with wait status %d", status)
	}
}

func TestMesosShutdown(t *testing.T) {
	c := startMesos(t, true, nil)
	c.mine("m1")
	c.report(anyReport)
	id, _ := c.agent.ID()
	c.call(&scheduler.Call{Type: scheduler.Call_SHUTDOWN, Shutdown: &scheduler.Call_Shutdown{
		ExecutorID: mesos.ExecutorID{Value: "e-m1"}, AgentID: id,
	}})
	c.state("m1", mesos.TASK_KILLED)
	if status := c.failure("e-m1"); status != 0 {
		t.Errorf("the executor ended with wait status %d", status)
	}
}

func TestMesosAgentRestart(t *testing.T) {
	c := startMesos(t, true, nil)
	c.mine("m1")
	before := c.report(hashing)
	if err := c.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // longer than the agent will wait for its executors
	if err := c.agent.Restart(); err != nil {
		t.Fatal(err)
	}
	after := c.report(func(r *message.Report) bool { return r.UptimeMs > before.UptimeMs+3000 })
	if after.GetMiner().Hashes <= before.GetMiner().Hashes {
		t.Errorf("%d hashes before the restart, %d after it: it did not go on", before.GetMiner().Hashes, after.GetMiner().Hashes)
	}
	c.kill("m1", 10*time.Second)
	c.state("m1", mesos.TASK_KILLED)
}

func TestMesosAgentRestartWithoutCheckpoint(t *testing.T) {
	c := startMesos(t, false, nil)
	c.mine("m1")
	c.report(anyReport)
	if err := c.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	c.state("m1", mesos.TASK_LOST)
	waitForNoProcess(t, c.ctx)
}

// waitForNoProcess waits until no executor of this test runs: it is found by the
// variable in its environment.
func waitForNoProcess(t *testing.T, ctx context.Context) {
	t.Helper()
	for executors(t) > 0 {
		select {
		case <-ctx.Done():
			t.Fatal("the executor lives on without its agent")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func executors(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("no /proc here: ", err)
	}
	for _, e := range entries {
		environ, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err == nil && strings.Contains(string(environ), processVariable+"=1") && strings.Contains(string(environ), "MESOS_EXECUTOR_ID=e-m1") {
			n++
		}
	}
	return n
}

func TestMesosExecutorKilled(t *testing.T) {
	c := startMesos(t, true, nil)
	c.mine("m1")
	c.report(anyReport)
	if !c.agent.SignalExecutor(c.id, mesos.ExecutorID{Value: "e-m1"}, syscall.SIGKILL) {
		t.Fatal("no executor to kill")
	}
	s := c.state("m1", mesos.TASK_FAILED)
	if s.GetReason() != mesos.REASON_EXECUTOR_TERMINATED {
		t.Errorf("%v", s)
	}
}

func TestMesosBrokenStreams(t *testing.T) {
	c := startMesos(t, true, nil)
	c.mine("m1")
	c.report(anyReport)
	if !c.agent.BreakExecutorStream(c.id, mesos.ExecutorID{Value: "e-m1"}) {
		t.Fatal("no stream to break")
	}
	c.agent.DropMessages(2, 0)
	c.report(anyReport)
	// Framework messages and kills go through the new stream.
	data, err := c.ends["e-m1"].Seal(&message.ToExecutor{Version: message.Version, Event: &message.ToExecutor_Proxies{Proxies: &message.Proxies{Epoch: 1 << 40}}})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := c.agent.ID()
	c.call(&scheduler.Call{Type: scheduler.Call_MESSAGE, Message: &scheduler.Call_Message{
		AgentID: id, ExecutorID: mesos.ExecutorID{Value: "e-m1"}, Data: data,
	}})
	c.report(func(r *message.Report) bool { return r.GetMiner().ProxiesEpoch == 1<<40 })
	c.kill("m1", 10*time.Second)
	c.state("m1", mesos.TASK_KILLED)
}
