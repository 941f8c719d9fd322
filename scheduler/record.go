package scheduler

import (
	"context"
	"path/filepath"
	"time"

	"lode/scheduler/dashboard"
)

// How often values are recorded for the page, and how often they are put on disk.
const (
	recordInterval = 10 * time.Second
	saveInterval   = 5 * time.Minute
)

// historyPath is "" without a folder.
func (s *Scheduler) historyPath() string {
	if s.config.StateDir == "" {
		return ""
	}
	return filepath.Join(s.config.StateDir, "history")
}

// record keeps the page's history until ctx ends.
func (s *Scheduler) record(ctx context.Context) {
	ticker := time.NewTicker(recordInterval)
	defer ticker.Stop()
	defer s.saveHistory()
	saved := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		s.history.Add(now, dashboard.Series(s.Status()))
		if now.Sub(saved) >= saveInterval {
			s.saveHistory()
			saved = now
		}
	}
}

func (s *Scheduler) saveHistory() {
	if s.historyPath() == "" {
		return
	}
	if err := s.history.Save(s.historyPath()); err != nil {
		s.log.Warn("the page's history is not on disk", "error", err)
	}
}
