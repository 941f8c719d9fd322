// Package devnode runs a real btcd as a child process, on a private network of its
// own: the Bitcoin node of `lode dev` and of the tests.
//
//	node, err := devnode.Start(ctx, devnode.Config{})
//	defer node.Stop()
//	node.URL, node.User, node.Password, node.CA
package devnode

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"lode/internal/freeport"
)

// DefaultMiningAddress is a simnet address that nobody holds the key of; blocks
// that Generate makes pay to it.
const DefaultMiningAddress = "SMPL7pCX7q6pEkTyoipdVgHvk9tE5D6XNW"

// Config describes a node. The zero value is a fresh simnet node whose data are
// removed when it is stopped.
type Config struct {
	// Network is simnet or regtest; "" means simnet. btcd deletes a regtest chain
	// at each start.
	Network string
	// Dir keeps the chain; "" means a temporary folder that Stop removes.
	Dir string
	// Binary is the btcd to run; "" means: see FindBinary.
	Binary string
	// MiningAddress gets the rewards of Generate; "": DefaultMiningAddress (simnet).
	MiningAddress string
	// Connect are host:port of peers, as other nodes' P2P.
	Connect []string
	// PlainHTTP serves RPC without TLS.
	PlainHTTP bool
	Logger    *slog.Logger
}

// Node is a running (or stopped, or killed) btcd.
type Node struct {
	// URL is the RPC server's address, https://127.0.0.1:port (http:// with PlainHTTP).
	URL            string
	User, Password string
	// CA is the PEM certificate of the RPC server; nil with PlainHTTP.
	CA []byte
	// P2P is host:port for other nodes' Connect.
	P2P string
	// Dir is where the data are.
	Dir string

	config  Config
	binary  string
	rpc     *rpcClient
	removes bool

	mu      sync.Mutex // guards process
	process *process
}

// process is one life of the btcd child.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child was reaped
	err  error         // of Wait; valid after done
	log  *tail
}

// startTries bounds the attempts to find free ports: btcd wants fixed numbers, and
// somebody else may take one between our look and its start.
const startTries = 5

// restartTries bounds the attempts to have the same ports again, one a second.
const restartTries = 30

// readyTimeout is how long btcd may take until its RPC server answers.
const readyTimeout = 60 * time.Second

// stopTimeout is how long btcd may take for a clean shutdown.
const stopTimeout = 20 * time.Second

// Start runs a node and returns when its RPC server answers.
func Start(ctx context.Context, config Config) (*Node, error) {
	if config.Network == "" {
		config.Network = "simnet"
	}
	if config.Network != "simnet" && config.Network != "regtest" {
		return nil, fmt.Errorf("start btcd: network %q: want simnet or regtest", config.Network)
	}
	if config.MiningAddress == "" && config.Network == "simnet" {
		config.MiningAddress = DefaultMiningAddress
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	binary, err := FindBinary(ctx, config.Binary)
	if err != nil {
		return nil, err
	}
	n := &Node{config: config, binary: binary, Dir: config.Dir, User: "lode", Password: rand.Text()}
	if n.Dir == "" {
		if n.Dir, err = os.MkdirTemp("", "lode-btcd-"); err != nil {
			return nil, fmt.Errorf("start btcd: %w", err)
		}
		n.removes = true
	} else if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start btcd: %w", err)
	}
	for try := 1; ; try++ {
		err = n.startOnFreePorts(ctx)
		if err == nil {
			return n, nil
		}
		if try == startTries || ctx.Err() != nil || !portTaken(err) {
			n.remove()
			return nil, err
		}
	}
}

// FindBinary returns the path of a btcd: the given one, the one beside the running
// program, the one in PATH, or, inside this module, the tool that go.mod declares.
func FindBinary(ctx context.Context, given string) (string, error) {
	if given != "" {
		if _, err := os.Stat(given); err != nil {
			return "", fmt.Errorf("find btcd: %w", err)
		}
		return given, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "btcd")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	if path, err := exec.LookPath("btcd"); err == nil {
		return path, nil
	}
	out, err := exec.CommandContext(ctx, "go", "tool", "-n", "btcd").Output()
	if path := strings.TrimSpace(string(out)); err == nil && filepath.IsAbs(path) {
		return path, nil
	}
	return "", errors.New("find btcd: not beside this program and not in PATH; run make to build bin/btcd")
}

func (n *Node) startOnFreePorts(ctx context.Context) error {
	ports, err := freeport.On("127.0.0.1", 2)
	if err != nil {
		return err
	}
	rpc := fmt.Sprint("127.0.0.1:", ports[0])
	n.P2P = fmt.Sprint("127.0.0.1:", ports[1])
	scheme := "https"
	if n.config.PlainHTTP {
		scheme = "http"
	}
	n.URL = scheme + "://" + rpc
	if err := n.writeConfig(rpc); err != nil {
		return err
	}
	return n.run(ctx)
}

// writeConfig puts everything into a file, since ps shows arguments to everybody.
func (n *Node) writeConfig(rpc string) error {
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "%s=%s\n", key, value) }
	b.WriteString("[Application Options]\n")
	set(n.config.Network, "1")
	set("datadir", filepath.Join(n.Dir, "data"))
	set("logdir", filepath.Join(n.Dir, "log"))
	set("rpccert", n.path("rpc.cert"))
	set("rpckey", n.path("rpc.key"))
	set("rpcuser", n.User)
	set("rpcpass", n.Password)
	set("rpclisten", rpc)
	set("listen", n.P2P)
	set("nodnsseed", "1")
	set("rpcmaxclients", "100")
	if n.config.PlainHTTP {
		set("notls", "1")
	}
	if n.config.MiningAddress != "" {
		set("miningaddr", n.config.MiningAddress)
	}
	for _, peer := range n.config.Connect {
		set("connect", peer)
	}
	if err := os.WriteFile(n.path("btcd.conf"), []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("start btcd: %w", err)
	}
	return nil
}

func (n *Node) path(name string) string { return filepath.Join(n.Dir, name) }

// run starts the child and waits for its RPC server.
func (n *Node) run(ctx context.Context) error {
	p := &process{done: make(chan struct{}), log: new(tail)}
	p.cmd = exec.Command(n.binary, "--configfile="+n.path("btcd.conf"))
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	// It makes ~/.btcd before it reads anything: a home that cannot be written would be the end
	// of it, and whoever runs a node of his own wants nothing of ours there.
	p.cmd.Env = append(os.Environ(), "HOME="+n.Dir, "LOCALAPPDATA="+n.Dir)
	// Ctrl-C in a terminal goes to the whole foreground group: btcd is to be
	// stopped by us, after those who use it.
	if err := startChild(p); err != nil {
		return fmt.Errorf("start btcd: %w", err)
	}
	n.mu.Lock()
	n.process = p
	n.mu.Unlock()
	n.config.Logger.Debug("started btcd", "pid", p.cmd.Process.Pid, "rpc", n.URL, "dir", n.Dir)

	ready, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if err := n.connect(ready); err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("start btcd: it ended by itself (%v): %s", p.err, p.log)
		case <-ready.Done():
			n.Kill()
			return fmt.Errorf("start btcd: no answer from %s within %v: %s", n.URL, readyTimeout, p.log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// connect reads the certificate, which btcd makes at its first start, and asks for
// the height.
func (n *Node) connect(ctx context.Context) error {
	if !n.config.PlainHTTP {
		pem, err := os.ReadFile(n.path("rpc.cert"))
		if err != nil {
			return err
		}
		n.CA = pem
	}
	rpc, err := newRPCClient(n.URL, n.User, n.Password, n.CA)
	if err != nil {
		return err
	}
	n.rpc = rpc
	_, err = n.Height(ctx)
	return err
}

// Stop ends btcd cleanly, so that it keeps its chain, and removes a temporary
// folder. It is harmless on a node that is down.
func (n *Node) Stop() error {
	defer n.remove()
	return n.terminate(syscall.SIGTERM)
}

// Kill ends btcd like a crash: blocks since its last flush are lost. The folder stays.
func (n *Node) Kill() error { return n.terminate(syscall.SIGKILL) }

func (n *Node) terminate(sig syscall.Signal) error {
	n.mu.Lock()
	p := n.process
	n.process = nil
	n.mu.Unlock()
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop btcd: %w", err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
	}
	p.cmd.Process.Kill()
	<-p.done
	return fmt.Errorf("stop btcd: it ignored %v for %v and was killed", sig, stopTimeout)
}

// Restart starts a node that was stopped or killed, with the same ports, passwords
// and data. It waits for somebody who has taken a port meanwhile: connections from
// this machine do, for a moment.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.terminate(syscall.SIGTERM); err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := n.run(ctx)
		if err == nil || try == restartTries || !portTaken(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

func portTaken(err error) bool { return strings.Contains(err.Error(), "address already in use") }

// Done is closed when the present btcd process has ended.
func (n *Node) Done() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return n.process.done
}

// PID is the process id of the child, 0 when it is down.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return 0
	}
	return n.process.cmd.Process.Pid
}

func (n *Node) remove() {
	if n.removes {
		os.RemoveAll(n.Dir)
	}
}

// Call makes one RPC; result may be nil.
func (n *Node) Call(ctx context.Context, result any, method string, params ...any) error {
	return n.rpc.call(ctx, result, method, params...)
}

// Height is the height of the best block.
func (n *Node) Height(ctx context.Context) (int64, error) {
	var height int64
	return height, n.Call(ctx, &height, "getblockcount")
}

// BlockHash is the hash (display order) of the main chain's block at a height.
func (n *Node) BlockHash(ctx context.Context, height int64) (string, error) {
	var hash string
	return hash, n.Call(ctx, &hash, "getblockhash", height)
}

// Generate mines blocks inside btcd and returns their hashes.
func (n *Node) Generate(ctx context.Context, blocks int) ([]string, error) {
	var hashes []string
	return hashes, n.Call(ctx, &hashes, "generate", blocks)
}

// tail keeps the end of what btcd prints, for error messages.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > tailSize {
		t.buf = t.buf[len(t.buf)-tailSize:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
