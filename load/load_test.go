package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lode/stratum"
)

// tiny is a difficulty whose shares take about 43 hashes.
const tiny = 1e-8

func mustRun(t *testing.T, o Options) *Report {
	t.Helper()
	if o.User == "" {
		o.User = "me"
	}
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			var b bytes.Buffer
			_ = report.WriteTable(&b)
			t.Log("\n" + b.String())
		}
	})
	return report
}

func TestRunAgainstAnHonestPool(t *testing.T) {
	p := startPool(t, tiny, stratum.ServerOptions{})
	defer p.blocks(200 * time.Millisecond)()
	var phases []Phase
	report := mustRun(t, Options{
		Pool: p.url, Connections: 40, Ramp: 100 * time.Millisecond, Duration: 1500 * time.Millisecond, Shares: 200, Difficulty: tiny,
		Origin: p.origin, Progress: func(p Progress) { phases = append(phases, p.Phase) },
	})
	s := report.Shares
	if s.Accepted == 0 || s.FalseRejects != 0 || s.Unanswered != 0 || s.Lost != 0 {
		t.Errorf("shares %+v", s)
	}
	if p.invalid.Load() != 0 || p.accepted.Load() != s.Accepted {
		t.Errorf("the pool says %d accepted, %d invalid; the report %d", p.accepted.Load(), p.invalid.Load(), s.Accepted)
	}
	if s.Submit.Count != s.Accepted+s.Stale+s.Undecided || s.Submit.P50 <= 0 || s.Submit.Max < s.Submit.P99 {
		t.Errorf("submit %+v of %+v", s.Submit, s)
	}
	c := report.Connections
	if c.AtEnd != 40 || c.Lost != 0 || c.Failed != 0 || c.FirstJob.Count != 40 || c.Connect.Count != 40 || c.Login.Count != 40 {
		t.Errorf("connections %+v", c)
	}
	j := report.Jobs
	if j.Broadcasts == 0 || j.Spread.Count < 40 || j.FromOrigin.Count != j.Spread.Count || j.FromOrigin.Max < j.Spread.Max {
		t.Errorf("jobs %+v", j)
	}
	if p.suggested.Load() < 40 {
		t.Errorf("a difficulty was suggested %d times by 40 miners", p.suggested.Load())
	}
	if len(phases) == 0 {
		t.Error("no progress was told")
	}

	var table bytes.Buffer
	if err := report.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"40 of 40", "0 false rejects", "submit", "clean job after the first miner"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("table without %q:\n%s", want, &table)
		}
	}
	raw, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Measured float64 `json:"measured_s"`
		Shares   struct {
			Accepted int64 `json:"accepted"`
			Submit   struct {
				P99 float64 `json:"p99_ms"`
			} `json:"submit"`
		} `json:"shares"`
	}
	if err := json.Unmarshal(raw, &back); err != nil || back.Measured < 1 || back.Shares.Accepted != s.Accepted || back.Shares.Submit.P99 <= 0 {
		t.Errorf("JSON %s gives %+v, %v", raw, back, err)
	}
	file := filepath.Join(t.TempDir(), "plot.svg")
	if err := report.SavePlot(file); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(content), ">submit p50<") {
		t.Errorf("%v: no curve of submits in\n%s", err, content)
	}
}

func TestSharesUnderABlockChangeAreNoFalseRejects(t *testing.T) {
	p := startPool(t, tiny, stratum.ServerOptions{})
	// The pool refuses the old job's shares for a while before miners can know.
	p.late = 50 * time.Millisecond
	defer p.blocks(100 * time.Millisecond)()
	report := mustRun(t, Options{Pool: p.url, Connections: 10, Duration: 1500 * time.Millisecond, Shares: 300})
	if s := report.Shares; s.Stale == 0 || s.FalseRejects != 0 {
		t.Errorf("shares %+v: want stale ones, and no false rejects", s)
	}
}

func TestLiesAreFound(t *testing.T) {
	for name, lie := range map[string]*stratum.Error{
		"low difficulty": {Code: stratum.CodeLowDifficulty, Text: "Low difficulty share"},
		"duplicate":      {Code: stratum.CodeDuplicate, Text: "Duplicate share"},
		"stale":          {Code: stratum.CodeStale, Text: "Job not found"}, // though no other job has come
		"other":          {Code: stratum.CodeOther, Text: "I do not like it"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPool(t, tiny, stratum.ServerOptions{})
			var lies atomic.Int64
			p.lie = func(s *stratum.Share) error {
				if s.Nonce%4 == 0 {
					lies.Add(1)
					return lie
				}
				return nil
			}
			report := mustRun(t, Options{Pool: p.url, Connections: 4, Duration: 500 * time.Millisecond, Shares: 200, Grace: 100 * time.Millisecond})
			s := report.Shares
			// Those at the very end may still be in doubt.
			if s.FalseRejects == 0 || s.FalseRejects+s.Undecided != lies.Load() || s.Stale != 0 {
				t.Errorf("%d lies, shares %+v", lies.Load(), s)
			}
			if len(s.Examples) == 0 || s.Examples[0].Reason != lie.Text || len(s.Examples[0].Header) != 160 || len(s.Reasons) != 1 {
				t.Errorf("examples %+v, reasons %v", s.Examples, s.Reasons)
			}
		})
	}
}

func TestGarbageAndSlowReadersDisturbNobody(t *testing.T) {
	p := startPool(t, tiny, stratum.ServerOptions{Limits: stratum.Limits{Unread: time.Second, UnreadBytes: 4096, LineTime: time.Second, Tarpit: -1}})
	defer p.blocks(100 * time.Millisecond)()
	report := mustRun(t, Options{Pool: p.url, Connections: 20, Duration: 3 * time.Second, Shares: 100, Garbage: len(junk), SlowReaders: 2})
	if s := report.Shares; s.Accepted == 0 || s.FalseRejects != 0 || s.Unanswered != 0 {
		t.Errorf("shares %+v", s)
	}
	if c := report.Connections; c.AtEnd != 20 || c.Lost != 0 || c.Failed != 0 {
		t.Errorf("connections %+v", c)
	}
	if g := report.Garbage; g.CutOff < int64(len(junk))/2 || g.After.Count != g.CutOff {
		t.Errorf("garbage %+v", g)
	}
	if s := report.SlowReaders; s.Opened < 2 || s.Refused != 0 {
		t.Errorf("slow readers %+v", s)
	}
}

func TestCutsOfSlowReadersAreSeen(t *testing.T) {
	if source(netip.MustParseAddr("127.0.0.1"), slowReaders, 0) == nil {
		t.Skip("on this system slow readers have no address of their own to know them by")
	}
	p := startPool(t, tiny, stratum.ServerOptions{})
	p.cut = netip.MustParsePrefix("127.1.0.0/16")
	// The server waits 2 s for the other side to close, too, before it cuts.
	report := mustRun(t, Options{Pool: p.url, Connections: 2, Duration: 4 * time.Second, SlowReaders: 1})
	if s := report.SlowReaders; s.CutOff == 0 || s.After.Count != s.CutOff || s.After.Max < 200*time.Millisecond {
		t.Errorf("slow readers %+v", s)
	}
	if c := report.Connections; c.AtEnd != 2 || c.Lost != 0 {
		t.Errorf("connections %+v", c)
	}
}

func TestLossesAreCounted(t *testing.T) {
	p := startPool(t, tiny, stratum.ServerOptions{})
	p.cut = netip.MustParsePrefix("127.0.0.0/8")
	report := mustRun(t, Options{Pool: p.url, Connections: 3, Duration: 2 * time.Second})
	if c := report.Connections; c.Lost < 3 || c.Errors["lost: closed by the pool"] != int(c.Lost) {
		t.Errorf("connections %+v", c)
	}
}

func TestStorm(t *testing.T) {
	p := startPool(t, tiny, stratum.ServerOptions{})
	defer p.blocks(150 * time.Millisecond)()
	report := mustRun(t, Options{Pool: p.url, Connections: 30, Duration: 2 * time.Second, Shares: 50, StormSize: 20, StormInterval: 500 * time.Millisecond})
	st := report.Storms
	if st.Rounds < 2 || st.Connections < 30 || st.Back.Count == 0 || st.LastBack.Count == 0 {
		t.Errorf("storms %+v", st)
	}
	if c := report.Connections; c.Lost != 0 || c.Failed != 0 {
		t.Errorf("connections %+v: a storm's cuts are no losses", c)
	}
	if s := report.Shares; s.FalseRejects != 0 {
		t.Errorf("shares %+v", s)
	}
}

func TestTooHighDifficultyIsSaidAndNothingFaked(t *testing.T) {
	p := startPool(t, 1000, stratum.ServerOptions{})
	var notices []string
	report := mustRun(t, Options{
		Pool: p.url, Connections: 3, Duration: 500 * time.Millisecond, Shares: 50, Difficulty: tiny,
		Notice: func(text string) { notices = append(notices, text) },
	})
	if s := report.Shares; s.Submitted != 0 || s.TooHard != 3 || s.NoWork == 0 || s.DifficultyMax != 1000 {
		t.Errorf("shares %+v", s)
	}
	if len(notices) == 0 || !strings.Contains(notices[0], "gives difficulty 1000") {
		t.Errorf("notices %q", notices)
	}
}

func TestEarlyEndStillReports(t *testing.T) {
	p := startPool(t, tiny, stratum.ServerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	report, err := Run(ctx, Options{
		Pool: p.url, User: "me", Connections: 5, Duration: time.Hour, Shares: 100,
		Progress: func(p Progress) {
			if p.Accepted > 10 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) || report == nil || report.Shares.Accepted <= 10 || report.Shares.FalseRejects != 0 ||
		report.Connections.AtEnd != 5 || report.Shares.Lost != 0 {
		t.Errorf("report %+v, %v", report, err)
	}
}

func TestRunRefuses(t *testing.T) {
	p := startPool(t, tiny, stratum.ServerOptions{})
	for name, c := range map[string]struct {
		options Options
		want    string
	}{
		"no URL":         {Options{Pool: "http://127.0.0.1:1", User: "me"}, "stratum+tcp"},
		"no user":        {Options{Pool: p.url}, "user"},
		"another host":   {Options{Pool: "stratum+tcp://192.0.2.1:3333", User: "me"}, "not this machine"},
		"too many":       {Options{Pool: p.url, User: "me", Connections: 1 << 30}, "connections"},
		"wrong user":     {Options{Pool: p.url, User: "nobody"}, "no such user"},
		"storm too big":  {Options{Pool: p.url, User: "me", StormSize: 2, StormInterval: time.Second}, "storm of 2"},
		"remote, greedy": {Options{Pool: "stratum+tcp://192.0.2.1:3333", User: "me", AllowRemote: true, Shares: 1e5}, "another machine"},
	} {
		report, err := Run(t.Context(), c.options)
		if err == nil || report != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want an error with %q", name, report, err, c.want)
		}
	}
}
