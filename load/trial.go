package load

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"lode/internal/sleep"
)

// Trial is a stretch of the measured time with one kind of attackers at work. Whether
// miners felt them is judged against stretches without, before and after, and what a
// submit takes against the control, where there is one.
type Trial struct {
	Attack       string        `json:"attack"`
	Submit       Latency       `json:"submit"`
	Control      *Latency      `json:"control_submit,omitempty"` // at the same time, where there is a control
	Undisturbed  time.Duration `json:"-"`                        // p99 of a submit: the control's, else the greater one of before and after
	Ratio        float64       `json:"submit_p99_ratio"`         // of the two
	CPU          float64       `json:"cpu,omitempty"`            // processors that Options.Watch used
	CPUWithout   float64       `json:"cpu_without,omitempty"`
	Accepted     int64         `json:"accepted"`
	FalseRejects int64         `json:"false_rejects"`
	Unanswered   int64         `json:"unanswered"`
	Lost         int64         `json:"lost_connections"` // of miners
	Felt         []string      `json:"felt,omitempty"`   // what miners felt; none: nothing
	Attackers    *Hostile      `json:"attackers"`
}

const (
	// onset is how long all attackers are at work before what they do is measured, recovery
	// how long nothing is measured after they have gone; neither is longer than a trial.
	onset    = 2 * time.Second
	recovery = time.Second
	// enough are the shares before and after that show that there should have been some,
	// and patience is how much longer a trial waits for the first of them: a machine may
	// stand still for as long as a short trial lasts.
	enough   = 20
	patience = 20 * time.Second
	// unfelt is a latency that no miner feels, whatever it is without attackers.
	unfelt = 10 * time.Millisecond
)

// trials measures with one kind of attackers after the other, and without before and
// after each: other programs on these machines come and go, too.
func (r *run) trials(ctx context.Context) {
	before, ok := r.trial(ctx, "")
	for i := 0; ok && i < len(r.attacks); i++ {
		a := &r.attacks[i]
		h := new(hostile)
		working, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { r.attackers(working, a, h, firstAttack+i) })
		_ = sleep.For(ctx, r.opts.pace()+min(onset, r.opts.Duration))
		t, complete := r.trial(ctx, a.Name)
		t.Attackers = h.report()
		stop()
		wg.Wait()
		_ = sleep.For(ctx, min(recovery, r.opts.Duration))
		var after Trial
		if after, ok = r.trial(ctx, ""); !complete {
			return
		}
		t.judge(&before, &after, r.opts.MaxRatio)
		r.addTrial(t)
		before = after
	}
}

func (r *run) addTrial(t Trial) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = append(r.tried, t)
}

// trial measures for Duration, and longer where no share of the many that are due is
// accepted; false: ctx ended before.
func (r *run) trial(ctx context.Context, attack string) (t Trial, ok bool) {
	counts := func() Trial {
		c := &r.shares
		return Trial{
			Accepted: c.accepted.Load(), FalseRejects: c.falseRejects.Load(), Unanswered: c.unanswered.Load(),
			Lost: r.lost.Load() + r.failed.Load(),
		}
	}
	before := counts()
	h, beside := new(histogram), new(histogram)
	r.window.Store(h)
	if r.control != nil {
		r.control.window.Store(beside)
	}
	begin, used := time.Now(), cpuTime(r.opts.Watch)
	ok = sleep.For(ctx, r.opts.Duration) == nil
	for many := r.opts.Shares*r.opts.Duration.Seconds() >= enough/2; ok && many && time.Since(begin) < r.opts.Duration+patience &&
		r.shares.accepted.Load() == before.Accepted; {
		ok = sleep.For(ctx, 10*time.Millisecond) == nil
	}
	used = cpuTime(r.opts.Watch) - used
	r.window.Store(nil)
	t = counts()
	if r.control != nil {
		r.control.window.Store(nil)
		latency := beside.latency()
		t.Control = &latency
	}
	t.CPU = max(used.Seconds()/time.Since(begin).Seconds(), 0)
	t.Attack, t.Submit = attack, h.latency()
	t.Accepted -= before.Accepted
	t.FalseRejects -= before.FalseRejects
	t.Unanswered -= before.Unanswered
	t.Lost -= before.Lost
	return t, ok
}

// judge says what miners felt, against the control or the times before and after.
func (t *Trial) judge(before, after *Trial, maxRatio float64) {
	felt := func(format string, args ...any) { t.Felt = append(t.Felt, fmt.Sprintf(format, args...)) }
	t.CPUWithout = (before.CPU + after.CPU) / 2
	undisturbed := "that without attackers"
	t.Undisturbed = max(before.Submit.P99, after.Submit.P99)
	if t.Control != nil && t.Control.Count > 0 {
		t.Undisturbed, undisturbed = t.Control.P99, "the control's"
	}
	if t.Undisturbed > 0 {
		t.Ratio = float64(t.Submit.P99) / float64(t.Undisturbed)
	}
	if t.FalseRejects > 0 {
		felt("%d false rejects", t.FalseRejects)
	}
	if t.Unanswered > 0 {
		felt("%d shares without an answer", t.Unanswered)
	}
	if t.Lost > 0 {
		felt("%d connections lost", t.Lost)
	}
	if t.Accepted == 0 && before.Accepted+after.Accepted >= enough {
		felt("no share was accepted")
	}
	if limit := max(time.Duration(maxRatio*float64(t.Undisturbed)), unfelt); t.Undisturbed > 0 && t.Submit.P99 > limit {
		felt("p99 of a submit %.1f ms, %.1f times %s", ms(t.Submit.P99), t.Ratio, undisturbed)
	}
}

// Felt reports whether miners felt any attack.
func (r *Report) Felt() bool {
	for _, t := range r.Trials {
		if len(t.Felt) > 0 {
			return true
		}
	}
	return false
}

// cpus is a number of processors.
func cpus(n float64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", n)
}

func (r *Report) writeTrials(w io.Writer) error {
	if len(r.Trials) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nattack\tattackers\topened\tcut off\trefused\tsubmits\tp50 ms\tp99 ms\twithout\tratio\tcpus\twithout\tminers felt")
	for _, x := range r.Trials {
		felt := strings.Join(x.Felt, ", ")
		if felt == "" {
			felt = "nothing"
		}
		a := x.Attackers
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%s\t%s\n",
			x.Attack, a.Wanted, a.Opened, a.CutOff, a.Refused, x.Submit.Count, ms(x.Submit.P50), ms(x.Submit.P99), ms(x.Undisturbed), x.Ratio, cpus(x.CPU), cpus(x.CPUWithout), felt)
	}
	return t.Flush()
}
