// Package e2e tests all of Lode together: the embedded Mesos with real executor
// processes, a real btcd, and the commands as their users run them.
package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lode/devmesos"
	"lode/devnode"
	"lode/internal/freeport"
	"lode/scheduler/api"
)

// patience bounds every wait of these tests. It is long because machines are slow
// and shared; nothing here measures time.
const patience = 3 * time.Minute

// worlds counts calls of worldPorts.
var worlds atomic.Int32

// bin is where TestMain built the commands.
var bin string

func TestMain(m *testing.M) {
	devmesos.LauncherMain() // this program is the parent of executors, too
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "lode-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	bin = dir
	build := exec.Command("go", "build", "-o", dir, "lode/cmd/lode", "lode/cmd/lode-executor", "github.com/btcsuite/btcd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the commands: %w\n%s", err, out)
	}
	return m.Run(), nil
}

func lode() string     { return filepath.Join(bin, "lode") }
func executor() string { return filepath.Join(bin, "lode-executor") }

// process is a command that runs beside the test.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid after done

	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// start runs a command; it is stopped at the end of the test, and its output shown
// if the test failed.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	return startCommand(t, cmd)
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("output of %s:\n%s", strings.Join(p.cmd.Args, " "), p.output())
		}
	})
	return p
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop ends the process as Ctrl-C would.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if !p.running() {
		return
	}
	p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Errorf("%s ignored SIGINT for 30 s", p.cmd.Path)
		p.kill()
	}
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// world is a cluster with its node and a scheduler process.
type world struct {
	t         *testing.T
	node      *devnode.Node
	mesos     *devmesos.Cluster
	scheduler *process
	stateDir  string
	workDir   string
	url       string // of the scheduler's API
	args      []string
}

type options struct {
	agents    int
	resources string
	timing    devmesos.Timing
	flags     []string
	change    func(*devmesos.Config) // of the cluster; nil: it stays
	payout    string                 // address; "": a good one
	state     string                 // of the scheduler; "": a folder
	password  string                 // of the node; "": the right one
	executor  string                 // file; "": the one that was built
}

// newWorld starts node and Mesos, and a scheduler that mines with them.
func newWorld(t *testing.T, o options) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	t.Parallel()
	if o.agents == 0 {
		o.agents = 2
	}
	if o.payout == "" {
		o.payout = devnode.DefaultMiningAddress
	}
	if o.executor == "" {
		o.executor = executor()
	}
	if o.resources == "" {
		o.resources = "cpus:1.5;mem:1024;disk:1024"
	}
	w := &world{t: t, stateDir: filepath.Join(t.TempDir(), "scheduler"), workDir: filepath.Join(t.TempDir(), "mesos")}
	var err error
	w.node, err = devnode.Start(t.Context(), devnode.Config{Dir: filepath.Join(t.TempDir(), "btcd"), Binary: filepath.Join(bin, "btcd")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.node.Stop() })

	ports := worldPorts()
	var agents []devmesos.AgentConfig
	for i := range o.agents {
		agents = append(agents, devmesos.AgentConfig{
			Hostname:  fmt.Sprintf("127.0.0.%d", i+1),
			Resources: fmt.Sprintf("%s;ports:[%d-%d]", o.resources, ports+100*i, ports+100*i+99),
		})
	}
	mesosLog := &process{}
	config := devmesos.Config{
		WorkDir: w.workDir, Agents: agents, Timing: o.timing, Launcher: "/proc/self/exe",
		Logger: slog.New(slog.NewTextHandler(mesosLog, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if o.change != nil {
		o.change(&config)
	}
	w.mesos, err = devmesos.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.mesos.Close()
		if t.Failed() {
			t.Logf("log of Mesos:\n%s", lastLines(mesosLog.output(), 200))
			w.logSandboxes()
		}
	})

	ca := filepath.Join(t.TempDir(), "rpc.cert")
	password := filepath.Join(t.TempDir(), "password")
	write(t, ca, string(w.node.CA))
	if o.password == "" {
		o.password = w.node.Password
	}
	write(t, password, o.password+"\n")
	w.url = "http://" + freeAddress(t)
	w.args = append([]string{
		"scheduler",
		"--log-level=debug",
		"--master=" + w.mesos.MasterURL(),
		"--node=" + w.node.URL, "--node-user=" + w.node.User, "--node-password-file=" + password, "--node-ca=" + ca,
		"--payout-address=" + o.payout,
		"--state=" + cmp.Or(o.state, w.stateDir),
		"--listen=" + strings.TrimPrefix(w.url, "http://"),
		"--executor=" + o.executor,
		"--min-block-interval=500ms",
		"--report-interval=500ms",
	}, o.flags...)
	w.startScheduler()
	return w
}

// worldPorts is the first of a hundred ports for each of six agents. Worlds run side by side
// on one machine, so each has ports of its own. They are above those of freeport, and below
// those of lode dev (31000) and of outgoing connections (32768): a proxy that finds its port
// taken fails, and another one is launched elsewhere.
func worldPorts() int { return 20000 + 600*int(worlds.Add(1)%18) }

func (w *world) startScheduler() {
	w.t.Helper()
	w.scheduler = start(w.t, nil, lode(), w.args...)
}

// status asks the scheduler; an error is an empty status.
func (w *world) status() api.Status {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var status api.Status
	getJSON(ctx, w.url+"/api/v1/status", &status)
	return status
}

// until waits until a condition of the status holds.
func (w *world) until(what string, ok func(api.Status) bool) api.Status {
	w.t.Helper()
	var status api.Status
	eventually(w.t, what, func() bool {
		status = w.status()
		return ok(status)
	}, func() string {
		b, _ := json.MarshalIndent(status, "", "  ")
		return string(b)
	})
	return status
}

func eventually(t *testing.T, what string, ok func() bool, explain func() string) {
	t.Helper()
	eventuallyWithin(t, patience, what, ok, explain)
}

func eventuallyWithin(t *testing.T, limit time.Duration, what string, ok func() bool, explain func() string) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain until %s; now:\n%s", limit, what, explain())
		}
	}
}

// mining waits until a proxy and all miners run and report that they hash, which are at
// least so many: where a proxy has moved away, its agent may have a second one.
func (w *world) mining(miners int) api.Status {
	w.t.Helper()
	return w.until(fmt.Sprintf("a proxy and at least %d miners work", miners), func(s api.Status) bool {
		working := 0
		for _, m := range tasks(s, "miner") {
			if m.State == "TASK_RUNNING" && m.Hashrate > 0 && m.Miner != nil && m.Miner.State == "mining" {
				working++
			}
		}
		proxies := tasks(s, "proxy")
		return working >= miners && working == len(tasks(s, "miner")) && len(proxies) == 1 && proxies[0].Proxy != nil && proxies[0].Proxy.Ready
	})
}

// moreBlocks waits until n more blocks are confirmed, and checks that the node has
// every confirmed block in its main chain.
func (w *world) moreBlocks(n int) {
	w.t.Helper()
	have := len(w.status().Confirmed())
	s := w.until(fmt.Sprintf("%d more blocks than %d are confirmed", n, have), func(s api.Status) bool {
		return len(s.Confirmed()) >= have+n
	})
	w.checkChain(s)
}

func (w *world) checkChain(s api.Status) {
	w.t.Helper()
	for _, b := range s.Confirmed() {
		hash, err := w.node.BlockHash(w.t.Context(), b.Height)
		if err != nil {
			w.t.Fatal(err)
		}
		if hash != b.Hash {
			w.t.Errorf("block %d: the scheduler says %s is confirmed, the node has %s", b.Height, b.Hash, hash)
		}
	}
}

// noOrphans waits until Mesos and the scheduler agree on what runs, and until there
// is one executor process for each task.
func (w *world) noOrphans() {
	w.t.Helper()
	var inMesos, inScheduler []string
	var processes []int
	eventually(w.t, "Mesos, the scheduler and the process table agree on what runs", func() bool {
		inMesos, inScheduler = w.mesosTasks(), nil
		for _, task := range w.status().Tasks {
			inScheduler = append(inScheduler, task.ID)
		}
		slices.Sort(inMesos)
		slices.Sort(inScheduler)
		processes = w.executors()
		return len(inMesos) > 0 && slices.Equal(inMesos, inScheduler) && len(processes) == len(inMesos)
	}, func() string {
		return fmt.Sprintf("Mesos: %v\nscheduler: %v\nexecutor processes: %v", inMesos, inScheduler, processes)
	})
}

// mesosTasks are the ids of tasks that the master's /state shows as not ended.
func (w *world) mesosTasks() []string {
	var state struct {
		Frameworks []struct {
			Tasks []struct{ ID, State string }
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := getJSON(ctx, w.mesos.MasterURL()+"/state", &state); err != nil {
		return nil
	}
	var ids []string
	for _, f := range state.Frameworks {
		for _, task := range f.Tasks {
			ids = append(ids, task.ID)
		}
	}
	return ids
}

// executors are the pids of executor processes whose sandbox is in this world.
func (w *world) executors() []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		var pid int
		if n, _ := fmt.Sscanf(e.Name(), "%d", &pid); n != 1 {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err == nil && strings.HasPrefix(exe, w.workDir) && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// executorOf is the pid of a task's executor.
func (w *world) executorOf(task string) int {
	w.t.Helper()
	for _, pid := range w.executors() {
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		for _, v := range strings.Split(string(environ), "\x00") {
			if id, ok := strings.CutPrefix(v, "MESOS_EXECUTOR_ID="); ok && strings.Contains(id, task) {
				return pid
			}
		}
	}
	w.t.Fatalf("no executor process of task %s", task)
	return 0
}

// logSandboxes shows what the executors wrote.
func (w *world) logSandboxes() {
	filepath.WalkDir(w.workDir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() == "stderr" && !strings.Contains(path, "/latest/") {
			b, _ := os.ReadFile(path)
			w.t.Logf("%s:\n%s", path, lastLines(string(b), 40))
		}
		return nil
	})
}

func tasks(s api.Status, kind string) []api.Task {
	return slices.DeleteFunc(slices.Clone(s.Tasks), func(t api.Task) bool { return t.Kind != kind })
}

func ids(tasks []api.Task) []string {
	var ids []string
	for _, t := range tasks {
		ids = append(ids, t.ID)
	}
	slices.Sort(ids)
	return ids
}

func getJSON(ctx context.Context, url string, v any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return json.Unmarshal(body, v)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ports, err := freeport.On("127.0.0.1", 1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", ports[0])
}
