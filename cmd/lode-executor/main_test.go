package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesosexec "github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/executor"
	"lode/executor/fakeagent"
	"lode/message"
)

// processVariable makes the test binary be lode-executor.
const processVariable = "LODE_TEST_BE_EXECUTOR"

func TestMain(m *testing.M) {
	if os.Getenv(processVariable) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

const token = "header.claims-of-the-token.signature"

// process is lode-executor as an agent starts it.
type process struct {
	*fakeagent.Agent
	t      *testing.T
	cmd    *exec.Cmd
	stderr *lockedBuffer
	ctx    context.Context
	env    []string
	exited chan error
	sealer *message.Sealer // the scheduler's end of the link
}

// launchKey is the key of every launch here.
var launchKey = bytes.Repeat([]byte{7}, message.KeySize)

// newProcess prepares a process for an agent at endpoint.
func newProcess(t *testing.T, endpoint string) *process {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	dir := t.TempDir()
	return &process{Agent: fakeagent.New(t), t: t, ctx: ctx, stderr: new(lockedBuffer), exited: make(chan error, 1), env: []string{
		processVariable + "=1",
		"MESOS_AGENT_ENDPOINT=" + endpoint, "MESOS_CHECKPOINT=1", "MESOS_DIRECTORY=" + dir, "MESOS_SANDBOX=" + dir,
		"MESOS_EXECUTOR_ID=executor-1", "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5secs", "MESOS_FRAMEWORK_ID=framework-1",
		"MESOS_HTTP_COMMAND_EXECUTOR=0", "MESOS_RECOVERY_TIMEOUT=15mins", "MESOS_SLAVE_ID=agent-S0",
		"MESOS_SLAVE_PID=slave(1)@" + endpoint, "MESOS_SUBSCRIPTION_BACKOFF_MAX=2secs", "LIBPROCESS_PORT=0",
		"MESOS_EXECUTOR_AUTHENTICATION_TOKEN=" + token, "PATH=/usr/bin:/bin",
	}}
}

// startProcess starts an executor at a fake agent over plain HTTP.
func startProcess(t *testing.T) *process {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newProcess(t, l.Addr().String())
	p.serve(l)
	p.start()
	return p
}

func (p *process) serve(l net.Listener) (server *httptest.Server) {
	server = &httptest.Server{Listener: l, Config: &http.Server{Handler: p.Agent}}
	server.Start()
	p.t.Cleanup(func() {
		p.Break()
		server.Close()
	})
	return server
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env, p.cmd.Dir, p.cmd.Stderr = p.env, strings.TrimPrefix(p.env[3], "MESOS_DIRECTORY="), p.stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if p.t.Failed() {
			p.t.Logf("log of the executor:\n%s", p.stderr)
		}
	})
}

// wait expects the process to end with a code.
func (p *process) wait(code int) {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-p.ctx.Done():
		p.t.Fatal("the executor does not end")
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, expected %d", got, code)
	}
}

func (p *process) launch(id string, spec *message.Task, resources ...mesos.Resource) {
	p.t.Helper()
	digest, err := executor.SelfDigest()
	if err != nil {
		p.t.Fatal(err)
	}
	spec.Version, spec.ExecutorDigest, spec.ReportIntervalMs = message.Version, digest, 300
	spec.Link = &message.Link{Key: launchKey, Session: 1}
	p.sealer = message.SchedulerEnd(launchKey, 1)
	data, err := message.Encode(spec)
	if err != nil {
		p.t.Fatal(err)
	}
	p.Launch(mesos.TaskInfo{
		Name: id, TaskID: mesos.TaskID{Value: id}, AgentID: mesos.AgentID{Value: "agent-S0"}, Data: data, Resources: resources,
	})
}

func cpus(v float64) mesos.Resource {
	kind := mesos.SCALAR
	return mesos.Resource{Name: "cpus", Type: &kind, Scalar: &mesos.Value_Scalar{Value: v}}
}

func miner() *message.Task {
	// Nobody listens on port 1: the miner has threads, and idles.
	return &message.Task{Kind: &message.Task_Miner{Miner: &message.MinerTask{
		User: "u", Password: "miner-token", Proxies: &message.Proxies{Epoch: 1, Addresses: []string{"127.0.0.1:1"}},
	}}}
}

// running launches a miner and waits for its first report.
func (p *process) running() *message.Report {
	p.t.Helper()
	p.NextOf(p.ctx, mesosexec.Call_SUBSCRIBE)
	p.launch("miner-1", miner(), cpus(1))
	p.NextState(p.ctx, mesos.TASK_STARTING)
	p.NextState(p.ctx, mesos.TASK_RUNNING)
	for {
		if r := p.said().GetReport(); r != nil {
			return r
		}
	}
}

// said is the next message of the executor.
func (p *process) said() *message.ToScheduler {
	p.t.Helper()
	m, err := p.sealer.OpenToScheduler(p.NextOf(p.ctx, mesosexec.Call_MESSAGE).Message.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

func TestKill(t *testing.T) {
	p := startProcess(t)
	report := p.running()
	if m := report.GetMiner(); m.GetThreads() != 1 || m.GetKernel() == "" || m.State != "idle" || m.Error == "" {
		t.Errorf("report %v", report)
	}
	p.Kill("miner-1", int64(10*time.Second))
	p.NextState(p.ctx, mesos.TASK_KILLED)
	p.wait(0)
	for _, h := range p.Headers() {
		if h.Get("Authorization") != "Bearer "+token {
			t.Errorf("Authorization %q", h.Get("Authorization"))
		}
	}
	if strings.Contains(p.stderr.String(), "claims-of-the-token") || strings.Contains(p.stderr.String(), "miner-token") {
		t.Error("a secret is in the log")
	}
}

func TestNothingSecretInProc(t *testing.T) {
	p := startProcess(t)
	p.running()
	for _, file := range []string{"environ", "cmdline"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
		if err != nil {
			t.Skip("no /proc here: ", err)
		}
		if bytes.Contains(data, []byte("claims-of-the-token")) || bytes.Contains(data, []byte("miner-token")) {
			t.Errorf("a secret is in /proc/…/%s", file)
		}
	}
	p.Kill("miner-1", 0)
	p.wait(0)
}

// Hashing threads are at niceness 19, the others, which hear of new jobs, are not.
func TestNiceness(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("niceness of threads is looked up in Linux' /proc")
	}
	p := startProcess(t)
	p.running()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		t.Fatal("no threads in /proc: ", err)
	}
	nice := map[string]int{}
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		nice[fields[16]]++ // field 19 of proc_pid_stat(5)
	}
	if nice["19"] < 1 || len(nice) < 2 {
		t.Errorf("threads by niceness: %v", nice)
	}
	p.Kill("miner-1", 0)
	p.wait(0)
}

func TestShutdown(t *testing.T) {
	p := startProcess(t)
	p.running()
	p.Shutdown()
	p.NextState(p.ctx, mesos.TASK_KILLED)
	p.wait(0)
}

func TestSIGTERM(t *testing.T) {
	p := startProcess(t)
	p.running()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if s := p.NextState(p.ctx, mesos.TASK_FAILED); !strings.Contains(s.GetMessage(), "signal terminated") {
		t.Errorf("message %q", s.GetMessage())
	}
	p.wait(0)
}

func TestAgentRestart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	p := newProcess(t, addr)
	server := p.serve(l)
	p.start()
	p.running()
	p.Break()
	server.CloseClientConnections()
	server.Config.Close()
	time.Sleep(500 * time.Millisecond) // the agent is down; how long matters to nothing
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Skip("the port was taken by somebody else meanwhile: ", err)
	}
	p.Forget()
	p.serve(l)
	p.NextOf(p.ctx, mesosexec.Call_SUBSCRIBE)
	p.NextOf(p.ctx, mesosexec.Call_MESSAGE)
	p.Kill("miner-1", -1)
	p.NextState(p.ctx, mesos.TASK_KILLED)
	p.wait(0)
}

func TestWithoutCheckpointTheExecutorEndsWithItsAgent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newProcess(t, l.Addr().String())
	p.env = append(p.env, "MESOS_CHECKPOINT=0")
	server := p.serve(l)
	p.start()
	p.running()
	p.Break()
	server.CloseClientConnections()
	p.wait(1)
	if !strings.Contains(p.stderr.String(), "does not checkpoint") {
		t.Error("the log does not say why")
	}
}

func TestDomainSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip("no unix socket at this path: ", err)
	}
	p := newProcess(t, "127.0.0.1:1")
	p.env = append(p.env, "MESOS_DOMAIN_SOCKET="+path)
	p.serve(l)
	p.start()
	p.running()
	p.Kill("miner-1", -1)
	p.wait(0)
}

func TestTLS(t *testing.T) {
	for _, test := range []struct {
		name    string
		env     []string
		trusted bool
	}{
		{"not verified", nil, true},
		{"verified", []string{"LIBPROCESS_SSL_VERIFY_SERVER_CERT=true", "CA"}, true},
		{"unknown authority", []string{"LIBPROCESS_SSL_VERIFY_CERT=1", "LIBPROCESS_SSL_CA_FILE="}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProcess(t, "")
			server := httptest.NewUnstartedServer(p.Agent)
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			t.Cleanup(func() {
				p.Break()
				server.Close()
			})
			p.env[1] = "MESOS_AGENT_ENDPOINT=" + server.Listener.Addr().String()
			p.env = append(p.env, "LIBPROCESS_SSL_ENABLED=1", "MESOS_RECOVERY_TIMEOUT=500ms")
			for _, e := range test.env {
				if e == "CA" {
					file := filepath.Join(t.TempDir(), "ca.pem")
					block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
					if err := os.WriteFile(file, block, 0o600); err != nil {
						t.Fatal(err)
					}
					e = "LIBPROCESS_SSL_CA_FILE=" + file
				}
				p.env = append(p.env, e)
			}
			p.start()
			if !test.trusted {
				p.wait(1)
				if !strings.Contains(p.stderr.String(), "certificate of the agent") {
					t.Error("the log does not say why")
				}
				return
			}
			p.running()
			p.Kill("miner-1", -1)
			p.wait(0)
		})
	}
}

func TestTakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := uint32(taken.Addr().(*net.TCPAddr).Port)
	p := startProcess(t)
	p.NextOf(p.ctx, mesosexec.Call_SUBSCRIBE)
	const upstream = "node:http://127.0.0.1:1"
	p.launch("proxy-1", &message.Task{Kind: &message.Task_Proxy{Proxy: &message.ProxyTask{
		StratumPort: port, Upstreams: []string{upstream}, AdvertiseHost: "127.0.0.1", PayoutAddress: "SMPL7pCX7q6pEkTyoipdVgHvk9tE5D6XNW",
	}}}, cpus(1))
	p.NextState(p.ctx, mesos.TASK_STARTING)
	p.NextState(p.ctx, mesos.TASK_RUNNING)
	var key []byte
	for key == nil {
		key = p.said().GetHello().GetPublicKey()
	}
	sealed, err := message.SealSecrets(key, "proxy-1", &message.Secrets{
		WorkerKey: []byte("key"), Upstreams: map[string]*message.Credentials{upstream: {User: "u", Password: "node-password"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.sealer.Seal(&message.ToExecutor{Version: message.Version, Event: &message.ToExecutor_SealedSecrets{SealedSecrets: sealed}})
	if err != nil {
		t.Fatal(err)
	}
	p.Message(data)
	s := p.NextState(p.ctx, mesos.TASK_FAILED)
	if !strings.Contains(s.GetMessage(), fmt.Sprint(port)) || !strings.Contains(s.GetMessage(), "taken") {
		t.Errorf("message %q", s.GetMessage())
	}
	p.wait(0)
	if strings.Contains(p.stderr.String(), "node-password") {
		t.Error("the node's password is in the log")
	}
}

func TestNotStartedByMesos(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		env  []string
		text string
	}{
		{"no environment", nil, nil, "this program is a Mesos executor"},
		{"argument", []string{"--pool"}, nil, "without arguments"},
		{"bad endpoint", nil, []string{"MESOS_FRAMEWORK_ID=f", "MESOS_EXECUTOR_ID=e", "MESOS_DIRECTORY=/", "MESOS_AGENT_ENDPOINT=a b"}, "MESOS_AGENT_ENDPOINT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], test.args...)
			cmd.Env = append(test.env, processVariable+"=1")
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.text) {
				t.Errorf("%v: %s", err, out)
			}
			if test.env == nil && (cmd.ProcessState.ExitCode() != 2 || bytes.Count(out, []byte("\n")) != 1) {
				t.Errorf("exit code %d, output %q", cmd.ProcessState.ExitCode(), out)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"--version"}, &out, &out); code != 0 || !strings.HasPrefix(out.String(), "lode-executor ") {
		t.Errorf("code %d: %q", code, out.String())
	}
}
