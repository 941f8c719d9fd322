package load

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lode/stratum"
)

// Each attack is carried out, and a pool that bears it passes.
func TestAttacks(t *testing.T) {
	p := startPool(t, tiny, stratum.ServerOptions{Limits: stratum.Limits{GuessTime: 10 * time.Millisecond}})
	defer p.blocks(300 * time.Millisecond)()
	report := mustRun(t, Options{
		Pool: p.url, Connections: 10, Duration: 70 * time.Millisecond, Shares: 300,
		Hostile: []string{"all"}, Attackers: 5, AttackRate: 300, MaxRatio: 1e6, // what is measured here is no latency
	})
	var want []string
	for _, a := range Attacks() {
		if !a.secure && !a.api {
			want = append(want, a.Name)
		}
	}
	var got []string
	for _, x := range report.Trials {
		got = append(got, x.Attack)
		if x.Attackers.Wanted != 5 || x.Attackers.Opened == 0 || len(x.Felt) > 0 || x.Accepted == 0 {
			t.Errorf("%s: attackers %+v, felt %q, %d accepted", x.Attack, x.Attackers, x.Felt, x.Accepted)
		}
	}
	if !slices.Equal(got, want) || report.Felt() {
		t.Errorf("attacks %q, want %q; felt %v", got, want, report.Felt())
	}
	if p.server.Stats().Garbage.Load() == 0 || p.suggested.Load() == 0 {
		t.Error("attacks have not reached the pool")
	}
	var table bytes.Buffer
	if err := report.WriteTable(&table); err != nil || !strings.Contains(table.String(), "miners felt") {
		t.Errorf("table %s, %v", &table, err)
	}
}

// What a pool does to its miners while attackers are there is told.
func TestAttacksAreFelt(t *testing.T) {
	if source(netip.MustParseAddr("127.0.0.1"), firstAttack, 0) == nil {
		t.Skip("on this system attackers have no address of their own to know them by")
	}
	for name, c := range map[string]struct {
		prepare func(p *testPool)
		want    string
	}{
		"false rejects": {func(p *testPool) {
			p.lie = func(*stratum.Share) error {
				if p.server.Stats().Connections.Load() > 6 {
					return &stratum.Error{Code: stratum.CodeLowDifficulty, Text: "busy"}
				}
				return nil
			}
		}, "false rejects"},
		"slow": {func(p *testPool) {
			p.lie = func(*stratum.Share) error {
				if p.server.Stats().Connections.Load() > 6 {
					time.Sleep(100 * time.Millisecond)
				}
				return nil
			}
		}, "p99 of a submit"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPool(t, tiny, stratum.ServerOptions{})
			c.prepare(p)
			report := mustRun(t, Options{
				Pool: p.url, Connections: 5, Duration: 500 * time.Millisecond, Shares: 100, Hostile: []string{"silent"}, Attackers: 5, AttackRate: 100,
			})
			if len(report.Trials) != 1 || !report.Felt() || !strings.Contains(strings.Join(report.Trials[0].Felt, ", "), c.want) {
				t.Errorf("trials %+v, want %q felt", report.Trials, c.want)
			}
		})
	}
}

// With a control, miners feel attackers where their own pool is slow, and not where all pools are.
func TestControl(t *testing.T) {
	if source(netip.MustParseAddr("127.0.0.1"), firstAttack, 0) == nil {
		t.Skip("on this system attackers have no address of their own to know them by")
	}
	for name, slow := range map[string]struct{ pool, control bool }{
		"the pool":  {true, false},
		"both":      {true, true},
		"the other": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			attacked, control := startPool(t, tiny, stratum.ServerOptions{}), startPool(t, tiny, stratum.ServerOptions{})
			lie := func(slow bool) func(*stratum.Share) error {
				return func(*stratum.Share) error {
					if slow && attacked.server.Stats().Connections.Load() > 6 {
						time.Sleep(100 * time.Millisecond)
					}
					return nil
				}
			}
			attacked.lie, control.lie = lie(slow.pool), lie(slow.control)
			report := mustRun(t, Options{
				Pool: attacked.url, Control: control.url, Connections: 5, Duration: 300 * time.Millisecond, Shares: 100,
				Hostile: []string{"silent"}, Attackers: 5, AttackRate: 100,
				MaxRatio: 4, // the machine may be busy
			})
			if want := slow.pool && !slow.control; len(report.Trials) != 1 || report.Felt() != want || want && !strings.HasSuffix(report.Trials[0].Felt[0], "times the control's") {
				t.Errorf("trials %+v, felt: want %v", report.Trials, want)
			}
			if k := report.Control; k == nil || k.Pool != control.url || k.Mining != 5 || k.Accepted == 0 || k.FalseRejects != 0 || report.Trials[0].Control.Count == 0 {
				t.Errorf("control %+v, trials %+v", k, report.Trials)
			}
			if most := control.server.Stats().Connections.Load(); most > 6 {
				t.Errorf("%d connections at the control: there are attackers", most)
			}
		})
	}
}

// Attackers come one after the other in the time of a round, and who was not let in comes
// again no sooner than after another.
func TestAttackersComeAtTheirRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wanted, pace = 100, 10 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		h := &hostile{wanted: wanted}
		r := &run{dialer: &dialer{target: netip.MustParseAddrPort("127.0.0.1:1")}} // nobody listens there
		var wg sync.WaitGroup
		wg.Go(func() { h.run(ctx, r, firstAttack, pace, nil) })
		time.Sleep(pace / 2)
		synctest.Wait()
		if n := h.refused.Load(); n < wanted/5 || n > wanted-wanted/5 {
			t.Errorf("%d of %d have come after half of the time", n, wanted)
		}
		time.Sleep(pace/2 - time.Millisecond)
		synctest.Wait()
		if n := h.refused.Load(); n < wanted-1 || n > wanted {
			t.Errorf("%d of %d have come in their time", n, wanted)
		}
		cancel()
		wg.Wait()
	})
}

// A control that is not there, or where nobody gets work, ends the run with its name.
func TestControlIsMissed(t *testing.T) {
	attacked := startPool(t, tiny, stratum.ServerOptions{})
	o := Options{
		Pool: attacked.url, Control: "stratum+tcp://127.0.0.1:1", User: "me", Connections: 2, Duration: 100 * time.Millisecond, Shares: 100, Hostile: []string{"silent"},
	}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "control: pool stratum+tcp://127.0.0.1:1") {
		t.Errorf("error %v", err)
	}
	for name, change := range map[string]func(){
		"the same": func() { o.Control = attacked.url },
		"no URL":   func() { o.Control = "http://127.0.0.1:1" },
		"no need":  func() { o.Control, o.Hostile = "stratum+tcp://127.0.0.1:1", nil },
	} {
		change()
		bad := new(OptionError)
		if err := o.Check(); !errors.As(err, &bad) || bad.Option != "Control" {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestJudgeTrial(t *testing.T) {
	quiet := Trial{Submit: Latency{P99: 20 * time.Millisecond}, Accepted: 10}
	slower := Trial{Submit: Latency{P99: 40 * time.Millisecond}}
	for name, c := range map[string]struct {
		trial         Trial
		before, after Trial
		felt          int
	}{
		"nothing":              {Trial{Accepted: 9, Submit: Latency{P99: 39 * time.Millisecond}}, quiet, quiet, 0},
		"slow":                 {Trial{Accepted: 9, Submit: Latency{P99: 41 * time.Millisecond}}, quiet, quiet, 1},
		"slow before":          {Trial{Accepted: 9, Submit: Latency{P99: 79 * time.Millisecond}}, slower, quiet, 0},
		"slow after":           {Trial{Accepted: 9, Submit: Latency{P99: 79 * time.Millisecond}}, quiet, slower, 0},
		"slow control":         {Trial{Accepted: 9, Submit: Latency{P99: 79 * time.Millisecond}, Control: &Latency{Count: 9, P99: 40 * time.Millisecond}}, quiet, quiet, 0},
		"quick control":        {Trial{Accepted: 9, Submit: Latency{P99: 39 * time.Millisecond}, Control: &Latency{Count: 9, P99: 18 * time.Millisecond}}, slower, slower, 1},
		"silent control":       {Trial{Accepted: 9, Submit: Latency{P99: 41 * time.Millisecond}, Control: &Latency{}}, quiet, quiet, 1},
		"quick, but not so":    {Trial{Accepted: 9, Submit: Latency{P99: 9 * time.Millisecond}}, Trial{Submit: Latency{P99: time.Microsecond}}, Trial{}, 0},
		"refused":              {Trial{Accepted: 9, FalseRejects: 1}, quiet, quiet, 1},
		"unanswered":           {Trial{Accepted: 9, Unanswered: 1}, quiet, quiet, 1},
		"lost":                 {Trial{Accepted: 9, Lost: 1}, quiet, quiet, 1},
		"nobody could mine":    {Trial{Lost: 2}, quiet, quiet, 2},
		"few could":            {Trial{}, Trial{Accepted: 9}, quiet, 0},
		"nobody mined, anyhow": {Trial{Submit: Latency{P99: time.Second}}, Trial{}, Trial{}, 0},
	} {
		c.trial.judge(&c.before, &c.after, 2)
		if len(c.trial.Felt) != c.felt {
			t.Errorf("%s: felt %q", name, c.trial.Felt)
		}
	}
}

func TestAttackNames(t *testing.T) {
	for name, c := range map[string]struct {
		names       []string
		secure, api bool
		want        int
	}{
		"none":            {nil, true, true, 0},
		"all":             {[]string{"all"}, true, true, len(attacks)},
		"all, no TLS":     {[]string{"all"}, false, true, len(attacks) - 1},
		"all, no API":     {[]string{"all"}, true, false, len(attacks) - 4},
		"two":             {[]string{"deaf", "guess"}, false, false, 2},
		"unknown":         {[]string{"deaf", "dumb"}, false, false, -1},
		"TLS, not spoken": {[]string{"handshake"}, false, false, -1},
		"API, not named":  {[]string{"api-notify"}, false, false, -1},
	} {
		list, err := parseAttacks(c.names, c.secure, c.api)
		if len(list) != max(c.want, 0) || (err != nil) != (c.want < 0) {
			t.Errorf("%s: %d attacks, %v", name, len(list), err)
		}
	}
}

// Where attackers are stopped early, what was tried until then is told.
func TestAttacksEndEarly(t *testing.T) {
	p := startPool(t, tiny, stratum.ServerOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	report, err := Run(ctx, Options{
		Pool: p.url, User: "me", Connections: 2, Duration: 200 * time.Millisecond, Shares: 50, Hostile: []string{"ping", "churn", "deaf", "silent"},
	})
	if err == nil || report == nil || len(report.Trials) == 0 || len(report.Trials) > 3 {
		t.Errorf("report %+v, %v", report, err)
	}
}
