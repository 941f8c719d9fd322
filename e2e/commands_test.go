package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"lode/devnode"
	"lode/miner"
)

// devResult is the shape that other programs rely on, written down here again on
// purpose: it must not follow a change of the types.
type devResult struct {
	FrameworkID string `json:"framework_id"`
	Master      string `json:"master"`
	Hashrate    float64
	Tasks       []struct {
		ID, Kind, State string
		AgentID         string `json:"agent_id"`
		Hostname        string
		ExecutorDigest  string `json:"executor_digest"`
		Hashrate        float64
		Threads         int
		Kernel          string
		Shares          *struct{ Accepted, Rejected, Stale *uint64 }
	}
	Blocks []struct {
		Height              int64
		Hash, State, Finder string
	}
	ElapsedSeconds float64 `json:"elapsed_seconds"`
}

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

func TestDevMinesBlocks(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), lode(), "dev", "--blocks=3", "--json", "--min-block-interval=500ms")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("lode dev: %v\n%s", err, &stderr)
	}
	var result devResult
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		t.Fatalf("%v in:\n%s", err, &stdout)
	}
	if result.FrameworkID == "" || result.Master == "" || result.ElapsedSeconds <= 0 {
		t.Errorf("got framework %q, master %q, %g s", result.FrameworkID, result.Master, result.ElapsedSeconds)
	}
	kinds := map[string]int{}
	for _, task := range result.Tasks {
		if task.State == "TASK_STAGING" || task.State == "TASK_STARTING" || task.Kind == "miner" && task.Threads == 0 {
			continue // others found the blocks before it said what it does
		}
		kinds[task.Kind]++
		if task.State != "TASK_RUNNING" || task.AgentID == "" || task.Hostname == "" || !digestForm.MatchString(task.ExecutorDigest) {
			t.Errorf("task %+v: want it running, with agent, host and digest", task)
		}
		if task.Shares == nil || task.Shares.Accepted == nil || task.Shares.Rejected == nil || task.Shares.Stale == nil {
			t.Errorf("task %s: a counter of shares is missing", task.ID)
		}
		if task.Kind == "miner" && task.Kernel == "" {
			t.Errorf("miner %s: got %d threads with no kernel", task.ID, task.Threads)
		}
	}
	if kinds["proxy"] != 1 || kinds["miner"] == 0 || result.Hashrate <= 0 {
		t.Errorf("got %v and %g H/s, want one proxy, miners and a hashrate", kinds, result.Hashrate)
	}
	n := 0
	for _, b := range result.Blocks {
		if b.State == "confirmed" {
			n++
		}
		if b.Height <= 0 || !digestForm.MatchString(b.Hash) || b.Finder == "" {
			t.Errorf("block %+v: want height, hash and finder", b)
		}
		if !strings.Contains(stderr.String(), b.Hash) {
			t.Errorf("block %s was not shown on standard error", b.Hash)
		}
	}
	if n < 3 {
		t.Errorf("got %d confirmed blocks, want at least 3", n)
	}
	nothingLeft(t, tmp)
}

func TestDevEndsWithInterrupt(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	tmp := t.TempDir()
	dev := start(t, []string{"TMPDIR=" + tmp}, lode(), "dev", "--min-block-interval=500ms")
	eventually(t, "a block is confirmed", func() bool { return strings.Contains(dev.output(), "confirmed") }, dev.output)
	dev.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-dev.done:
	case <-time.After(patience):
		t.Fatalf("lode dev did not end within %v of Ctrl-C", patience)
	}
	if code := dev.cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("lode dev after Ctrl-C: exit code %d (%v), want 130", code, dev.err)
	}
	nothingLeft(t, tmp)
}

// nothingLeft checks that no process runs from below dir, or has it in its
// arguments, and that dir is empty.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("left behind: %s", e.Name())
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		exe, _ := os.Readlink(filepath.Join(p, "exe"))
		cmdline, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if strings.HasPrefix(exe, dir) || bytes.Contains(cmdline, []byte(dir)) {
			t.Errorf("left running: %s", bytes.ReplaceAll(cmdline, []byte{0}, []byte(" ")))
		}
	}
}

// The path of people who only want to mine: lode proxy on a node, lode mine on the
// proxy.
func TestProxyAndMine(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	node, err := devnode.Start(t.Context(), devnode.Config{Binary: filepath.Join(bin, "btcd")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Stop() })
	ca := filepath.Join(t.TempDir(), "rpc.cert")
	write(t, ca, string(node.CA))
	address := freeAddress(t)
	start(t, []string{"LODE_NODE_PASSWORD=" + node.Password}, lode(), "proxy",
		"--listen="+address, "--upstream=node:"+node.URL, "--node-user="+node.User, "--node-ca="+ca,
		"--payout-address="+devnode.DefaultMiningAddress, "--state-dir="+t.TempDir(), "--min-block-interval=300ms")
	miner := start(t, nil, lode(), "mine", "--pool=stratum+tcp://"+address, "--user=worker.1", "--threads=1")
	eventually(t, "the node has three blocks", func() bool {
		height, err := node.Height(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return height >= 3
	}, miner.output)
}

// Each kernel of this machine finds shares that the proxy accepts and a block that
// btcd confirms.
func TestEachKernelMinesABlock(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	node, err := devnode.Start(t.Context(), devnode.Config{Binary: filepath.Join(bin, "btcd"), PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Stop() })
	address := freeAddress(t)
	start(t, []string{"LODE_NODE_PASSWORD=" + node.Password}, lode(), "proxy",
		"--listen="+address, "--upstream=node:"+node.URL, "--node-user="+node.User,
		"--payout-address="+devnode.DefaultMiningAddress, "--state-dir="+t.TempDir(), "--min-block-interval=100ms")
	for _, kernel := range miner.Kernels() {
		t.Run(kernel.Name, func(t *testing.T) {
			if kernel.Missing != "" {
				t.Skipf("this machine cannot run %s: %s", kernel.Name, kernel.Missing)
			}
			before, err := node.Height(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m := start(t, nil, lode(), "mine", "--pool=stratum+tcp://"+address, "--user=worker."+kernel.Name,
				"--threads=1", "--kernel="+kernel.Name)
			eventually(t, "the node has another block", func() bool {
				height, err := node.Height(t.Context())
				return err == nil && height > before
			}, m.output)
			m.stop(t)
		})
	}
}
