package control

import (
	"context"
	"time"

	"lode/scheduler/api"
	"lode/scheduler/feed"
)

// aliveEvery is how often a quiet stream says that it is still there.
const aliveEvery = 15 * time.Second

// nextEvents waits for events, for a while. alive false: the reader is gone.
func nextEvents(ctx context.Context, w *feed.Watcher) (events []api.Event, alive bool) {
	wait, cancel := context.WithTimeout(ctx, aliveEvery)
	defer cancel()
	events = w.Next(wait)
	return events, ctx.Err() == nil
}
