//go:build unix

package workers_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"lode/pool/workers"
)

// TestHangingFile: while one login waits for the disk the others are decided by what is in
// force.
func TestHangingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "workers")
	if err := os.WriteFile(path, []byte("a 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := workers.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody writes into the pipe: whoever reads it hangs.
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Skip("no named pipe here:", err)
	}
	hung := make(chan error)
	go func() {
		for {
			if err := l.Authorize("a", "1"); err != nil {
				hung <- err
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	var pipe *os.File // to be had when there is a reader
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if pipe, err = os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the file is not read again: ", err)
		}
	}
	for range 100 {
		if err := l.Authorize("a", "1"); err != nil {
			t.Fatal(err)
		}
		if err := l.Authorize("b", ""); !errors.Is(err, workers.ErrUnknown) {
			t.Fatal(err)
		}
	}
	if _, err := pipe.WriteString("a 2\n"); err != nil {
		t.Fatal(err)
	}
	_ = pipe.Close()
	if err := <-hung; !errors.Is(err, workers.ErrPassword) {
		t.Errorf("the one that waited: %v", err)
	}
}
