package miners

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/accounts"
	"lode/pool/jobs"
	"lode/pool/judge"
	"lode/pool/space"
	"lode/pool/template"
	"lode/pool/vardiff"
	"lode/stratum"
)

// bench is a Server with a clock in hand.
type bench struct {
	*Server
	clock atomic.Int64 // unix nanoseconds

	mu    sync.Mutex // guards the rest
	found []found
}

// found is a block.
type found struct {
	hash   string
	finder string
}

func newBench(t testing.TB, change func(*Options)) *bench {
	t.Helper()
	b := &bench{}
	b.advance(1_700_000_000 * time.Second)
	home, err := space.New([]byte{0}, 3, 8, LeaseTime)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Home: home, MaxExtranonce: 40, Accounts: accounts.New(b.now),
		Found: func(a *judge.Attempt, _ *accounts.Worker) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.found = append(b.found, found{a.Hash.String(), a.In.Worker})
		},
		Now: b.now, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	o.Jobs = jobs.NewTable(0, o.StaleGrace)
	o.Stratum.VersionMask = stratum.WideVersionMask
	b.Server = New(o)
	return b
}

func (b *bench) now() time.Time { return time.Unix(0, b.clock.Load()) }

func (b *bench) advance(d time.Duration) { b.clock.Add(int64(d)) }

// easy has every hash be a share.
func easy(o *Options) {
	o.StartDifficulty, o.Vardiff = everyHash, vardiff.Config{Min: everyHash}
}

// inject makes a job as a node would have given it.
func (b *bench) inject(t testing.TB, from *stratum.Job, mask uint32, clean bool) *jobs.Job {
	t.Helper()
	network, err := stratum.TargetFromBits(from.Bits)
	if err != nil {
		t.Fatal(err)
	}
	b.working.Store(true)
	return b.o.Jobs.Add(b.now(), &jobs.Work{
		Prev: from.PrevBlock, Bits: from.Bits, Network: network, NetworkDifficulty: float64(network.Difficulty()),
		Version: from.Version &^ mask, Mask: mask, Time: from.Time, MinTime: from.Time - 100,
		Space: b.o.Home, Origin: given{job: from, own: true},
	}, clean)
}

// given is an origin whose work is what a job has: a node's where own is set, else a pool's.
// A node's coinbases tell the editions.
type given struct {
	job *stratum.Job
	own bool
}

func (g given) Make(_ int, key jobs.Key) (template.Work, error) {
	job := *g.job
	if g.own {
		job.Coinbase2 = append([]byte(key.ID()), job.Coinbase2...)
	}
	return searched{&job}, nil
}
func (g given) OwnCoinbase() bool               { return g.own }
func (g given) CapDifficulty(d float64) float64 { return min(d, 1) }

type searched struct{ job *stratum.Job }

func (s searched) Coinbase() (before, after []byte)       { return s.job.Coinbase1, s.job.Coinbase2 }
func (s searched) Branch() []chainhash.Hash               { return s.job.MerkleBranch }
func (s searched) Solve(header [80]byte, _ []byte) []byte { return header[:] }

// work is that of a pool, or of a node where own is set, of difficulty 1.
func (b *bench) work(own bool) *jobs.Work {
	network, _ := stratum.TargetFromBits(0x1d00ffff)
	now := b.now()
	return &jobs.Work{
		Prev: chainhash.Hash{1}, Bits: 0x1d00ffff, Network: network, NetworkDifficulty: 1, Version: 0x20000000,
		Time: uint32(now.Unix()), MinTime: uint32(now.Unix()) - 100, Since: now, Space: b.o.Home,
		Origin: given{job: &stratum.Job{Coinbase1: make([]byte, 60), Coinbase2: make([]byte, 60)}, own: own},
	}
}

// quietMiner is a connection to a bench.
type quietMiner struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

// serve serves miners, and returns how to become one.
func (b *bench) serve(t testing.TB) (dial func() *quietMiner) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.server.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		b.server.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func() *quietMiner {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return &quietMiner{t, c, bufio.NewReader(c)}
	}
}

func (m *quietMiner) send(lines string) {
	m.t.Helper()
	if _, err := m.Write([]byte(lines)); err != nil {
		m.t.Fatal(err)
	}
}

// until reads to the line with the text.
func (m *quietMiner) until(text string) string {
	m.t.Helper()
	_ = m.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		line, err := m.r.ReadString('\n')
		if err != nil {
			m.t.Fatalf("waiting for %s: %v", text, err)
		}
		if strings.Contains(line, text) {
			return line
		}
	}
}

// silent fails the test if a line waits: a question of ours is answered first.
func (m *quietMiner) silent() {
	m.t.Helper()
	m.send(`{"id":"anything else?","method":"mining.ping"}` + "\n")
	if line := m.until(""); !strings.Contains(line, "anything else?") {
		m.t.Errorf("not silent: %s", line)
	}
}

func (m *quietMiner) login() {
	m.send(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n" + `{"id":2,"method":"mining.authorize","params":["w","x"]}` + "\n")
	m.until(`"id":2`)
}

// silent2 is silent after the difficulty that a miner gets without a job.
func (m *quietMiner) silent2() {
	m.t.Helper()
	m.until("mining.set_difficulty")
	m.silent()
}

// submitted sends a share of the job in a notify line and returns the reply.
func (m *quietMiner) submitted(notify string, nonce uint32) string {
	m.t.Helper()
	var job struct{ Params []any }
	if err := json.Unmarshal([]byte(notify), &job); err != nil {
		m.t.Fatal(err)
	}
	m.send(fmt.Sprintf(`{"id":"s%d","method":"mining.submit","params":["w",%q,"0000000000000000",%q,"%08x"]}`+"\n", nonce, job.Params[0], job.Params[7], nonce))
	return m.until(fmt.Sprintf(`"id":"s%d"`, nonce))
}

// TestQuietUpstream: while an upstream says nothing miners get its work anew before
// they give up; when it is gone they get nothing and their shares are stale; they can be
// sent to their backup pools.
func TestQuietUpstream(t *testing.T) {
	b := newBench(t, easy)
	dial := b.serve(t)
	b.Refresh(b.now()) // there is nothing to be sent again
	b.Publish(b.work(false))
	m := dial()
	m.login()
	first := m.until("mining.notify")

	b.advance(44 * time.Second)
	b.Refresh(b.now())
	m.silent()
	b.advance(time.Second)
	b.Refresh(b.now())
	again := m.until("mining.notify")
	var one, two struct{ Params []any }
	if err := errors.Join(json.Unmarshal([]byte(first), &one), json.Unmarshal([]byte(again), &two)); err != nil {
		t.Fatal(err)
	}
	if one.Params[0] == two.Params[0] || two.Params[8] != false || two.Params[7] != fmt.Sprintf("%08x", b.now().Unix()) || one.Params[2] != two.Params[2] {
		t.Errorf("first %s\nagain %s", first, again)
	}
	if reply := m.submitted(again, 1); !strings.Contains(reply, "true") {
		t.Errorf("share: %s", reply)
	}
	if !b.Pause() || b.Pause() {
		t.Error("paused not once")
	}
	if reply := m.submitted(again, 3); !strings.Contains(reply, "[21,") {
		t.Errorf("share without an upstream: %s", reply)
	}
	b.advance(2 * time.Minute)
	b.Refresh(b.now())
	m.silent()
	other := dial()
	other.login()
	other.silent2()

	if !b.SendAway() || b.SendAway() {
		t.Error("sent away not once")
	}
	for _, gone := range []*quietMiner{m, other} {
		_ = gone.SetReadDeadline(time.Now().Add(time.Minute))
		if line, err := gone.r.ReadString('\n'); err == nil {
			t.Errorf("not sent away: %s", line)
		}
	}
	late := dial()
	late.send(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n")
	if reply := late.until(`"id":1`); !strings.Contains(reply, "No work") {
		t.Errorf("a miner came in without work: %s", reply)
	}
	b.Publish(b.work(false))
	back := dial()
	back.login()
	back.until("mining.notify")
}
