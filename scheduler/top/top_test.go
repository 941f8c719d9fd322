package top

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gdamore/tcell/v2"
	"pgregory.net/rapid"

	"lode/scheduler/api"
)

func status() *api.Status {
	s := &api.Status{
		FrameworkID: "c18ffe76-3c00-4f57-a5b6-87b53621502b-0000", Master: "10.0.0.5:5050", Connected: true, Hashrate: 9e7,
		Proxies: api.Proxies{Addresses: []string{"10.0.1.7:31142"}},
		Agents:  []api.Agent{{ID: "S1", Hostname: "one"}, {ID: "S2", Hostname: "two", Failures: 2, BackoffUntil: new(time.Time)}},
		Blocks:  []api.Block{{Height: 7, Hash: "00ab", State: "confirmed"}},
		Decisions: []api.Decision{
			{Outcome: "declined", Reason: "too little memory", Hostname: "one"},
			{Outcome: "declined", Reason: "too little memory", Hostname: "two"},
			{Outcome: "accepted", Tasks: []string{"miner-1"}, Hostname: "one"},
		},
		Ended: []api.Ended{{State: "TASK_FAILED", Message: "exit status 127", Hostname: "two"}},
	}
	for i := range 50 {
		s.Tasks = append(s.Tasks, api.Task{
			ID: fmt.Sprintf("miner-c18ffe76-3c00-4f57-a5b6-87b53621502b-S1-%d", i), Kind: "miner", State: "TASK_RUNNING", AgentID: "S1", Hostname: "one",
			Hashrate: float64(1e6 * (i + 1)), Threads: i, Kernel: "shani", Miner: &api.MinerDetail{State: "mining"}, Shares: api.Shares{Accepted: 2},
		})
	}
	return s
}

func shown(v *view, width, height int) string {
	var b strings.Builder
	for _, l := range v.lines(width, height) {
		for _, p := range l {
			b.WriteString(p.text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestView(t *testing.T) {
	for name, c := range map[string]struct {
		keys  string
		want  []string
		lacks string
	}{
		"tasks":    {"", []string{"90 MH/s", "50 of 50 miners at work", "100 accepted", "miner-…-S1-0 ", "proxy 10.0.1.7:31142", "16 of 50"}, "S1-49"},
		"sorted":   {"ssss", []string{"HASHRATE↓", "S1-49", "50 MH/s"}, "S1-0 "},
		"reversed": {"ssssr", []string{"HASHRATE↑", "S1-0 "}, "S1-49"},
		"search":   {"/s1-33\n", []string{"S1-33", "1 of 50", "search: s1-33"}, "S1-34"},
		"no match": {"/zzz\n", []string{"search: zzz"}, "S1-0 "},
		"agents":   {"2", []string{"one", "1.27 GH/s", "backs off until"}, "S1-0"},
		"why":      {"3", []string{"2", "too little memory", "tasks were launched"}, "S1-0"},
		"blocks":   {"4", []string{"00ab", "confirmed"}, "S1-0"},
		"ended":    {"5", []string{"exit status 127"}, "S1-0"},
		"too far":  {"9", []string{"S1-0 "}, "\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			v := view{}
			v.take(answer{status: status()})
			for _, r := range c.keys {
				if r == '\n' {
					v.key(tcell.KeyEnter, 0)
					continue
				}
				v.key(tcell.KeyRune, r)
			}
			got := shown(&v, 120, 22)
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("lacks %q:\n%s", want, got)
				}
			}
			if strings.Contains(got, c.lacks) {
				t.Errorf("has %q:\n%s", c.lacks, got)
			}
		})
	}
}

func TestTroubleIsSaid(t *testing.T) {
	v := view{}
	v.take(answer{err: errors.New("connection refused")})
	if got := shown(&v, 80, 24); !strings.Contains(got, "connection refused") || !strings.Contains(got, "trying again") {
		t.Errorf("before the first answer:\n%s", got)
	}
	v.take(answer{status: status()})
	v.take(answer{err: errors.New("connection refused")})
	if got := shown(&v, 80, 24); !strings.Contains(got, "no answer: connection refused") || !strings.Contains(got, "50 of 50") {
		t.Errorf("after one:\n%s", got)
	}
	s := status()
	s.Connected, s.Error = false, "no route"
	v.take(answer{status: s})
	if got := shown(&v, 80, 24); !strings.Contains(got, "no Mesos master: no route") {
		t.Errorf("without a master:\n%s", got)
	}
}

// Whatever the size, the keys and the texts: no line is wider than the screen, there are
// not more of them than fit, and nothing in them moves the cursor.
func TestViewFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := view{mono: rapid.Bool().Draw(t, "mono")}
		width, height := rapid.IntRange(1, 200).Draw(t, "width"), rapid.IntRange(1, 60).Draw(t, "height")
		s := status()
		s.Tasks[0].Hostname, s.Ended[0].Message, s.Decisions[0].Reason = rapid.String().Draw(t, "host"), "\x1b[2J\r\n"+rapid.String().Draw(t, "message"), rapid.String().Draw(t, "why")
		v.take(answer{status: s})
		for range rapid.IntRange(0, 20).Draw(t, "keys") {
			v.key(rapid.SampledFrom([]tcell.Key{tcell.KeyRune, tcell.KeyTab, tcell.KeyDown, tcell.KeyPgDn, tcell.KeyEnd, tcell.KeyBackspace, tcell.KeyEnter}).Draw(t, "key"),
				rapid.SampledFrom([]rune("sr/1234567x")).Draw(t, "rune"))
			lines := v.lines(width, height)
			if len(lines) > height {
				t.Fatalf("%d lines on a screen of %d", len(lines), height)
			}
			for _, l := range lines {
				n := 0
				for _, p := range l {
					n += utf8.RuneCountInString(p.text)
					if strings.ContainsAny(p.text, "\x1b\r\n\t") {
						t.Fatalf("a control character in %q", p.text)
					}
					if v.mono && (p.tone == good || p.tone == bad || p.tone == accent) {
						t.Fatalf("a colour for %q where none is wanted", p.text)
					}
				}
				if n > width {
					t.Fatalf("a line of %d on a screen of %d", n, width)
				}
			}
		}
	})
}

func TestRun(t *testing.T) {
	screen := tcell.NewSimulationScreen("UTF-8")
	fetched := make(chan struct{}, 100)
	done := make(chan error)
	go func() {
		done <- Run(context.Background(), Options{
			Interval: 10 * time.Millisecond, Screen: screen,
			Fetch: func(context.Context) (*api.Status, error) { fetched <- struct{}{}; return status(), nil },
		})
	}()
	for range 3 {
		<-fetched
	}
	screen.SetSize(60, 10)
	screen.InjectKey(tcell.KeyRune, 'q', tcell.ModNone)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRunInterrupted(t *testing.T) {
	screen := tcell.NewSimulationScreen("UTF-8")
	started := make(chan struct{}, 100)
	done := make(chan error)
	go func() {
		done <- Run(context.Background(), Options{
			Interval: time.Hour, Screen: screen,
			Fetch: func(ctx context.Context) (*api.Status, error) {
				started <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
	}()
	<-started
	screen.InjectKey(tcell.KeyCtrlC, 0, tcell.ModCtrl)
	if err := <-done; !errors.Is(err, ErrInterrupted) {
		t.Errorf("%v, want ErrInterrupted", err)
	}
}
