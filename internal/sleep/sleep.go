// Package sleep is sleep that can be cut short.
package sleep

import (
	"context"
	"time"
)

// For sleeps for d, not at all if that is not positive. An error is why ctx ended before.
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
