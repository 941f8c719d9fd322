package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lode/scheduler/api"
)

// lode runs a command of an operator to its end.
func (w *world) lode(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(w.t.Context(), lode(), append(args, "--scheduler="+w.url)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// does runs a command that has to end with an exit code and to print something.
func (w *world) does(code int, want string, args ...string) string {
	w.t.Helper()
	got, stdout, stderr := w.lode(args...)
	if got != code || !strings.Contains(stdout+stderr, want) {
		w.t.Fatalf("lode %s: exit code %d, want %d with %q\n%s%s", strings.Join(args, " "), got, code, want, stdout, stderr)
	}
	if code != 0 && stdout != "" {
		w.t.Errorf("lode %s failed and prints %q for programs", strings.Join(args, " "), stdout)
	}
	return stdout
}

// reads runs a command with --json and decodes what it prints, of which v names every
// field.
func (w *world) reads(v any, args ...string) {
	w.t.Helper()
	args = append(args, "--json")
	d := json.NewDecoder(strings.NewReader(w.does(0, "", args...)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		w.t.Fatalf("lode %s: %v", strings.Join(args, " "), err)
	}
}

// TestOperate steers a cluster as an operator does, by the commands.
func TestOperate(t *testing.T) {
	own := filepath.Join(t.TempDir(), "lode-executor") // to be replaced by another one
	copyFile(t, executor(), own, "")
	w := newWorld(t, options{flags: []string{"--report-interval=300ms", "--executor=" + own}})
	w.mining(2)
	events := start(t, nil, lode(), "events", "--json", "--after=0", "--log-level=error", "--scheduler="+w.url)

	// What is asked.
	var status api.Status
	w.reads(&status, "status")
	if !status.Connected || len(status.Tasks) != 3 || status.FrameworkID == "" {
		t.Errorf("status: %+v", status)
	}
	var list []api.Task
	if w.reads(&list, "tasks", "--kind=miner"); len(list) != 2 || list[0].Kind != "miner" {
		t.Errorf("tasks: %+v", list)
	}
	var agents []api.Agent
	if w.reads(&agents, "agents"); len(agents) != 2 || agents[0].Hostname == "" {
		t.Errorf("agents: %+v", agents)
	}
	var why api.Why
	if w.reads(&why, "why"); why.Answer != "2 miners run" || len(why.Groups) == 0 {
		t.Errorf("why: %+v", why)
	}
	w.does(0, "miner-", "tasks")
	w.does(0, "127.0.0.1", "agents")
	w.does(0, "accepted", "why", "127.0.0.1")
	w.does(1, "no agent", "why", "nowhere")
	w.does(0, status.FrameworkID, "status", "--wide")

	// What is said wrongly is exit code 2, what nobody can do is 1.
	w.does(2, "how many?", "scale")
	w.does(2, "", "scale", "many")
	w.does(2, "", "drain")
	w.does(2, "", "upgrade", "sideways")
	w.does(2, "", "tasks", "--kind=ghost")
	w.does(1, "there is no task nobody", "restart", "nobody")
	w.does(1, "there is no task nobody", "kill", "nobody")
	w.does(1, "no agent nowhere is known", "drain", "nowhere")
	w.does(1, "is not drained", "undrain", "127.0.0.2")
	w.does(1, "no upgrade is under way", "upgrade", "pause")
	w.does(1, "no executor of before", "upgrade", "rollback")
	if code, _, stderr := func() (int, string, string) { return (&world{t: t, url: "http://127.0.0.1:1"}).lode("status") }(); code != 1 || !strings.Contains(stderr, "no answer") {
		t.Errorf("a scheduler that is not there: exit code %d, %s", code, stderr)
	}

	// Scale.
	w.does(0, "at most 1 miners", "scale", "1")
	w.until("one miner is left", func(s api.Status) bool { return len(tasks(s, "miner")) == 1 })
	var outcome api.Outcome
	if w.reads(&outcome, "scale", "0"); outcome.Done == "" {
		t.Errorf("%+v", outcome)
	}
	w.until("no miner is left", func(s api.Status) bool { return len(tasks(s, "miner")) == 0 })
	w.does(0, "no more are wanted", "why")
	w.does(0, "any number", "scale", "--unbounded")
	w.mining(2)

	// Drain.
	victim := tasks(w.status(), "miner")[0]
	w.does(0, "is drained: 1 tasks end", "drain", agentWithoutProxy(w.status()), "--reason=a new fan")
	w.until("its miner is gone", func(s api.Status) bool { return len(tasks(s, "miner")) == 1 })
	w.does(0, "drained it", "why", agentWithoutProxy(w.status()))
	w.does(0, "may be used again", "undrain", drained(w))
	s := w.mining(2)
	if victim = tasks(s, "miner")[0]; victim.ID == "" {
		t.Fatal("no miner")
	}

	// Restart.
	w.does(0, "is restarted", "restart", victim.ID)
	s = w.until("another miner is in its place", func(s api.Status) bool {
		m := tasks(s, "miner")
		return len(m) == 2 && !slices.Contains(ids(m), victim.ID)
	})
	w.mining(2)
	proxy := tasks(s, "proxy")[0].ID
	w.does(0, "is restarted", "restart", proxy)
	w.until("another proxy serves", func(s api.Status) bool {
		p := tasks(s, "proxy")
		return len(p) == 1 && p[0].ID != proxy && p[0].Proxy != nil && p[0].Proxy.Ready
	})
	w.mining(2)
	w.does(0, "", "rotate-keys")

	// Upgrade to another executor, and back.
	var up api.Upgrade
	w.reads(&up, "upgrade", "status")
	before := up.Digest
	copyFile(t, executor(), own, "a build of later")
	w.does(0, "are replaced by ones with executor", "upgrade", "start")
	w.upgraded(func(u api.Upgrade) bool {
		return u.State == "done" && u.Digest != before && u.Old == 0 && u.New > 0 && u.Previous == before
	})
	w.does(0, "go back", "upgrade", "rollback")
	w.upgraded(func(u api.Upgrade) bool { return u.Digest == before && u.Old == 0 && u.New > 0 })

	// A killed task's agent is left alone for minutes.
	killed := tasks(w.mining(2), "miner")[0]
	w.does(0, "is killed", "kill", killed.ID)
	w.until("it is gone", func(s api.Status) bool { return !slices.Contains(ids(s.Tasks), killed.ID) })
	w.until("and its agent's offers are declined", func(s api.Status) bool {
		return slices.ContainsFunc(s.Decisions, func(d api.Decision) bool {
			return d.AgentID == killed.AgentID && strings.HasPrefix(d.Reason, "the agent is left alone")
		})
	})

	// All of it was told.
	seen := map[string]int{}
	eventually(t, "the events tell of all of it", func() bool {
		clear(seen)
		for _, line := range eventLines(t, events.output()) {
			seen[line.Type]++
		}
		return seen["operator"] >= 10 && seen["launched"]+seen["task"] > 0
	}, func() string { return fmt.Sprint(seen) })
}

// agentWithoutProxy is the hostname of an agent on which no proxy is.
func agentWithoutProxy(s api.Status) string {
	busy := map[string]bool{}
	for _, p := range tasks(s, "proxy") {
		busy[p.Hostname] = true
	}
	for _, a := range s.Agents {
		if !busy[a.Hostname] {
			return a.Hostname
		}
	}
	return ""
}

// drained is the agent that is.
func drained(w *world) string {
	w.t.Helper()
	var c api.Control
	if err := getJSON(w.t.Context(), w.url+api.ControlPath, &c); err != nil || len(c.Drained) != 1 {
		w.t.Fatalf("drained: %+v, %v", c.Drained, err)
	}
	return c.Drained[0].Agent
}

func (w *world) upgraded(ok func(api.Upgrade) bool) {
	w.t.Helper()
	var u api.Upgrade
	eventually(w.t, "the upgrade is done", func() bool {
		w.reads(&u, "upgrade", "status")
		return ok(u)
	}, func() string {
		b, _ := json.MarshalIndent(w.status(), "", "  ")
		return fmt.Sprintf("%+v\n%s", u, b)
	})
}

// eventLines reads what lode events --json printed: one object a line, each with an id,
// a time and a type.
func eventLines(t *testing.T, text string) (events []api.Event) {
	t.Helper()
	whole := text[:strings.LastIndex(text, "\n")+1]
	lines := bufio.NewScanner(strings.NewReader(whole))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e api.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.ID == "" || e.Type == "" || e.Time.IsZero() {
			t.Fatalf("event %s: %v", lines.Text(), err)
		}
		events = append(events, e)
	}
	return events
}

// copyFile makes a program of another one, and of what is written behind it, which
// nobody runs.
func copyFile(t *testing.T, from, to, more string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to+".new", append(b, more...), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

// TestPauseTakesAMoment pauses a cluster and lets it go on, and logs how long both take
// as the cpu time of hashing threads tells: see docs/performance.md.
func TestPauseTakesAMoment(t *testing.T) {
	w := newWorld(t, options{agents: 4, flags: []string{"--report-interval=300ms"}})
	w.mining(4)
	had := ids(w.status().Tasks)
	miners := func() (pids []int) {
		for _, m := range tasks(w.status(), "miner") {
			pids = append(pids, w.executorOf(m.ID))
		}
		return pids
	}()
	for round := range 3 {
		begin := time.Now()
		pause := start(t, nil, lode(), "pause", "--reason=a demonstration", "--scheduler="+w.url)
		// When nothing was hashed for a while, it stopped at the last change.
		last, moved := hashTime(t, miners...), time.Now()
		soon(t, "no miner hashes", func() bool {
			if now := hashTime(t, miners...); now > last {
				last, moved = now, time.Now()
			}
			return time.Since(moved) > time.Second
		})
		if <-pause.done; pause.err != nil || !strings.Contains(pause.output(), "mining is paused") {
			t.Fatalf("lode pause: %v\n%s", pause.err, pause.output())
		}
		t.Logf("round %d: the cluster was at zero %v after lode pause began", round, moved.Sub(begin).Round(10*time.Millisecond))
		s := w.until("all miners say that they are paused", func(s api.Status) bool {
			return s.Paused == "by somebody on this machine (a demonstration)" && allMiners(s, func(m api.Task) bool { return m.Miner.State == "paused" })
		})
		if got := ids(s.Tasks); !slices.Equal(got, had) {
			t.Fatalf("tasks are %v, were %v", got, had)
		}
		w.does(0, "mining is paused by somebody on this machine", "why")

		before := make([]time.Duration, len(miners))
		for i, pid := range miners {
			before[i] = hashTime(t, pid)
		}
		begin = time.Now()
		resume := start(t, nil, lode(), "resume", "--scheduler="+w.url)
		var first time.Duration
		soon(t, "all miners hash", func() bool {
			back := 0
			for i, pid := range miners {
				if hashTime(t, pid) > before[i] {
					back++
				}
			}
			if back > 0 && first == 0 {
				first = time.Since(begin)
			}
			return back == len(miners)
		})
		t.Logf("round %d: the first miner was back %v after lode resume began, all were after %v",
			round, first.Round(10*time.Millisecond), time.Since(begin).Round(10*time.Millisecond))
		if <-resume.done; resume.err != nil || !strings.Contains(resume.output(), "mining goes on") {
			t.Fatalf("lode resume: %v\n%s", resume.err, resume.output())
		}
		w.until("all miners say that they mine", func(s api.Status) bool {
			return s.Paused == "" && allMiners(s, func(m api.Task) bool { return m.Miner.State == "mining" && m.Hashrate > 0 })
		})
	}
	if got := ids(w.status().Tasks); !slices.Equal(got, had) {
		t.Errorf("tasks are %v, were %v", got, had)
	}
}

// soon waits until something holds, and looks often.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain until %s", patience, what)
		}
	}
}

func allMiners(s api.Status, ok func(api.Task) bool) bool {
	for _, m := range tasks(s, "miner") {
		if m.Miner == nil || !ok(m) {
			return false
		}
	}
	return len(tasks(s, "miner")) > 0
}

// hashTime is the cpu time of the hashing threads of processes. They are those of
// SCHED_IDLE, which do nothing else.
func hashTime(t *testing.T, pids ...int) (sum time.Duration) {
	t.Helper()
	const idle = "5" // sched(7)
	threads := 0
	for _, pid := range pids {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, stat := range stats {
			b, err := os.ReadFile(stat)
			if err != nil {
				continue // the thread has ended
			}
			_, after, _ := strings.Cut(string(b), ") ")
			if fields := strings.Fields(after); fields[41-3] != idle { // the 41st of proc(5)
				continue
			}
			var ran time.Duration
			b, err = os.ReadFile(strings.TrimSuffix(stat, "stat") + "schedstat")
			if err == nil {
				_, err = fmt.Sscan(string(b), (*int64)(&ran))
			}
			if err != nil {
				t.Skipf("this system does not say how long a thread ran: %v", err)
			}
			sum += ran
			threads++
		}
	}
	if threads < len(pids) {
		t.Skipf("%d threads of SCHED_IDLE in %d miners: this system lets no thread have it, or does not show it", threads, len(pids))
	}
	return sum
}
