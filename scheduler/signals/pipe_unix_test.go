//go:build unix

package signals

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A named pipe holds up neither the end of the watcher nor what somebody writes into it.
func TestNamedPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no named pipe can be made: %v", err)
	}
	w := New(map[string]string{"price": pipe}, time.Millisecond, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(pipe, []byte("7\n"), 0) }() // waits for the reader, as a shell's echo does
	for deadline := time.Now().Add(30 * time.Second); w.Values(time.Now())["price"] != 7; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was written into the pipe is not read")
		}
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(pipe, os.O_RDWR, 0) // from now on there is a writer who says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	cancel()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the watcher does not end")
	}
}
