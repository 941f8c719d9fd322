package sleep

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestFor(t *testing.T) {
	why := errors.New("why")
	for name, c := range map[string]struct {
		d, cut time.Duration // cut: when the context ends; 0: never
		took   time.Duration
		err    error
	}{
		"a while":           {d: time.Hour, took: time.Hour},
		"cut short":         {d: time.Hour, cut: time.Minute, took: time.Minute, err: why},
		"nothing":           {},
		"less than that":    {d: -time.Hour},
		"over when it ends": {d: time.Minute, cut: time.Hour, took: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				if c.cut > 0 {
					defer time.AfterFunc(c.cut, func() { cancel(why) }).Stop()
				}
				begin := time.Now()
				if err := For(ctx, c.d); !errors.Is(err, c.err) || time.Since(begin) != c.took {
					t.Errorf("%v after %v", err, time.Since(begin))
				}
				cancel(why)
				if err := For(ctx, 0); !errors.Is(err, why) {
					t.Errorf("after the end: %v", err)
				}
			})
		})
	}
}
