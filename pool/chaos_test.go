package pool_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"go.uber.org/goleak"

	"lode/devnode"
	"lode/pool"
)

// The environment variable that makes this test program a proxy, to be killed, and
// the one that sets how many blocks TestChaos finds.
const (
	childVariable  = "LODE_TEST_PROXY"
	blocksVariable = "LODE_TEST_CHAOS_BLOCKS"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// restart starts a killed node again. Its ports may have gone to somebody's outgoing
// connection meanwhile, which ends in time.
func restart(t testing.TB, n *devnode.Node) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		err := n.Restart(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

type childConfig struct {
	StateDir  string
	Upstreams []pool.Upstream
}

// child runs a proxy in a process of its own. It ends when its standard input does,
// so that it cannot outlive the test.
func child(text string) error {
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	p, err := pool.New(easy(pool.Config{
		Listen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", StateDir: c.StateDir, PayoutAddress: devnode.DefaultMiningAddress,
		Upstreams: c.Upstreams,
	}))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	go func() {
		for ctx.Err() == nil {
			if s := p.Status(); s.Listen != "" && s.HTTP != "" && s.Ready {
				fmt.Println(s.Listen, s.HTTP)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return p.Run(ctx)
}

// process is a proxy in a process of its own.
type process struct {
	cmd          *exec.Cmd
	stdin        io.Closer
	listen, http string
}

func startProcess(t *testing.T, config childConfig) *process {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, stdin: stdin}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the proxy's process said %q: %v", line, err)
	}
	if _, err := fmt.Sscan(line, &p.listen, &p.http); err != nil {
		t.Fatal(err)
	}
	return p
}

// kill ends it at once, as SIGKILL does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
}

type foundBlock struct {
	Height int64
	Hash   string
	State  string
}

func (p *process) blocks() ([]foundBlock, error) {
	response, err := http.Get("http://" + p.http + "/api/v1/blocks")
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var list []foundBlock
	return list, json.NewDecoder(response.Body).Decode(&list)
}

// TestChaos finds blocks while proxy and nodes are killed at random, most of all in
// the moment of a block. Every block that a miner was told to be accepted must end in
// the chain, or be proven orphaned.
func TestChaos(t *testing.T) {
	blocks := 20
	if text := os.Getenv(blocksVariable); text != "" {
		var err error
		if blocks, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d; %s sets the number of blocks", seed, blocksVariable)
	r := rand.New(rand.NewPCG(seed, 1))
	first := startBtcd(t, devnode.Config{Dir: t.TempDir()})
	second := startBtcd(t, devnode.Config{Dir: t.TempDir(), Connect: []string{first.P2P}})
	nodes := []*devnode.Node{first, second}
	config := childConfig{StateDir: t.TempDir(), Upstreams: []pool.Upstream{nodeUpstream(first), nodeUpstream(second)}}
	p := startProcess(t, config)
	var m *miner
	connect := func() {
		m = dial(t, p.listen)
		if err := m.login("rig", ""); err != nil {
			t.Fatal(err)
		}
	}
	connect()
	accepted := map[string]bool{}
	kills := map[string]int{}
	mined := map[chainhash.Hash]bool{}
	down := -1 // node that is down
	for found := 0; found < blocks; {
		// One time in ten a rival of a block that is found already.
		rival := r.IntN(10) == 0
		j, err := m.job(func(j *minerJob) bool { return rival || !mined[j.PrevBlock] })
		if err != nil {
			t.Fatal(err)
		}
		mined[j.PrevBlock] = true
		s := m.solve(j, 0)
		hash := s.hash.String()
		switch what := r.IntN(10); {
		case what == 0: // the proxy is killed in the moment of the block
			kills["proxy"]++
			if _, err := m.send("mining.submit", s.params("rig")...); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
			p.kill()
			p = startProcess(t, config)
			connect()
			clear(mined) // whether the block was journalled is open
			continue
		case what == 1 && down < 0: // a node is
			down = r.IntN(2)
			kills["node"]++
			killed := make(chan error, 1)
			go func() {
				time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
				killed <- nodes[down].Kill()
			}()
			err = m.submit(s)
			if err := <-killed; err != nil {
				t.Fatal(err)
			}
		case what == 2 && down >= 0:
			restart(t, nodes[down])
			down = -1
			err = m.submit(s)
		default:
			err = m.submit(s)
		}
		if err == nil {
			accepted[hash] = true
			found++
		} else if codeOf(err) == 0 {
			t.Fatal(err)
		}
	}
	if down >= 0 {
		restart(t, nodes[down])
	}
	t.Logf("%d blocks accepted, killed: %v", len(accepted), kills)

	// Both nodes must agree in the end, and some blocks of theirs decide rivalries.
	var list []foundBlock
	deadline := time.Now().Add(2 * time.Minute)
	for open := -1; open != 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d blocks are still open: %+v", open, list)
		}
		var err error
		if list, err = p.blocks(); err != nil {
			t.Fatal(err)
		}
		open = 0
		for _, b := range list {
			if b.State == "submitted" {
				open++
			}
		}
		if open > 0 {
			_, _ = first.Generate(t.Context(), 1)
		}
	}
	eventually(t, "both nodes have the same chain", func() bool { return sameChain(t, nodes[0], nodes[1]) })
	// The last reorganisation may have changed what is confirmed and what is not.
	known := map[string]foundBlock{}
	orphans := 0
	eventually(t, "the proxy says of each block what the chain says", func() bool {
		var err error
		if list, err = p.blocks(); err != nil {
			t.Fatal(err)
		}
		orphans = 0
		for _, b := range list {
			known[b.Hash] = b
			main, err := first.BlockHash(t.Context(), b.Height)
			if err != nil || (b.State == "confirmed") != (main == b.Hash) {
				return false
			}
			if b.State == "orphaned" {
				orphans++
			}
		}
		return true
	})
	for hash := range accepted {
		if _, ok := known[hash]; !ok {
			t.Errorf("block %s was accepted and is lost", hash)
		}
	}
	t.Logf("%d blocks in the journal, %d of them orphaned", len(list), orphans)
}

// sameChain reports whether two nodes have the same best block. A node that was
// restarted gets the other's blocks when they have found each other again; rivals of
// equal work are decided by one more block.
func sameChain(t *testing.T, a, b *devnode.Node) bool {
	t.Helper()
	tip := func(n *devnode.Node) (int64, string) {
		height, err := n.Height(t.Context())
		if err != nil {
			return -1, ""
		}
		hash, err := n.BlockHash(t.Context(), height)
		if err != nil {
			return -1, ""
		}
		return height, hash
	}
	heightA, tipA := tip(a)
	heightB, tipB := tip(b)
	if heightA == heightB && heightA >= 0 && tipA != tipB {
		a.Generate(t.Context(), 1)
	}
	if tipA != tipB {
		// btcd waits longer after each failure to find its peer: do not wait for that.
		// An error says that they have met.
		b.Call(t.Context(), nil, "addnode", a.P2P, "onetry")
	}
	return tipA != "" && tipA == tipB
}
