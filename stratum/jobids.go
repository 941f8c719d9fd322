package stratum

import (
	"sync"
	"sync/atomic"
)

// jobIDs gives the ids of recent jobs as strings without making one for each
// share.
type jobIDs struct {
	known atomic.Pointer[map[string]string]

	mu     sync.Mutex
	recent []string // oldest first
}

const maxJobIDs = 512

func (j *jobIDs) add(id string) {
	if known := j.known.Load(); known != nil {
		if _, ok := (*known)[id]; ok {
			return
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.recent {
		if r == id {
			return
		}
	}
	if len(j.recent) == maxJobIDs {
		j.recent = append(j.recent[:0], j.recent[maxJobIDs/2:]...)
	}
	j.recent = append(j.recent, id)
	known := make(map[string]string, len(j.recent))
	for _, r := range j.recent {
		known[r] = r
	}
	j.known.Store(&known)
}

func (j *jobIDs) intern(id []byte) string {
	if known := j.known.Load(); known != nil {
		if s, ok := (*known)[string(id)]; ok {
			return s
		}
	}
	return string(id)
}
