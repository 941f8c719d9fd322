package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lode/devnode"
)

// publish is a ZMQ publisher as far as Bitcoin Core's is one: ZMTP 3.0 (RFC 23) with
// the NULL mechanism, by hand, so that the library is not its own witness. It sends
// what the channel brings once it has seen the subscription to hashblock, and ends the
// connection with the channel.
func publish(conn net.Conn, blocks <-chan []byte) error {
	defer func() { _ = conn.Close() }()
	greeting := make([]byte, 64)
	copy(greeting, "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x00NULL")
	ready := []byte("\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB")
	if _, err := conn.Write(append(greeting, append([]byte{4, byte(len(ready))}, ready...)...)); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, make([]byte, 64)); err != nil {
		return err
	}
	for subscribed := false; !subscribed; {
		frame := make([]byte, 2)
		if _, err := io.ReadFull(conn, frame); err != nil {
			return err
		}
		body := make([]byte, frame[1])
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		subscribed = frame[0] == 0 && bytes.Equal(body, []byte("\x01hashblock"))
	}
	const more = 1
	for n := uint32(0); ; n++ {
		hash, ok := <-blocks
		if !ok {
			return nil
		}
		message := append([]byte{more, 9}, "hashblock"...)
		message = append(append(message, more, byte(len(hash))), hash...)
		message = binary.LittleEndian.AppendUint32(append(message, 0, 4), n)
		if _, err := conn.Write(message); err != nil {
			return err
		}
	}
}

// TestZMQ: each hashblock is a notice, and a publisher that was away is found again.
func TestZMQ(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	blocks := make(chan chan []byte, 2)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			to, more := <-blocks
			if !more {
				_ = conn.Close()
				return
			}
			if err := publish(conn, to); err != nil {
				t.Errorf("publisher: %v", err)
			}
		}
	}()
	n, err := New(Options{URL: "http://127.0.0.1:1", ZMQ: "tcp://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	listening := make(chan struct{})
	go func() { defer close(listening); n.listen(ctx) }()
	for range 2 { // connections
		to := make(chan []byte)
		blocks <- to
		for range 2 {
			to <- make([]byte, 32)
			select {
			case <-n.notes:
			case <-time.After(time.Minute):
				t.Fatal("no notice")
			}
		}
		close(to)
	}
	cancel()
	close(blocks)
	_ = l.Close()
	<-listening
	<-ended
}

// TestWebsocket: btcd's blocks are noticed by its websocket, over TLS, and again after
// it was restarted.
func TestWebsocket(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	btcd, err := devnode.Start(ctx, devnode.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = btcd.Stop() }()
	n, err := New(Options{URL: btcd.URL, CA: btcd.CA, Credentials: Credentials{User: btcd.User, Password: btcd.Password}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	listenCtx, stop := context.WithCancel(ctx)
	listening := make(chan struct{})
	go func() { defer close(listening); n.listen(listenCtx) }()
	defer func() { stop(); <-listening }()
	for life := range 2 {
		// The link may not be up yet: a block a second, until one is noticed.
		for noticed := false; !noticed; {
			if _, err := btcd.Generate(ctx, 1); err != nil {
				t.Fatal(err)
			}
			select {
			case <-n.notes:
				noticed = true
			case <-time.After(time.Second):
			case <-ctx.Done():
				t.Fatal("no block was noticed")
			}
		}
		if life == 0 {
			// Its port may have gone to somebody's outgoing connection, which ends in time.
			for err := btcd.Restart(ctx); err != nil; err = btcd.Restart(ctx) {
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					t.Fatal(err)
				}
			}
		}
	}
}

// TestWebsocketRedirect: whatever stands at btcd's address, the password goes nowhere else.
func TestWebsocketRedirect(t *testing.T) {
	var elsewhere, asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, to := range []string{other.URL, "/ws"} { // the second without end
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}))
		n, err := New(Options{URL: up.URL, Credentials: Credentials{User: "u", Password: "secret"}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := n.listenWebsocket(ctx); err == nil {
			t.Error("no error")
		}
		cancel()
		n.Close()
		up.Close()
	}
	if elsewhere.Load() > 0 || asked.Load() > 2 {
		t.Errorf("%d requests went elsewhere, %d to the node", elsewhere.Load(), asked.Load())
	}
}

// TestNoticeWords: who has set up a publisher of notices hears once that there is none.
func TestNoticeWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		n, err := New(Options{URL: "http://127.0.0.1:1", ZMQ: "no address", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		n.listen(ctx)
		if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "ZMQ address") {
			t.Errorf("%d lines in an hour: %s", lines, &log)
		}
	})
}
