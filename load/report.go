package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a run has measured. All of it but Connections is about the
// time after the ramp.
//
// Latencies end when the kernel had the pool's bytes, where it tells (Linux, not
// through TLS), so a generator that is short of CPU does not make the pool look slow;
// Lag says how much later the generator itself came to read them. They begin just
// before the generator's own write.
type Report struct {
	Pool          string        `json:"pool"`
	Started       time.Time     `json:"started"`
	Ramp          time.Duration `json:"-"`
	Measured      time.Duration `json:"-"`
	CPUs          int           `json:"cpus"`          // of the generator
	KernelClock   bool          `json:"kernel_clock"`  // latencies end when the kernel received
	Notifications int64         `json:"notifications"` // jobs, on all connections together
	Lag           Latency       `json:"generator_lag"`

	Connections Connections `json:"connections"`
	Jobs        Jobs        `json:"jobs"`
	Shares      Shares      `json:"shares"`
	Storms      *Storms     `json:"storms,omitempty"`
	SlowReaders *Hostile    `json:"slow_readers,omitempty"`
	Garbage     *Hostile    `json:"garbage,omitempty"`
	Memory      *Memory     `json:"memory,omitempty"` // of Options.Watch
	Trials      []Trial     `json:"trials,omitempty"` // where there were attackers
	Control     *Control    `json:"control,omitempty"`
	Series      []Second    `json:"series,omitempty"`
	Notes       []string    `json:"notes,omitempty"`

	curves []curve
}

// Connections are the miners' connections.
type Connections struct {
	Wanted int   `json:"wanted"`
	AtEnd  int   `json:"at_end"` // that had work when the run ended
	Failed int64 `json:"failed"` // attempts without a job
	Lost   int64 `json:"lost"`   // ended by the pool or the network after their first job
	// Errors counts failures and losses by reason.
	Errors map[string]int `json:"errors,omitempty"`
	// Connect is TCP, and TLS if that is spoken; Login to the reply to authorize;
	// FirstJob to the first job. All from the same beginning.
	Connect  Latency `json:"connect"`
	Login    Latency `json:"login"`
	FirstJob Latency `json:"first_job"`
}

// Jobs are clean jobs, as they reached the miners.
type Jobs struct {
	Broadcasts int `json:"broadcasts"`
	// Incomplete are those that fewer miners got than were mining when it began:
	// because they left, or a newer job overtook it, or it was never sent to them.
	Incomplete int `json:"incomplete"`
	// Spread is from the first miner's receipt to each one's; Last is the last
	// miner's of each complete broadcast.
	Spread Latency `json:"spread"`
	Last   Latency `json:"last_miner"`
	// FromOrigin and LastFromOrigin are the same from what caused the job: the sending
	// of the share that was the block below it, or what Options.Origin says.
	FromOrigin     Latency     `json:"from_origin"`
	LastFromOrigin Latency     `json:"last_miner_from_origin"`
	Each           []Broadcast `json:"each,omitempty"`
}

// Shares are the shares of all miners.
type Shares struct {
	Wanted    float64 `json:"wanted_per_second"`
	Rate      float64 `json:"submitted_per_second"`
	Due       int64   `json:"due"`
	Submitted int64   `json:"submitted"`
	Accepted  int64   `json:"accepted"`
	// Stale are refusals that a clean job, or a change of extranonce or version mask,
	// that was on its way explains. FalseRejects have no such excuse.
	Stale        int64 `json:"stale"`
	FalseRejects int64 `json:"false_rejects"`
	// Undecided are refusals as stale at the very end of the run or of a connection.
	Undecided  int64 `json:"undecided"`
	Unanswered int64 `json:"unanswered"`
	Lost       int64 `json:"lost"` // with their connection
	// Of the shares due, these were never sent: Outdated while they were solved,
	// Behind because the generator's CPUs had no time, NoWork because no miner had
	// work that could be solved.
	Outdated int64 `json:"outdated"`
	Behind   int64 `json:"behind"`
	NoWork   int64 `json:"no_work"`

	Submit   Latency        `json:"submit"` // from sending to the verdict
	Reasons  map[string]int `json:"false_reject_reasons,omitempty"`
	Examples []FalseReject  `json:"false_reject_examples,omitempty"`

	// Difficulties of the miners at the end; TooHard have one above what is solved.
	DifficultyMin    float64 `json:"difficulty_min"`
	DifficultyMedian float64 `json:"difficulty_median"`
	DifficultyMax    float64 `json:"difficulty_max"`
	TooHard          int     `json:"too_hard"`
}

// Second is one second of the run.
type Second struct {
	At                              time.Duration
	Mining                          int
	Accepted, FalseRejects          int64 // since the start
	SubmitP50, SubmitP99, SubmitMax time.Duration
	Resident                        int64 // bytes of Options.Watch; 0: unknown
}

// MarshalJSON gives seconds and milliseconds.
func (s Second) MarshalJSON() ([]byte, error) {
	second := map[string]any{
		"t_s": s.At.Seconds(), "mining": s.Mining, "accepted": s.Accepted, "false_rejects": s.FalseRejects,
		"submit_p50_ms": ms(s.SubmitP50), "submit_p99_ms": ms(s.SubmitP99), "submit_max_ms": ms(s.SubmitMax),
	}
	if s.Resident > 0 {
		second["resident"] = s.Resident
	}
	return json.Marshal(second)
}

// MarshalJSON gives seconds and milliseconds.
func (b Broadcast) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		At         float64  `json:"t_s"`
		Expected   int      `json:"expected"`
		Reached    int      `json:"reached"`
		Spread     Latency  `json:"spread"`
		FromOrigin *Latency `json:"from_origin,omitempty"`
	}{b.At.Seconds(), b.Expected, b.Reached, b.Spread, b.FromOrigin})
}

// MarshalJSON adds the lengths in seconds.
func (r *Report) MarshalJSON() ([]byte, error) {
	type plain Report
	return json.Marshal(struct {
		*plain
		Ramp     float64 `json:"ramp_s"`
		Measured float64 `json:"measured_s"`
	}{(*plain)(r), r.Ramp.Seconds(), r.Measured.Seconds()})
}

func (r *run) fill(report *Report) {
	report.Ramp, report.Measured = r.ramped, r.measured
	report.KernelClock = r.stamped.Load()
	report.Notifications = r.notifications.Load()
	report.Lag = r.lag.latency()
	b := r.broadcasts
	b.mu.Lock()
	report.Jobs = Jobs{
		Broadcasts: b.count, Incomplete: b.incomplete, Spread: b.spread.latency(), Last: b.last.latency(),
		FromOrigin: b.fromOrigin.latency(), LastFromOrigin: b.originTotal.latency(), Each: b.done,
	}
	b.mu.Unlock()
	c := &r.shares
	report.Shares = Shares{
		Wanted: r.opts.Shares, Due: c.due.Load(), Submitted: c.submitted.Load(), Accepted: c.accepted.Load(), Stale: c.stale.Load(),
		FalseRejects: c.falseRejects.Load(), Undecided: c.undecided.Load(), Unanswered: c.unanswered.Load(), Lost: c.lost.Load(),
		Outdated: c.outdated.Load(), Behind: c.behind.Load(), NoWork: c.noWork.Load(), Submit: r.submit.latency(),
		TooHard: r.atEnd.tooHard,
	}
	if r.measured > 0 {
		report.Shares.Rate = float64(report.Shares.Submitted) / r.measured.Seconds()
	}
	c.mu.Lock()
	report.Shares.Reasons, report.Shares.Examples = maps.Clone(c.reasons), slices.Clone(c.examples)
	c.mu.Unlock()
	if d := r.atEnd.difficulties; len(d) > 0 {
		report.Shares.DifficultyMin, report.Shares.DifficultyMedian, report.Shares.DifficultyMax = d[0], d[len(d)/2], d[len(d)-1]
	}
	if r.opts.StormSize > 0 {
		report.Storms = &Storms{
			Rounds: int(r.stormRounds.Load()), Connections: int(r.stormCut.Load()),
			Unfinished: int(r.stormRounds.Load() - r.stormLast.count.Load()), Back: r.stormBack.latency(), LastBack: r.stormLast.latency(),
		}
	}
	report.SlowReaders, report.Garbage = r.slow.report(), r.garbage.report()
	report.Control = r.controlReport()
	report.curves = r.curves()
	r.advise(report)
	r.mu.Lock()
	defer r.mu.Unlock()
	report.Connections = Connections{
		Wanted: len(r.slots), AtEnd: r.atEnd.mining, Failed: r.failed.Load(), Lost: r.lost.Load(), Errors: maps.Clone(r.errors),
		Connect: r.connected.latency(), Login: r.loggedIn.latency(), FirstJob: r.firstJob.latency(),
	}
	report.Series, report.Notes, report.Trials, report.Memory = r.series, r.notes, r.tried, r.memory
}

// advise says in words what makes numbers of a report mean less than they seem to.
func (r *run) advise(report *Report) {
	s := &report.Shares
	if s.TooHard > 0 && s.Wanted > 0 {
		r.remark("%d miners have a difficulty (up to %.4g) whose shares take more than %.3g hashes; they sent none", s.TooHard, s.DifficultyMax, r.opts.MaxHashes)
	}
	if s.Behind > s.Due/50 {
		r.remark("%d of %d shares were not solved in time: this machine's CPUs are too slow for the rate at this difficulty; ask for a lower one", s.Behind, s.Due)
	}
	if report.Jobs.Broadcasts == 0 && report.Measured > 0 {
		r.remark("the pool has sent no clean job in this time, so there are no latencies of jobs: measure for longer than a block takes")
	}
	if !report.KernelClock && report.Notifications > 0 {
		r.remark("latencies end when this program has read, not when the kernel received: they hold this program's own delays")
	}
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	c, s := &r.Connections, &r.Shares
	fmt.Fprintf(t, "pool\t%s\n", r.Pool)
	fmt.Fprintf(t, "time\t%v ramp, %v measured\n", round(r.Ramp), round(r.Measured))
	fmt.Fprintf(t, "connections\t%d of %d at the end, %d lost, %d attempts failed\n", c.AtEnd, c.Wanted, c.Lost, c.Failed)
	writeCounts(t, "", c.Errors)
	fmt.Fprintf(t, "jobs\t%d clean broadcasts, %d of them incomplete; %d jobs received\n", r.Jobs.Broadcasts, r.Jobs.Incomplete, r.Notifications)
	if s.Wanted > 0 {
		fmt.Fprintf(t, "shares\t%d submitted, %.1f/s of %.1f/s wanted: %d accepted, %d stale, %d false rejects\n", s.Submitted, s.Rate, s.Wanted, s.Accepted, s.Stale, s.FalseRejects)
		writeCounts(t, "false: ", s.Reasons)
		for _, other := range []struct {
			n    int64
			what string
		}{
			{s.Undecided, "refused as stale at the very end"},
			{s.Unanswered, "not answered"},
			{s.Lost, "lost with their connection"},
			{s.Outdated, "given up while they were solved, for a newer job"},
			{s.Behind, "not solved in time"},
			{s.NoWork, "without work that could be solved"},
		} {
			if other.n > 0 {
				fmt.Fprintf(t, "\t%d %s\n", other.n, other.what)
			}
		}
		fmt.Fprintf(t, "difficulty\t%.4g to %.4g, median %.4g\n", s.DifficultyMin, s.DifficultyMax, s.DifficultyMedian)
	}
	if k := r.Control; k != nil {
		fmt.Fprintf(t, "control\t%s: %d of %d connections at the end, %d shares accepted, %d false rejects\n", k.Pool, k.Mining, c.Wanted, k.Accepted, k.FalseRejects)
	}
	if r.Storms != nil {
		fmt.Fprintf(t, "storms\t%d, of %d connections together; %d not over at the end\n", r.Storms.Rounds, r.Storms.Connections, r.Storms.Unfinished)
	}
	writeHostile(t, "slow readers", r.SlowReaders)
	writeHostile(t, "garbage", r.Garbage)
	if err := t.Flush(); err != nil {
		return err
	}
	if err := errors.Join(r.writeLatencies(w), r.writeTrials(w)); err != nil {
		return err
	}
	if r.Memory != nil {
		if err := r.Memory.writeCurve(w); err != nil {
			return err
		}
	}
	for _, n := range r.Notes {
		if _, err := fmt.Fprintf(w, "\nnote: %s\n", n); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) writeLatencies(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nmilliseconds\tcount\tp50\tp90\tp99\tp99.9\tmax\t")
	row := func(name string, l Latency) {
		if l.Count > 0 {
			fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", name, l.Count, ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max))
		}
	}
	row("connect", r.Connections.Connect)
	row("login", r.Connections.Login)
	row("first job", r.Connections.FirstJob)
	row("clean job after the first miner", r.Jobs.Spread)
	row("… the last miner", r.Jobs.Last)
	row("clean job after the block", r.Jobs.FromOrigin)
	row("… the last miner", r.Jobs.LastFromOrigin)
	row("submit", r.Shares.Submit)
	if r.Storms != nil {
		row("back after a storm", r.Storms.Back)
		row("… the last miner", r.Storms.LastBack)
	}
	for _, h := range []struct {
		name string
		*Hostile
	}{{"slow reader cut off after", r.SlowReaders}, {"garbage cut off after", r.Garbage}} {
		if h.Hostile != nil {
			row(h.name, h.After)
		}
	}
	row("(this program's own lag)", r.Lag)
	return t.Flush()
}

func writeCounts(w io.Writer, prefix string, counts map[string]int) {
	for _, text := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(w, "\t%s%s (%d)\n", prefix, printable(text), counts[text])
	}
}

func writeHostile(w io.Writer, name string, h *Hostile) {
	if h != nil {
		fmt.Fprintf(w, "%s\t%d: %d connections, %d cut off by the pool, %d refused, %d open at the end\n", name, h.Wanted, h.Opened, h.CutOff, h.Refused, h.Open)
	}
}

// printable keeps a pool's words from writing over the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
