package pool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/stratum"
)

// quietMiner reads lines of a Proxy that bench made.
type quietMiner struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func serveBench(t testing.TB, p *Proxy) (dial func() *quietMiner) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.server.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		p.server.Close()
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
	_ = m.SetReadDeadline(time.Now().Add(20 * time.Second))
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

func quietWork(p *Proxy, now time.Time) *jobs.Work {
	network, _ := stratum.TargetFromBits(0x1d00ffff)
	return &jobs.Work{
		Prev: chainhash.Hash{1}, Bits: 0x1d00ffff, Network: network, NetworkDifficulty: 1, Version: 0x20000000,
		Time: uint32(now.Unix()), MinTime: uint32(now.Unix()) - 100, Since: now, Space: p.home,
		Origin: &poolWork{
			from: &poolSource{p: p}, difficulty: 1,
			assignment: stratum.Assignment{Job: &stratum.Job{Coinbase1: make([]byte, 60), Coinbase2: make([]byte, 60)}, Extranonce2Size: 12},
		},
	}
}

// TestQuietUpstream: while an upstream says nothing miners get its work anew before
// they give up; when it is gone they get nothing, their shares are stale, and if so
// configured they are sent to their backup pools.
func TestQuietUpstream(t *testing.T) {
	p, now := bench(t, Config{IdleClose: 5 * time.Minute, MaxDifficulty: 1e-10, MinDifficulty: 1e-10, StartDifficulty: 1e-10})
	p.working.Store(false)
	dial := serveBench(t, p)
	second := func() { // what tick does
		p.publishing.Lock()
		p.choose()
		p.refresh(*now)
		p.publishing.Unlock()
		p.sendAway(*now)
	}
	up := &report{p, 0}
	up.work(quietWork(p, *now))
	m := dial()
	m.login()
	first := m.until("mining.notify")

	*now = now.Add(44 * time.Second)
	second()
	m.silent()
	*now = now.Add(time.Second)
	second()
	again := m.until("mining.notify")
	var a, b struct{ Params []any }
	if err := errors.Join(json.Unmarshal([]byte(first), &a), json.Unmarshal([]byte(again), &b)); err != nil {
		t.Fatal(err)
	}
	if a.Params[0] == b.Params[0] || b.Params[8] != false || b.Params[7] != fmt.Sprintf("%08x", now.Unix()) || a.Params[2] != b.Params[2] {
		t.Errorf("first %s\nagain %s", first, again)
	}

	share := func(nonce int) string {
		m.send(fmt.Sprintf(`{"id":9,"method":"mining.submit","params":["w",%q,"0000000000000000",%q,"%08x"]}`+"\n", b.Params[0], b.Params[7], nonce))
		return m.until(`"id":9`)
	}
	if reply := share(1); !strings.Contains(reply, "true") {
		t.Errorf("share: %s", reply)
	}
	up.lost(errors.New("gone"))
	*now = now.Add(staleWork)
	second()
	if reply := share(2); !strings.Contains(reply, "true") {
		t.Errorf("share within the grace: %s", reply)
	}
	*now = now.Add(time.Second)
	second()
	if reply := share(3); !strings.Contains(reply, "[21,") {
		t.Errorf("share without an upstream: %s", reply)
	}
	*now = now.Add(2 * time.Minute)
	second()
	m.silent()
	other := dial()
	other.login()
	other.silent2()

	*now = now.Add(2 * time.Minute)
	second()
	for _, gone := range []*quietMiner{m, other} {
		_ = gone.SetReadDeadline(time.Now().Add(20 * time.Second))
		if line, err := gone.r.ReadString('\n'); err == nil {
			t.Errorf("not sent away: %s", line)
		}
	}
	late := dial()
	late.send(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n")
	if reply := late.until(`"id":1`); !strings.Contains(reply, "No work") {
		t.Errorf("a miner came in without work: %s", reply)
	}
	up.work(quietWork(p, *now))
	back := dial()
	back.login()
	back.until("mining.notify")
}

// silent2 is silent after the difficulty that a miner gets without a job.
func (m *quietMiner) silent2() {
	m.t.Helper()
	m.until("mining.set_difficulty")
	m.silent()
}
