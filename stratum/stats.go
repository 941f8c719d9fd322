package stratum

import (
	"sync/atomic"
	"time"
)

// ServerStats are a Server's counters since its start. All may be read at any
// time.
type ServerStats struct {
	Connections  atomic.Int64 // open now
	Ready        atomic.Int64 // open, subscribed and authorized
	Accepted     atomic.Uint64
	Refused      atomic.Uint64 // by limits, bans or Handler.Connected
	AcceptErrors atomic.Uint64
	Held         atomic.Int64  // open now in the tarpit, not counted above
	CrowdedOut   atomic.Uint64 // closed before their login to make room for others
	Guesses      atomic.Uint64 // refused logins

	BytesIn, BytesOut atomic.Uint64
	Lines             atomic.Uint64 // messages taken apart
	Garbage           atomic.Uint64 // lines that are no message, or too long
	Submits           atomic.Uint64
	Replies           atomic.Uint64
	Refusals          atomic.Uint64 // replies that carry an error
	Notifications     atomic.Uint64 // all messages that are no replies
	Throttled         atomic.Uint64 // times a connection was made to wait

	SlowCut  atomic.Uint64 // closed: the miner did not read what it was sent, or was gone
	IdleCut  atomic.Uint64 // closed: silent, too slow in the handshake or within a line
	Bans     atomic.Uint64
	Deferred atomic.Uint64 // writes that found the socket full and were left to a goroutine

	Broadcasts           atomic.Uint64
	BroadcastsSuperseded atomic.Uint64 // given up for a newer clean job
	// BroadcastLatency is the time from EncodedJob.Since to the last socket write
	// of a broadcast.
	BroadcastLatency Histogram
}

// histogramBounds are the upper ends of a Histogram's buckets.
var histogramBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second,
}

// Histogram counts durations in fixed buckets.
type Histogram struct {
	buckets [len(histogramBounds) + 1]atomic.Uint64
	sum     atomic.Int64
}

// Observe counts d.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < len(histogramBounds) && d > histogramBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// Bucket is one step of a Histogram.
type Bucket struct {
	UpTo  time.Duration
	Count uint64 // of durations ≤ UpTo, those of the buckets before included
}

// Snapshot is the histogram in cumulative form, the count of all durations, and
// their sum: what a Prometheus histogram is made of.
func (h *Histogram) Snapshot() (buckets []Bucket, count uint64, sum time.Duration) {
	buckets = make([]Bucket, len(histogramBounds))
	for i := range h.buckets {
		count += h.buckets[i].Load()
		if i < len(buckets) {
			buckets[i] = Bucket{histogramBounds[i], count}
		}
	}
	return buckets, count, time.Duration(h.sum.Load())
}
