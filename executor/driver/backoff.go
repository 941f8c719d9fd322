package driver

import "time"

// backoff spaces the attempts to subscribe. A restarted agent waits only two
// seconds for its executors (--executor_reregistration_timeout), so the first
// attempts come fast and no pause is longer than half of that.
type backoff struct {
	rand    func() float64
	limit   time.Duration
	ceiling time.Duration
}

const (
	firstPause = 100 * time.Millisecond
	// An agent that answers 503 or 404 is up and will be ready in a moment.
	recoveringPause = 100 * time.Millisecond
	// Without checkpointing Mesos gives no MESOS_SUBSCRIPTION_BACKOFF_MAX.
	defaultBackoffMax = 2 * time.Second
)

func newBackoff(cfg Config) *backoff {
	limit := cfg.BackoffMax
	if limit <= 0 {
		limit = defaultBackoffMax
	}
	return &backoff{rand: cfg.Rand, limit: limit / 2, ceiling: firstPause}
}

// next is the pause before the next attempt; answered says that the agent is up.
func (b *backoff) next(answered bool) time.Duration {
	ceiling := min(b.ceiling, b.limit)
	if answered {
		ceiling = min(recoveringPause, b.limit)
	} else {
		b.ceiling = min(2*b.ceiling, b.limit)
	}
	// At least half of the ceiling: an average that does not depend on luck.
	return time.Duration((0.5 + b.rand()/2) * float64(ceiling))
}
