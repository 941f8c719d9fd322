package zmtp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const ready = "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB"

// hashblock is a message as Bitcoin Core sends it.
var hashblock = "\x01\x09hashblock\x01\x20" + strings.Repeat("h", 32) + "\x00\x04\x07\x00\x00\x00"

func frame(flags byte, size uint64, body string) string {
	return string(append(binary.BigEndian.AppendUint64([]byte{flags | flagLong}, size), body...))
}

// scripted is a publisher that says what is written down.
type scripted struct {
	io.Reader
	bytes.Buffer // what it got
}

func (s *scripted) Read(b []byte) (int, error)  { return s.Reader.Read(b) }
func (s *scripted) SetDeadline(time.Time) error { return nil }

func TestFrames(t *testing.T) {
	hello := string(greeting()) + ready
	for name, c := range map[string]struct {
		says     string
		messages int
		answer   string // what is sent beside the handshake
		err      string
	}{
		"two messages":            {says: hello + hashblock + hashblock, messages: 2, err: "EOF"},
		"long frames":             {says: hello + frame(flagMore, 9, "hashblock") + frame(0, 32, strings.Repeat("h", 32)), messages: 1, err: "EOF"},
		"another topic":           {says: hello + "\x01\x05hashx\x00\x01x" + hashblock, messages: 1, err: "EOF"},
		"an empty message":        {says: hello + "\x00\x00" + hashblock, messages: 1, err: "EOF"},
		"a heartbeat":             {says: hello + "\x04\x0a\x04PING\x00\x0aabc" + hashblock, messages: 1, answer: "\x04\x08\x04PONGabc", err: "EOF"},
		"a heartbeat between":     {says: hello + hashblock[:11] + "\x04\x07\x04PING\x00\x0a" + hashblock[11:], messages: 1, answer: "\x04\x05\x04PONG", err: "EOF"},
		"unknown command":         {says: hello + "\x04\x04\x03FOO" + hashblock, messages: 1, err: "EOF"},
		"command before READY":    {says: string(greeting()) + "\x04\x04\x03FOO" + ready + hashblock, messages: 1, err: "EOF"},
		"a frame of 2^62":         {says: hello + frame(0, 1<<62, "x"), err: "4611686018427387904 bytes"},
		"a frame of 2^64-1":       {says: hello + frame(0, 1<<64-1, "x"), err: "18446744073709551615 bytes"},
		"a command of 2^62":       {says: hello + frame(flagCommand, 1<<62, "x"), err: "4611686018427387904 bytes"},
		"a READY of 2^62":         {says: string(greeting()) + frame(flagCommand, 1<<62, "x"), err: "4611686018427387904 bytes"},
		"a frame above the bound": {says: hello + frame(0, maxFrame+1, strings.Repeat("x", maxFrame+1)), err: "1025 bytes"},
		"a frame at the bound":    {says: hello + frame(0, maxFrame, "hashblock"+strings.Repeat("x", maxFrame-9)), messages: 1, err: "EOF"},
		"parts without end":       {says: hello + strings.Repeat("\x01\x01x", 100), err: "parts"},
		"reserved flags":          {says: hello + "\x08\x01x", err: "flags 08"},
		"ends within a frame":     {says: hello + hashblock[:5], err: "EOF"},
		"HTTP":                    {says: "HTTP/1.1 400 Bad Request\r\n", err: "does not speak ZMTP"},
		"ZMTP 2":                  {says: "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x00\x00", err: "does not speak ZMTP"},
		"CURVE":                   {says: strings.Replace(hello, "NULL\x00", "CURVE", 1), err: "CURVE"},
		"refused":                 {says: string(greeting()) + "\x04\x0b\x05ERROR\x04none", err: "none"},
		"a message before READY":  {says: string(greeting()) + hashblock, err: "before READY"},
		"nothing":                 {err: "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scripted{Reader: strings.NewReader(c.says)}
			messages := 0
			err := subscribe(s, "hashblock", func(parts [][]byte) {
				if messages++; string(parts[0][:9]) != "hashblock" {
					t.Errorf("parts %q", parts)
				}
			})
			if err == nil || !strings.Contains(err.Error(), c.err) || messages != c.messages {
				t.Errorf("%d messages, then %v; want %d, then %q", messages, err, c.messages, c.err)
			}
			if c.messages > 0 {
				want := string(greeting()) + "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB\x00\x0a\x01hashblock" + c.answer
				if got := s.Buffer.String(); got != want {
					t.Errorf("sent %q, want %q", got, want)
				}
			}
		})
	}
}

// TestSilence: a publisher may be silent between messages for days, but not within one,
// and not in the handshake.
func TestSilence(t *testing.T) {
	hello := string(greeting()) + ready
	for name, c := range map[string]struct {
		says   string
		resume string // after a day
		ok     bool
	}{
		"between messages":     {says: hello + hashblock, resume: hashblock, ok: true},
		"within a frame":       {says: hello + hashblock[:30], resume: hashblock[30:]},
		"between two frames":   {says: hello + hashblock[:11], resume: hashblock[11:]},
		"within the handshake": {says: hello[:70], resume: hello[70:]},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				ended := make(chan error, 1)
				go func() { ended <- subscribe(ours, "hashblock", func([][]byte) {}) }()
				_, _ = theirs.Write([]byte(c.says))
				time.Sleep(24 * time.Hour)
				select {
				case err := <-ended:
					if c.ok {
						t.Errorf("ended: %v", err)
					}
				default:
					if !c.ok {
						t.Error("a silent publisher is waited for")
					}
				}
				_ = ours.Close()
				_ = theirs.Close()
			})
		})
	}
}

// TestFlood: what a publisher sends without a pause costs a bounded part of a processor.
func TestFlood(t *testing.T) {
	for name, what := range map[string]string{"blocks": hashblock, "another topic": "\x00\x01x", "heartbeats": "\x04\x07\x04PING\x00\x0a"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const frames = 100_000
				s := &scripted{Reader: strings.NewReader(string(greeting()) + ready + strings.Repeat(what, frames/max(1, strings.Count(what, "hashblock")*3)))}
				begin := time.Now()
				err := subscribe(s, "hashblock", func([][]byte) {})
				if took := time.Since(begin); !errors.Is(err, io.EOF) || took < (frames-flowBurst)/flowRate*9/10*time.Second {
					t.Errorf("%d frames were read in %v (%v)", frames, took, err)
				}
			})
		})
	}
}

// TestSubscribe goes over a real socket, and ends with its context.
func TestSubscribe(t *testing.T) {
	for _, network := range []string{"tcp", "ipc"} {
		t.Run(network, func(t *testing.T) {
			address, listen := "127.0.0.1:0", "tcp"
			if network == "ipc" {
				address, listen = filepath.Join(t.TempDir(), "s"), "unix"
			}
			l, err := net.Listen(listen, address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(string(greeting()) + ready + hashblock))
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}()
			ctx, cancel := context.WithCancel(t.Context())
			err = Subscribe(ctx, network+"://"+l.Addr().String(), "hashblock", func([][]byte) { cancel() })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
		})
	}
	for _, address := range []string{"", "127.0.0.1:1", "http://127.0.0.1:1", "tcp://127.0.0.1:1"} {
		if err := Subscribe(t.Context(), address, "hashblock", nil); err == nil {
			t.Errorf("%q: no error", address)
		}
	}
}

// FuzzSubscribe reads anything as a publisher's words.
func FuzzSubscribe(f *testing.F) {
	hello := string(greeting()) + ready
	for _, seed := range []string{
		hello + hashblock, hello + frame(0, 1<<62, ""), hello + "\x04\x0a\x04PING\x00\x0aabc", hello + strings.Repeat("\x01\x00", 20), "\xff", ready,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := subscribe(&scripted{Reader: bytes.NewReader(data)}, "hashblock", func(parts [][]byte) {
			size := 0
			for _, p := range parts {
				size += len(p)
			}
			if size > len(data) || len(parts) > maxParts {
				t.Fatalf("%d parts of %d bytes out of %d", len(parts), size, len(data))
			}
		})
		if err == nil {
			t.Fatal("no error at the end")
		}
	})
}
