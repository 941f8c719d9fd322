package core

// ring keeps the newest entries.
type ring[T any] struct {
	entries []T
	next    int
}

func newRing[T any](size int) ring[T] { return ring[T]{entries: make([]T, 0, size)} }

func (r *ring[T]) add(v T) {
	if len(r.entries) < cap(r.entries) {
		r.entries = append(r.entries, v)
		return
	}
	r.entries[r.next] = v
	r.next = (r.next + 1) % len(r.entries)
}

// newest returns the entries, newest first.
func (r *ring[T]) newest() []T {
	out := make([]T, 0, len(r.entries))
	for i := range r.entries {
		out = append(out, r.entries[(r.next+len(r.entries)-1-i)%len(r.entries)])
	}
	return out
}
