package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lode": main, "await": await})
}

// patience is how long a script waits for what should come at once.
const patience = time.Minute

// await FILE [REGEXP] is a program for scripts: it waits until a file is there, and some line
// of it matches. In vain it shows the file, for a script that would wait forever says nothing.
func await() {
	pattern := regexp.MustCompile("")
	if len(os.Args) > 2 {
		pattern = regexp.MustCompile(os.Args[2])
	}
	var content []byte
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		names, _ := filepath.Glob(os.Args[1])
		for _, name := range names {
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				os.Exit(0)
			}
			content, _ = os.ReadFile(name)
			if pattern.Match(content) {
				os.Exit(0)
			}
		}
	}
	fmt.Printf("in vain: await %q\n%s\n", os.Args[1:], content)
	os.Exit(1)
}

// TestScripts runs the promises of the command line, testdata/script/*.txtar. In
// them, $TAKEN is host:port of a listener that answers nobody, and $FREE is one
// where nobody listens; await FILE [REGEXP] waits; "exits 2 lode …" runs a command whose exit code is to be 2.
func TestScripts(t *testing.T) {
	// Under nohup what the tests start would ignore the end of a terminal, too.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(env *testscript.Env) error {
			taken, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Defer(func() { taken.Close() })
			env.Setenv("TAKEN", taken.Addr().String())
			// The port of a connection: nobody listens there, and nobody else gets it.
			free, err := net.Dial("tcp", taken.Addr().String())
			if err != nil {
				return err
			}
			env.Defer(func() { free.Close() })
			env.Setenv("FREE", free.LocalAddr().String())
			return nil
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
