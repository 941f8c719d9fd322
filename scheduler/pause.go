package scheduler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lode/scheduler/core"
	"lode/scheduler/rule"
	"lode/scheduler/signals"
)

// Signals that the scheduler knows by itself, from miners' reports.
const (
	OthersSignal = "others" // share of the miners' cpus that others use, 0 to 1
	WattsSignal  = "watts"  // power of the miners' processors, where it can be read
)

const (
	// signalEvery is how often files and URLs are read, and ruleEvery how often the
	// rule is looked at: together they are how long a cluster hashes on.
	signalEvery = 500 * time.Millisecond
	ruleEvery   = 200 * time.Millisecond
)

// CheckSignals says whether a rule's signals have sources, and all sources are asked for.
func CheckSignals(r *rule.Rule, sources map[string]string) error {
	var wanted []string
	if r != nil {
		wanted = r.Signals()
	}
	for _, name := range wanted {
		if _, ok := sources[name]; !ok && name != OthersSignal && name != WattsSignal {
			return fmt.Errorf("the rule asks for %s, which nothing gives: give --signal %s=FILE or URL", name, name)
		}
	}
	for name, source := range sources {
		switch {
		case !rule.ValidName(name):
			return fmt.Errorf("no signal can be called %q: want lower-case letters, digits, _ and -", name)
		case name == OthersSignal || name == WattsSignal || name == rule.Time:
			return fmt.Errorf("the signal %s is known already: choose another name", name)
		case !slices.Contains(wanted, name):
			return fmt.Errorf("no rule asks for the signal %s", name)
		}
		if err := signals.Check(source); err != nil {
			return fmt.Errorf("the signal %s: %w", name, err)
		}
	}
	return nil
}

// watchRule tells the core whether miners are to pause. What is not known changes
// nothing.
func (s *Scheduler) watchRule(ctx context.Context) {
	r := s.config.PauseWhen
	if r == nil {
		return
	}
	watcher := signals.New(s.config.Signals, signalEvery, s.log)
	done := make(chan struct{})
	go func() {
		defer close(done)
		watcher.Run(ctx)
	}()
	defer func() { <-done }()
	ticker := time.NewTicker(ruleEvery)
	defer ticker.Stop()
	var d damper
	last := false
	for told := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		values := watcher.Values(now)
		s.mu.Lock()
		others, watts, known := s.core.Foreign()
		s.mu.Unlock()
		if known {
			values[OthersSignal] = others
			if watts > 0 {
				values[WattsSignal] = watts
			}
		}
		truth := r.Eval(now, values)
		pause := d.see(now, truth)
		if pause && d.over.Equal(now) {
			s.log.Info("the rule of --pause-when goes to and fro: mining goes on when it has been over for a while", "for", d.hold)
		}
		if pause != last || !told && truth != rule.Unknown {
			last, told = pause, true
			s.enqueue(queued{event: core.Pause{On: pause, Why: reasonOf(r, values)}})
		}
	}
}

// reasonOf is the rule with the values that it was about.
func reasonOf(r *rule.Rule, values map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if slices.Contains(r.Signals(), name) {
			parts = append(parts, fmt.Sprintf("%s is %g", name, values[name]))
		}
	}
	return strings.TrimSuffix(r.String()+": "+strings.Join(parts, ", "), ": ")
}
