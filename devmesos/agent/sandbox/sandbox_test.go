package sandbox

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the test's binary be the launcher.
func TestMain(m *testing.M) {
	Main()
	goleak.VerifyTestMain(m)
}

const patience = time.Minute

// eachWay runs a test below a launcher and without.
func eachWay(t *testing.T, test func(t *testing.T, h *Host)) {
	for name, launcher := range map[string]string{"launcher": "/proc/self/exe", "direct": ""} {
		t.Run(name, func(t *testing.T) {
			h := NewHost(launcher, slog.New(slog.DiscardHandler))
			t.Cleanup(h.Close)
			test(t, h)
		})
	}
}

func shell(t *testing.T, id, script string) Spec {
	dir := t.TempDir()
	return Spec{ID: id, Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", "MESOS_SANDBOX=" + dir}, Dir: dir}
}

func end(t *testing.T, c *Container) int32 {
	t.Helper()
	select {
	case <-c.Done():
		return c.Status()
	case <-time.After(patience):
		t.Fatal("the container does not end")
		return 0
	}
}

func TestStatus(t *testing.T) {
	eachWay(t, func(t *testing.T, h *Host) {
		for script, want := range map[string]int32{
			"exit 0":      0,
			"exit 1":      1 << 8,
			"exit 77":     77 << 8,
			"kill -9 $$":  9,
			"kill -15 $$": 15,
		} {
			c, err := h.Start(shell(t, script, script))
			if err != nil {
				t.Fatal(err)
			}
			if got := end(t, c); got != want {
				t.Errorf("%s: %d, want %d", script, got, want)
			}
		}
	})
}

func TestCannotExecute(t *testing.T) {
	eachWay(t, func(t *testing.T, h *Host) {
		for path, why := range map[string]string{
			"./nope":       "No such file or directory",
			"nope":         "No such file or directory",
			"/etc/passwd":  "Permission denied",
			"./":           "Permission denied",
			"/bin/sh/nope": "Not a directory",
		} {
			spec := shell(t, path, "")
			spec.Path = path
			c, err := h.Start(spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := end(t, c); got != StatusCannotExecute {
				t.Errorf("%s: status %d", path, got)
			}
			stderr, _ := os.ReadFile(filepath.Join(spec.Dir, "stderr"))
			if want := fmt.Sprintf("Failed to execute '%s': %s\n", path, why); string(stderr) != want {
				t.Errorf("%s: stderr is %q, want %q", path, stderr, want)
			}
		}
	})
}

func TestOutputIsAppended(t *testing.T) {
	eachWay(t, func(t *testing.T, h *Host) {
		spec := shell(t, "c", "echo out; echo err >&2; cat; pwd >> stdout")
		if err := os.WriteFile(filepath.Join(spec.Dir, "stderr"), []byte("before\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := h.Start(spec)
		if err != nil {
			t.Fatal(err)
		}
		end(t, c)
		stdout, _ := os.ReadFile(filepath.Join(spec.Dir, "stdout"))
		stderr, _ := os.ReadFile(filepath.Join(spec.Dir, "stderr"))
		if string(stdout) != "out\n"+spec.Dir+"\n" || string(stderr) != "before\nerr\n" {
			t.Errorf("stdout %q, stderr %q", stdout, stderr)
		}
	})
}

// TestDestroy kills children, those in sessions of their own, and those whose parent has gone.
func TestDestroy(t *testing.T) {
	eachWay(t, func(t *testing.T, h *Host) {
		spec := shell(t, "c", "sleep 1000 & setsid sleep 1001 & (setsid sleep 1002 &) ; trap '' TERM; echo ready; sleep 1003; true")
		c, err := h.Start(spec)
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return len(living(spec.Dir)) >= 5 })
		c.Destroy()
		end(t, c)
		if left := living(spec.Dir); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if h.Container("c") != nil || !h.WaitEmpty(0) {
			t.Error("the host still knows it")
		}
		c.Destroy() // once more does nothing
	})
}

// TestBusyProgram: a program that somebody still has open for writing is started once it is closed.
func TestBusyProgram(t *testing.T) {
	eachWay(t, func(t *testing.T, h *Host) {
		spec := shell(t, "c", "")
		sleep, err := exec.LookPath("sleep")
		if err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(sleep)
		if err != nil {
			t.Fatal(err)
		}
		spec.Path, spec.Args = "./program", []string{"program", "0"}
		file, err := os.OpenFile(filepath.Join(spec.Dir, "program"), os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(program); err != nil {
			t.Fatal(err)
		}
		closed := time.AfterFunc(200*time.Millisecond, func() { file.Close() })
		defer closed.Stop()
		c, err := h.Start(spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := end(t, c); got != 0 {
			t.Errorf("status %d", got)
		}
	})
}

// TestDestroyLeavesNoZombie: who looks for processes right after the end finds not even a dead one.
func TestDestroyLeavesNoZombie(t *testing.T) {
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprintf("stopped=%v", held), func(t *testing.T) {
			h := NewHost("/proc/self/exe", slog.New(slog.DiscardHandler))
			t.Cleanup(h.Close)
			c, err := h.Start(shell(t, "c", "exec sleep 1000"))
			if err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return childOf(c.Pid()) != 0 })
			executor := childOf(c.Pid())
			if held {
				if err := c.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			c.Destroy()
			if got := end(t, c); got != int32(syscall.SIGKILL) {
				t.Errorf("status %d", got)
			}
			for _, p := range list() {
				if p.pid == executor || p.pid == c.Pid() {
					t.Errorf("left: %+v", p)
				}
			}
		})
	}
}

// TestEndTakesChildrenAlong: when the executor ends, all that it started is destroyed.
func TestEndTakesChildrenAlong(t *testing.T) {
	eachWay(t, func(t *testing.T, h *Host) {
		spec := shell(t, "c", "setsid sleep 1000 & sleep 1001 & exit 3")
		c, err := h.Start(spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := end(t, c); got != 3<<8 {
			t.Errorf("status %d", got)
		}
		if left := living(spec.Dir); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// TestLauncherDiesWithItsHost: when the host's process is gone, which closes its end of the lifeline, nothing lives on.
func TestLauncherDiesWithItsHost(t *testing.T) {
	h := NewHost("/proc/self/exe", slog.New(slog.DiscardHandler))
	t.Cleanup(h.Close)
	spec := shell(t, "c", "setsid sleep 1000 & sleep 1001; true")
	c, err := h.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(living(spec.Dir)) >= 3 })
	c.lifeline.Close()
	end(t, c)
	if left := living(spec.Dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestSignals(t *testing.T) {
	eachWay(t, func(t *testing.T, h *Host) {
		spec := shell(t, "c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done")
		c, err := h.Start(spec)
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool {
			out, _ := os.ReadFile(filepath.Join(spec.Dir, "stdout"))
			return string(out) == "ready\n"
		})
		if err := c.SignalExecutor(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if got := end(t, c); got != 5<<8 {
			t.Errorf("status %d", got)
		}
		if c.Signal(syscall.SIGTERM) == nil || c.SignalExecutor(syscall.SIGTERM) == nil {
			t.Error("signalled what is gone")
		}
	})
}

func TestUsage(t *testing.T) {
	eachWay(t, func(t *testing.T, h *Host) {
		c, err := h.Start(shell(t, "c", "while :; do :; done"))
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { u := c.Usage(); return u.User > 0 && u.RSS > 0 })
		c.Destroy()
		end(t, c)
	})
}

func TestClosedHost(t *testing.T) {
	eachWay(t, func(t *testing.T, h *Host) {
		c, err := h.Start(shell(t, "c", "sleep 1000"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Start(shell(t, "c", "true")); err == nil {
			t.Error("two containers of one id")
		}
		h.Close()
		if got := end(t, c); got != 9 {
			t.Errorf("status %d", got)
		}
		if _, err := h.Start(shell(t, "d", "true")); err == nil {
			t.Error("started on a closed host")
		}
	})
}

func TestUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can switch users")
	}
	if _, err := LookupUser("no-such-user"); err == nil || err.Error() != "No such user 'no-such-user'" {
		t.Errorf("an unknown user gives %v", err)
	}
	if u, err := LookupUser("root"); u != nil || err != nil {
		t.Errorf("root gives %v, %v", u, err)
	}
	nobody, err := LookupUser("nobody")
	if err != nil {
		t.Skip("there is no user nobody: ", err)
	}
	eachWay(t, func(t *testing.T, h *Host) {
		spec := shell(t, "c", "id -un")
		spec.User = nobody
		// The directories that the testing package makes are closed to others.
		for dir := spec.Dir; dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		c, err := h.Start(spec)
		if err != nil {
			t.Fatal(err)
		}
		end(t, c)
		if out, _ := os.ReadFile(filepath.Join(spec.Dir, "stdout")); string(out) != "nobody\n" {
			t.Errorf("ran as %q", out)
		}
	})
}

func living(sandbox string) (found []process) {
	for _, p := range list() {
		if !p.zombie && carries(p.pid, sandbox) {
			found = append(found, p)
		}
	}
	return found
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("1 (sh) S 2 3 4 0 -1")
	f.Add("1 (a) b) Z 2 3 4")
	f.Add("1 sh S")
	f.Add("")
	f.Fuzz(func(t *testing.T, stat string) {
		p, ok := parseStat(7, stat)
		if ok && (p.pid != 7 || !strings.Contains(stat, ")")) {
			t.Errorf("%q is %+v", stat, p)
		}
	})
}
