package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"lode/scheduler/api"
)

// In a pseudo-terminal: it draws, follows a change of the size, and leaves the terminal
// as it was.
func TestTopInATerminal(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(api.Status{Connected: true, Master: "10.0.0.5:5050", Hashrate: 5e6, FrameworkID: "F", Time: time.Now()})
	}))
	defer server.Close()
	for name, c := range map[string]struct {
		key  string
		code int
	}{"q": {"q", 0}, "ctrl-c": {"\x03", 130}} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("lode", "top", "--scheduler", server.URL, "--interval=100ms")
			cmd.Env = append(os.Environ(), "TERM=xterm-256color", "NO_COLOR=1")
			terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			var mu sync.Mutex
			var screen bytes.Buffer
			read := make(chan struct{})
			go func() {
				defer close(read)
				buffer := make([]byte, 4096)
				for {
					n, err := terminal.Read(buffer)
					mu.Lock()
					screen.Write(buffer[:n])
					mu.Unlock()
					if err != nil {
						return
					}
				}
			}()
			await := func(want string) {
				t.Helper()
				for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
					mu.Lock()
					found := strings.Contains(screen.String(), want)
					mu.Unlock()
					if found {
						return
					}
				}
				t.Fatalf("the screen never shows %q: %q", want, screen.String())
			}
			await("5 MH/s")
			await("10.0.0.5:5050")
			if err := pty.Setsize(terminal, &pty.Winsize{Rows: 10, Cols: 40}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(terminal, c.key); err != nil {
				t.Fatal(err)
			}
			err = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d (%v), want %d", got, err, c.code)
			}
			<-read
			if !strings.Contains(screen.String(), "\x1b[?1049l") {
				t.Errorf("the terminal is left on the other screen: %q", screen.String())
			}
			if strings.Contains(screen.String(), "\x1b[38;5") {
				t.Error("colours although NO_COLOR is set")
			}
		})
	}
}
