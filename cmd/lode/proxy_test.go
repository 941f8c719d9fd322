package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"lode/internal/freeport"
)

// What strangers do a thousand times is not a thousand lines.
func TestProxyLogIsBounded(t *testing.T) {
	var b bytes.Buffer
	log := boundLog(slog.New(slog.NewTextHandler(&b, nil)))
	for i := range 1000 {
		log.Info("worker refused", "worker", i)
	}
	log.Info("node found")
	if n := strings.Count(b.String(), "\n"); n > 60 || !strings.Contains(b.String(), "node found") {
		t.Errorf("%d lines", n)
	}
}

// stuckReader never takes what is written to it.
type stuckReader struct{ context.Context }

func (r stuckReader) Write([]byte) (int, error) {
	<-r.Done()
	return 0, r.Err()
}

// TestStuckLog: nobody takes the proxy's log; it serves miners all the same, and ends in order.
func TestStuckLog(t *testing.T) {
	ports, err := freeport.On("127.0.0.1", 1)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprint("127.0.0.1:", ports[0])
	ctx, end := context.WithCancel(t.Context())
	defer end()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{
			"proxy", "--listen", address, "--http-listen", "", "--upstream", "node:http://127.0.0.1:1",
			"--payout-address", "1BitcoinEaterAddressDontSendf59kuE", "--state-dir", t.TempDir(),
		}, io.Discard, stuckReader{t.Context()})
	}()
	var c net.Conn
	for deadline := time.Now().Add(10 * time.Second); c == nil && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		c, _ = net.Dial("tcp", address)
	}
	if c == nil {
		t.Fatal("nobody listens")
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintln(c, `{"id":1,"method":"mining.subscribe","params":[]}`)
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Errorf("%q, %v", line, err)
	}
	end()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
}
