package task

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"pgregory.net/rapid"

	"lode/message"
	"lode/miner"
	"lode/pool"
)

// still is a miner.Searcher that does nothing.
type still struct{ miner.Searcher }

func (still) SetWork(*miner.Work)    {}
func (still) SetPaused(bool)         {}
func (still) Stats() (s miner.Stats) { return }

func testEnv(send func(key string, m *message.ToScheduler)) Env {
	return Env{
		Log: slog.New(slog.DiscardHandler), Send: send, Sandbox: "/sandbox", CPUsMilli: 1500, Ports: []uint16{31000, 31001},
		NewEngine: func(miner.Options) (miner.Searcher, error) { return still{}, nil },
		NewProxy:  func(pool.Config) (pool.Runner, error) { return nil, errors.New("no proxy here") },
		Rand:      func() float64 { return 0.5 },
	}
}

func TestPorts(t *testing.T) {
	tests := []struct {
		name            string
		stratum, http   uint32
		offered         []uint16
		wantS, wantHTTP uint16
		err             string
	}{
		{"from the resources", 0, 0, []uint16{31000, 31001, 31002}, 31000, 31001, ""},
		{"named", 31002, 31000, []uint16{31000, 31001, 31002}, 31002, 31000, ""},
		{"Stratum named", 31001, 0, []uint16{31000, 31001}, 31001, 31000, ""},
		{"HTTP named", 0, 31000, []uint16{31000, 31001}, 31001, 31000, ""},
		{"named without resources", 3333, 0, nil, 3333, 0, ""},
		{"one port only", 0, 0, []uint16{31000}, 31000, 0, ""},
		{"none", 0, 0, nil, 0, 0, "no port"},
		{"foreign", 3333, 0, []uint16{31000}, 0, 0, "not among the ports"},
		{"not a port", 70000, 0, nil, 0, 0, "65535"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, h, err := ports(&message.ProxyTask{StratumPort: test.stratum, HttpPort: test.http}, test.offered)
			switch {
			case test.err != "":
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v, expected %q", err, test.err)
				}
			case err != nil || s != test.wantS || h != test.wantHTTP:
				t.Errorf("%d, %d, %v", s, h, err)
			}
		})
	}
}

func TestProxyLimits(t *testing.T) {
	spec := &message.ProxyTask{StratumPort: 31000, Upstreams: []string{"node:http://x"}, Limits: map[string]string{"connections-per-address": "5000", "api-page": "7"}}
	env := testEnv(func(string, *message.ToScheduler) {})
	p, err := NewProxy(spec, env)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := p.config(&message.Secrets{WorkerKey: []byte("key")})
	if err != nil || cfg.Limits.PerAddress != 5000 || cfg.API.Page != 7 {
		t.Errorf("limits %+v %+v, %v", cfg.Limits, cfg.API, err)
	}
	spec.Limits["connections"] = "some"
	if _, err := NewProxy(spec, env); err == nil {
		t.Error("a wrong limit is taken")
	}
}

func TestBindHost(t *testing.T) {
	for advertise, want := range map[string]string{
		"": "", "agent-1.example": "", "10.0.0.1": "", "127.0.0.1": "127.0.0.1", "127.0.0.9": "127.0.0.9", "::1": "::1", "localhost": "127.0.0.1",
	} {
		if got := bindHost(advertise); got != want {
			t.Errorf("%q: listens on %q, expected %q", advertise, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "text"))
		if rapid.Bool().Draw(t, "valid") {
			text = rapid.String().Draw(t, "runes")
		}
		n := rapid.IntRange(3, 100).Draw(t, "n")
		got := shorten(text, n)
		if len(got) > n || !utf8.ValidString(got) || utf8.ValidString(text) && len(text) <= n && got != text {
			t.Fatalf("%q at %d: %q", text, n, got)
		}
	})
}

// Blocks that nobody confirms must not fill the memory.
func TestPendingBlocksAreBounded(t *testing.T) {
	s := newBlockSender(testEnv(func(string, *message.ToScheduler) {}))
	for i := range 100 {
		raw := bytes.Repeat([]byte{byte(i)}, 1<<20)
		s.found(pool.Block{Hash: chainhash.DoubleHashH(raw).String(), Raw: raw})
	}
	if s.bytes > maxPendingBytes || len(s.pending) != maxPendingBytes>>20 {
		t.Errorf("%d blocks of %d bytes", len(s.pending), s.bytes)
	}
	newest := s.pending[len(s.pending)-1]
	s.received(newest.hash[:])
	s.received(newest.hash[:])
	s.received([]byte("short"))
	if len(s.pending) != maxPendingBytes>>20-1 {
		t.Errorf("%d blocks", len(s.pending))
	}
	s.found(pool.Block{Hash: "not hex", Raw: []byte("x")})
	s.found(pool.Block{Hash: chainhash.Hash{}.String()}) // nothing to send
	if len(s.pending) != maxPendingBytes>>20-1 {
		t.Errorf("%d blocks", len(s.pending))
	}
}

func TestBlockRetries(t *testing.T) {
	sent := 0
	s := newBlockSender(testEnv(func(string, *message.ToScheduler) { sent++ }))
	s.found(pool.Block{Hash: chainhash.Hash{1}.String(), Raw: []byte("block")})
	now := time.Unix(0, 0)
	end := now.Add(time.Hour)
	for now.Before(end) {
		now = now.Add(s.sendDue(now))
	}
	if sent < 60 || sent > 70 {
		t.Errorf("sent %d times in an hour, expected about one a minute", sent)
	}
}

func FuzzTask(f *testing.F) {
	for _, task := range []*message.Task{
		{Version: 1},
		{Version: 1, Kind: &message.Task_Miner{Miner: &message.MinerTask{Proxies: &message.Proxies{Epoch: 1}}}},
		{Version: 1, Kind: &message.Task_Proxy{Proxy: &message.ProxyTask{Upstreams: []string{"node:http://x"}, StratumPort: 31000}}},
		{Version: 9},
	} {
		data, err := message.Encode(task)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte{})
	}
	m, err := message.Encode(&message.ToExecutor{Version: 1, Event: &message.ToExecutor_Proxies{Proxies: &message.Proxies{Epoch: 7, Addresses: []string{"h:1"}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, m)
	f.Fuzz(func(t *testing.T, data, event []byte) {
		spec, err := message.DecodeTask(data)
		if err != nil {
			return
		}
		task, err := New(spec, testEnv(func(string, *message.ToScheduler) {}))
		if err != nil {
			return
		}
		if m, err := message.DecodeToExecutor(event); err == nil {
			task.Receive(m)
			task.Receive(m)
		}
		report := &message.Report{}
		task.Report(report)
		task.Hello(&message.Hello{})
		if p, ok := task.(*Proxy); ok {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := p.Run(ctx); err != nil && fmt.Sprint(err) == "" {
				t.Error("an error without a text")
			}
		}
	})
}
