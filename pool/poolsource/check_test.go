package poolsource

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"lode/stratum"
)

// TestCheckFollows: a pool that sends its miners to another port is looked at there.
func TestCheckFollows(t *testing.T) {
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	serve := func(answer func(method, id string) string) net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		group.Go(func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				var request struct {
					ID     json.RawMessage
					Method string
				}
				if err := json.Unmarshal(lines.Bytes(), &request); err != nil {
					t.Error(err)
				}
				fmt.Fprintln(conn, answer(request.Method, string(request.ID)))
			}
		})
		return l
	}
	second := serve(func(method, id string) string {
		switch method {
		case "mining.subscribe":
			return `{"result":[[],"a1b2c3d4",8],"id":` + id + "}"
		case "mining.authorize":
			job := &stratum.Job{ID: "1", Coinbase1: []byte("one"), Coinbase2: []byte("two"), Bits: 0x1d00ffff, Time: uint32(time.Now().Unix())}
			return `{"result":true,"id":` + id + "}\n" + strings.TrimSpace(string(stratum.EncodeJob(job).Line()))
		}
		return `{"result":true,"id":` + id + "}"
	})
	_, port, _ := net.SplitHostPort(second.Addr().String())
	first := serve(func(string, string) string {
		return `{"id":null,"method":"client.reconnect","params":["127.0.0.1",` + port + `,0]}`
	})
	s, err := New(Options{URL: "stratum+tcp://" + first.Addr().String(), User: "me", Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := s.Check(t.Context()); err != nil || !strings.Contains(found, "extranonce2 of 8 bytes") {
		t.Errorf("%q, %v", found, err)
	}
}
