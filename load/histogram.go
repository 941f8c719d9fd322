package load

import (
	"encoding/json"
	"math/bits"
	"sync/atomic"
	"time"
)

// stepBits is how finely a histogram tells durations apart: 2^stepBits steps from
// each power of two to the next, an error below 1.6 %.
const stepBits = 6

const (
	steps      = 1 << stepBits
	maxLen     = 42 // 2^42 ns are 73 minutes; what is longer counts as that
	numBuckets = (maxLen-stepBits-1)*steps + 2*steps
)

// histogram counts durations at a constant relative precision, from a nanosecond to
// an hour, without locks.
type histogram struct {
	count, sum, least, greatest atomic.Int64 // least is stored as its complement
	buckets                     [numBuckets]atomic.Uint32
}

func bucketOf(ns int64) int {
	ns = min(max(ns, 0), 1<<maxLen-1)
	if ns < steps {
		return int(ns)
	}
	shift := bits.Len64(uint64(ns)) - stepBits - 1
	return shift*steps + int(ns>>shift)
}

// bucketEnd is the greatest duration (ns) of a bucket.
func bucketEnd(i int) int64 {
	if i < 2*steps {
		return int64(i)
	}
	shift := i/steps - 1
	return (int64(i-shift*steps)+1)<<shift - 1
}

func (h *histogram) record(d time.Duration) {
	ns := max(int64(d), 0)
	h.buckets[bucketOf(ns)].Add(1)
	h.sum.Add(ns)
	raise(&h.greatest, ns)
	raise(&h.least, ^ns+1<<62) // above 0 for all ns < 2^62, and greater for a smaller ns
	h.count.Add(1)
}

func raise(a *atomic.Int64, to int64) {
	for {
		old := a.Load()
		if old >= to || a.CompareAndSwap(old, to) {
			return
		}
	}
}

// quantile is the duration that the share q of all is not above: the end of its
// bucket, but never more than the greatest.
func (h *histogram) quantile(q float64) time.Duration {
	count := h.count.Load()
	if count == 0 {
		return 0
	}
	rank := int64(q*float64(count) + 0.9999999)
	rank = min(max(rank, 1), count)
	greatest := h.greatest.Load()
	seen := int64(0)
	for i := range h.buckets {
		if seen += int64(h.buckets[i].Load()); seen >= rank {
			return time.Duration(min(bucketEnd(i), greatest))
		}
	}
	return time.Duration(greatest)
}

// Latency is what is told of many durations.
type Latency struct {
	Count                         int64
	Min, Mean, P50, P90, P99, Max time.Duration
	P999                          time.Duration
}

func (h *histogram) latency() Latency {
	count := h.count.Load()
	if count == 0 {
		return Latency{}
	}
	return Latency{
		Count: count, Min: time.Duration(^(h.least.Load() - 1<<62)), Mean: time.Duration(h.sum.Load() / count),
		P50: h.quantile(0.5), P90: h.quantile(0.9), P99: h.quantile(0.99), P999: h.quantile(0.999),
		Max: time.Duration(h.greatest.Load()),
	}
}

// MarshalJSON gives milliseconds.
func (l Latency) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Count int64   `json:"count"`
		Min   float64 `json:"min_ms"`
		Mean  float64 `json:"mean_ms"`
		P50   float64 `json:"p50_ms"`
		P90   float64 `json:"p90_ms"`
		P99   float64 `json:"p99_ms"`
		P999  float64 `json:"p999_ms"`
		Max   float64 `json:"max_ms"`
	}{l.Count, ms(l.Min), ms(l.Mean), ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max)})
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// curve is the histogram as points (share of all, duration), for a plot.
func (h *histogram) curve() (shares []float64, durations []time.Duration) {
	count := float64(h.count.Load())
	greatest := h.greatest.Load()
	seen := int64(0)
	for i := range h.buckets {
		if n := h.buckets[i].Load(); n > 0 {
			seen += int64(n)
			shares = append(shares, float64(seen)/count)
			durations = append(durations, time.Duration(min(bucketEnd(i), greatest)))
		}
	}
	return shares, durations
}
