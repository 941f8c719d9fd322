package memory

import "sync/atomic"

// Watch looks at the process's memory. Look is for one goroutine, the rest for all.
type Watch struct {
	Limit int64 // bytes that the process may need; 0: any number

	guard  Guard
	needed atomic.Int64
	full   atomic.Bool
}

// Look says whether the process is full, and whether that has changed.
func (w *Watch) Look() (full, changed bool) {
	w.needed.Store(Needed())
	full, changed = w.guard.Look(w.needed.Load(), w.Limit)
	w.full.Store(full)
	return full, changed
}

// Needed is how many bytes the process needed at the last look.
func (w *Watch) Needed() int64 { return w.needed.Load() }

// Full is whether it was full.
func (w *Watch) Full() bool { return w.full.Load() }
