package scheduler

import (
	"sync"
	"time"

	"lode/scheduler/api"
)

// tally adds up what tasks count, so that a sum goes on when a task ends: miners count
// from their own start and take their counts with them.
type tally struct {
	since time.Time // what tasks of before had counted by their first report is not ours

	mu    sync.Mutex // guards the rest
	last  map[string]counts
	total counts
}

// counts are what a miner counts.
type counts struct {
	accepted, rejected, stale float64 // shares
	difficulty                float64 // of accepted shares, pdiff
	hashes                    float64
	given                     float64 // times that a core was given to somebody
	cpu, away, parked         float64 // seconds of threads
}

func newTally(since time.Time) *tally {
	return &tally{since: since, last: make(map[string]counts)}
}

// report takes the counts of a miner's report.
func (t *tally) report(task *api.Task) {
	if task.Kind != "miner" {
		return
	}
	now := counts{
		accepted: float64(task.Shares.Accepted), rejected: float64(task.Shares.Rejected), stale: float64(task.Shares.Stale),
		difficulty: task.Shares.Difficulty,
	}
	if m := task.Miner; m != nil {
		now.hashes = float64(m.Hashes)
		if y := m.Yielded; y != nil {
			now.given, now.cpu, now.away, now.parked = float64(y.Count), y.CPU, y.Away, y.Parked
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.last[task.ID]
	t.last[task.ID] = now
	if !known && task.LaunchedAt.Before(t.since) {
		return
	}
	t.total.add(now, before)
}

// add adds what has come since before; a count that fell has begun anew.
func (c *counts) add(now, before counts) {
	step := func(sum *float64, now, before float64) {
		if now < before {
			before = 0
		}
		*sum += now - before
	}
	step(&c.accepted, now.accepted, before.accepted)
	step(&c.rejected, now.rejected, before.rejected)
	step(&c.stale, now.stale, before.stale)
	step(&c.difficulty, now.difficulty, before.difficulty)
	step(&c.hashes, now.hashes, before.hashes)
	step(&c.given, now.given, before.given)
	step(&c.cpu, now.cpu, before.cpu)
	step(&c.away, now.away, before.away)
	step(&c.parked, now.parked, before.parked)
}

// ended forgets a task; what it counted stays in the total.
func (t *tally) ended(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.last, id)
}

func (t *tally) sums() counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}
