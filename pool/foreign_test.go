package pool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lode/devnode"
	"lode/pool"
)

// The tests of this file run other people's programs, where they are on PATH.

// lookPath finds a program or skips the test.
func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not on PATH", name)
	}
	return path
}

// program is a running foreign program.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

func (c *program) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Write(b)
}

// startProgram ends the program with the test, and shows what it printed if that failed.
func startProgram(t *testing.T, path string, args ...string) *program {
	t.Helper()
	c := &program{t: t, done: make(chan struct{})}
	c.cmd = exec.Command(path, args...)
	c.cmd.Stdout, c.cmd.Stderr = c, c
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.done)
	}()
	t.Cleanup(func() {
		c.stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(path), c.log.String())
		}
	})
	return c
}

func (c *program) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(time.Minute):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// TestForeignMiners lets miners of other people mine blocks, over a change of
// difficulty and a restart of the proxy.
func TestForeignMiners(t *testing.T) {
	for _, name := range []string{"minerd", "cpuminer"} {
		t.Run(name, func(t *testing.T) {
			path := lookPath(t, name)
			btcd := startBtcd(t, devnode.Config{})
			config := pool.Config{
				Upstreams: []pool.Upstream{nodeUpstream(btcd)}, StateDir: t.TempDir(),
				StartDifficulty: 1e-4, MinBlockInterval: time.Second,
			}
			p := startProxy(t, config)
			config.Listen = p.Status().Listen
			startProgram(t, path, "-a", "sha256d", "-t", "1", "-o", "stratum+tcp://"+config.Listen, "-u", "me.rig", "-p", "x", "--retry-pause", "1")
			p.eventually("three blocks are confirmed", func() bool { return confirmed(p) >= 3 })
			p.judge(t)

			p.stop()
			p = startProxy(t, config)
			p.eventually("six blocks are confirmed, three of them after a restart", func() bool { return confirmed(p) >= 6 })
			p.judge(t)
		})
	}
}

// judge finds no share refused that was not merely late.
func (p *proxy) judge(t *testing.T) {
	t.Helper()
	if s := p.Status().Shares; s.Accepted == 0 || s.Rejected > 0 {
		t.Errorf("shares: %+v", s)
	}
}

// coreNode is a Bitcoin Core on regtest.
type coreNode struct {
	*program
	path, dir string
	rpc       string // host:port
	zmq       string // tcp://host:port
}

func startCore(t *testing.T, path string) *coreNode {
	t.Helper()
	n := &coreNode{path: path, dir: t.TempDir(), rpc: freeAddress(t), zmq: "tcp://" + freeAddress(t)}
	n.start(t)
	return n
}

// start starts the node, again with the data and the ports of before.
func (n *coreNode) start(t *testing.T) {
	t.Helper()
	_, port, _ := net.SplitHostPort(n.rpc)
	n.program = startProgram(t, n.path, "-regtest", "-datadir="+n.dir, "-listen=0", "-dnsseed=0", "-fixedseeds=0",
		"-server", "-rpcport="+port, "-rpcthreads=16", "-zmqpubhashblock="+n.zmq, "-printtoconsole")
	eventually(t, "Bitcoin Core answers", func() bool {
		_, err := n.call("getblockcount")
		return err == nil
	})
}

// freeAddress is a port that was free a moment ago: Bitcoin Core wants fixed ones.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (n *coreNode) cookie() string { return filepath.Join(n.dir, "regtest", ".cookie") }

func (n *coreNode) call(method string, params ...any) (json.RawMessage, error) {
	cookie, err := os.ReadFile(n.cookie())
	if err != nil {
		return nil, err
	}
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"method": method, "params": params, "id": 1})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.rpc, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	user, password, _ := strings.Cut(string(cookie), ":")
	req.SetBasicAuth(user, password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var reply struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		return nil, fmt.Errorf("%s: status %d: %w", method, resp.StatusCode, err)
	}
	if reply.Error != nil {
		return nil, errors.New(reply.Error.Message)
	}
	return reply.Result, nil
}

func (n *coreNode) must(method string, params ...any) string {
	n.t.Helper()
	result, err := n.call(method, params...)
	if err != nil {
		n.t.Fatalf("%s: %v", method, err)
	}
	return strings.Trim(string(result), `"`)
}

// TestBitcoinCore mines on a real Bitcoin Core: its templates and its witness
// commitment, cookie and ZMQ, and a restart that makes a new cookie.
func TestBitcoinCore(t *testing.T) {
	path := lookPath(t, "bitcoind")
	core := startCore(t, path)
	p := startProxy(t, pool.Config{
		Upstreams:     []pool.Upstream{{URL: "node:http://" + core.rpc, CookieFile: core.cookie(), ZMQ: core.zmq}},
		PayoutAddress: regtestAddress, CoinbaseTag: "/lode/",
		StartDifficulty: 1e-8, MaxDifficulty: 1e-8, MinDifficulty: 1e-9,
	})
	m := p.miner("rig.1")
	prev := ""
	mine := func(blocks int) {
		t.Helper()
		for i := range blocks {
			j, err := m.job(func(j *minerJob) bool { return j.PrevBlock.String() != prev })
			if err != nil {
				t.Fatal(err)
			}
			prev = j.PrevBlock.String()
			if err := m.submit(m.solve(j, uint32(i)<<13&m.mask)); err != nil {
				t.Fatalf("share %d refused: %v", i+1, err)
			}
		}
	}
	// More than sixteen: the height in the coinbase changes its form (BIP 34).
	mine(20)
	p.eventually("the blocks are confirmed", func() bool { return confirmed(p) >= 20 })
	m.checkClean()

	// A block of somebody else is mined upon.
	core.must("generatetoaddress", 1, regtestAddress)
	tip := core.must("getbestblockhash")
	if _, err := m.job(func(j *minerJob) bool { return j.PrevBlock.String() == tip }); err != nil {
		t.Fatalf("no job on the block of another miner: %v", err)
	}
	mine(3)
	p.eventually("the blocks after it are confirmed", func() bool { return confirmed(p) == 23 })

	// The node restarts with another cookie.
	core.stop()
	core.start(t)
	core.must("generatetoaddress", 1, regtestAddress)
	tip = core.must("getbestblockhash")
	if _, err := m.job(func(j *minerJob) bool { return j.PrevBlock.String() == tip }); err != nil {
		t.Fatalf("no job after the restart of the node: %v", err)
	}
	mine(3)
	p.eventually("all blocks are confirmed", func() bool { return confirmed(p) == 26 })
	if s := p.Status(); s.Network != "regtest" || s.Shares.Rejected+s.Shares.Stale != 0 {
		t.Errorf("status %+v", s)
	}
}
