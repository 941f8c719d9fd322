package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestDevMesos starts the embedded Mesos as the command does, reads where it is, asks
// it for its agents, and interrupts it.
func TestDevMesos(t *testing.T) {
	ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
	defer interrupt()
	out, in := io.Pipe()
	var errors strings.Builder
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"dev-mesos", "--listen=127.0.0.1:0", "--agents=3", "--cpus=1.5", "--attributes=rack:a", "--log-level=error"}, in, &errors)
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	var master string
	agents := 0
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ready") {
		if url, ok := strings.CutPrefix(lines.Text(), "Mesos master "); ok {
			master = url
		} else if strings.HasPrefix(lines.Text(), "Mesos agent ") {
			agents++
		}
	}
	if master == "" || agents != 3 {
		t.Fatalf("master %q and %d agents are shown; exit code %d, %s", master, agents, <-code, errors.String())
	}
	response, err := http.Get(master + "/slaves")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || strings.Count(string(body), `"cpus":1.5`) < 3 || !strings.Contains(string(body), `"attributes":{"rack":"a"}`) {
		t.Errorf("/slaves: %s, %v", body, err)
	}
	http.DefaultClient.CloseIdleConnections()
	interrupt()
	go io.Copy(io.Discard, out) //nolint:errcheck // what is said at the end
	if got := <-code; got != exitInterrupted {
		t.Errorf("exit code %d after the interruption: %s", got, errors.String())
	}
	if _, err := http.Get(master + "/health"); err == nil {
		t.Error("the master answers after the end")
	}
}
