package message_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/gogo/protobuf/proto"
	"pgregory.net/rapid"

	"lode/message"
)

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := &message.Task{
			Version:          message.Version,
			ExecutorDigest:   rapid.StringMatching(`[0-9a-f]{64}`).Draw(t, "digest"),
			ReportIntervalMs: rapid.Uint64().Draw(t, "interval"),
			Kind: &message.Task_Miner{Miner: &message.MinerTask{
				User:     rapid.String().Draw(t, "user"),
				Password: rapid.String().Draw(t, "password"),
				Proxies: &message.Proxies{
					Epoch:     rapid.Uint64().Draw(t, "epoch"),
					Addresses: rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "addresses"),
				},
			}},
		}
		b, err := message.Encode(in)
		if err != nil {
			t.Fatal(err)
		}
		out, err := message.DecodeTask(b)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(in, out) {
			t.Fatalf("got %v, want %v", out, in)
		}
	})
}

func TestVersionRule(t *testing.T) {
	newField := []byte{0xfa, 0x3f, 1, 'x'} // field 1023, length-delimited
	for name, test := range map[string]struct {
		data []byte
		want string // part of the error; "": accepted
		is   error
	}{
		"own version":             {data: []byte{8, message.Version}},
		"unknown field is passed": {data: append([]byte{8, message.Version}, newField...)},
		"newer version":           {data: []byte{8, message.Version + 1}, want: "version 2", is: message.ErrVersion},
		"no version":              {data: nil, want: "not a message of Lode"},
		"not protobuf":            {data: []byte("hello"), want: "decode"},
		"too large":               {data: make([]byte, message.MaxSize+1), want: "limit"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := message.DecodeToScheduler(test.data)
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Fatalf("got error %v, want one with %q", err, test.want)
			case test.is != nil && !errors.Is(err, test.is):
				t.Fatalf("got error %v, want %v", err, test.is)
			}
		})
	}
}

func TestEncodeRefusesLargeMessages(t *testing.T) {
	part := func(n int) *message.ToScheduler {
		return &message.ToScheduler{Version: message.Version, Event: &message.ToScheduler_Block{
			Block: &message.Block{Block: &message.BlockState{Finder: strings.Repeat("f", 128)}, Data: make([]byte, n)},
		}}
	}
	if _, err := message.Encode(part(message.BlockPartSize)); err != nil {
		t.Errorf("a full part of a block: %v", err)
	}
	if _, err := message.Encode(part(message.MaxSize)); err == nil {
		t.Error("a message above MaxSize was encoded")
	}
}

func TestMinerReportIsSmall(t *testing.T) {
	b, err := message.Encode(&message.ToScheduler{
		Version: message.Version,
		TaskId:  strings.Repeat("t", 255),
		Event: &message.ToScheduler_Report{Report: &message.Report{
			Sequence: 1 << 40, UptimeMs: 1 << 40, ExecutorDigest: strings.Repeat("0", 64),
			Shares: &message.Shares{Accepted: 1 << 40, Rejected: 1 << 40, Stale: 1 << 40, Difficulty: 1e300},
			Detail: &message.Report_Miner{Miner: &message.MinerReport{
				Hashes: 1 << 63, Hashrate: 1e300, Threads: 1 << 20, Kernel: "avx512-roll", JobAgeMs: 1 << 40,
				Proxy: strings.Repeat("h", 253) + ":65535", State: "mining", ProxiesEpoch: 1 << 40,
			}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 1024 {
		t.Errorf("got %d bytes, want at most 1024", len(b))
	}
}

// The HMAC test vector 2 of RFC 4231, whose key and data are text.
func TestWorkerPassword(t *testing.T) {
	got := message.WorkerPassword([]byte("Jefe"), "what do ya want for nothing?")
	if want := "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{8, message.Version})
	f.Add([]byte{8, message.Version, 18, 3, 'a', '-', '1', 26, 4, 10, 2, 'x', 'y'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := message.DecodeToScheduler(b); err == nil {
			again, err := message.Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			second, err := message.DecodeToScheduler(again)
			if err != nil {
				t.Fatalf("what Encode wrote does not decode: %v", err)
			}
			if third, _ := message.Encode(second); !bytes.Equal(again, third) {
				t.Fatalf("encoding is not stable: %x, %x", again, third)
			}
		}
		message.DecodeTask(b)
		message.DecodeToExecutor(b)
	})
}
