package load

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"pgregory.net/rapid"

	"lode/stratum"
)

func TestHistogramIsPrecise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, 1<<maxLen-1), 1, 200).Draw(t, "ns")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var h histogram
		for _, v := range values {
			h.record(time.Duration(v))
		}
		slices.Sort(values)
		rank := min(max(int(q*float64(len(values))+0.9999999), 1), len(values))
		exact, got := values[rank-1], int64(h.quantile(q))
		if got < exact || float64(got) > float64(exact)*(1+1.0/steps)+1 {
			t.Fatalf("quantile %v of %v is %d, want %d to %.0f", q, values, got, exact, float64(exact)*(1+1.0/steps)+1)
		}
		l := h.latency()
		if int64(l.Min) != values[0] || int64(l.Max) != values[len(values)-1] || l.Count != int64(len(values)) {
			t.Fatalf("%+v of %v", l, values)
		}
		shares, durations := h.curve()
		if shares[len(shares)-1] != 1 || durations[len(durations)-1] != l.Max || !slices.IsSorted(shares) || !slices.IsSorted(durations) {
			t.Fatalf("curve %v %v", shares, durations)
		}
	})
}

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for _, ns := range []int64{-5, 0, 1, 63, 64, 127, 128, 129, 255, 256, 1000, 1e6, 1e9, 1e12, 1 << 62} {
		i := bucketOf(ns)
		if i < last || i >= numBuckets {
			t.Errorf("%d ns are in bucket %d, after %d, of %d", ns, i, last, numBuckets)
		}
		if end := bucketEnd(i); ns < 1<<maxLen && end < ns {
			t.Errorf("%d ns are in bucket %d, which ends at %d", ns, i, end)
		}
		last = i
	}
	if last != numBuckets-1 {
		t.Errorf("the last bucket is %d, of %d", last, numBuckets)
	}
}

func TestKindOf(t *testing.T) {
	for text, c := range map[string]struct {
		code int
		want refusalKind
	}{
		"Stale share":             {21, refusedStale},
		"Job not found":           {20, refusedStale},
		"":                        {21, refusedStale},
		"Invalid job id":          {20, refusedStale},
		"Duplicate share":         {22, refusedDuplicate},
		"duplicate work":          {20, refusedDuplicate},
		"Low difficulty share":    {23, refusedLow},
		"share is above target":   {20, refusedLow},
		"Unauthorized worker":     {24, refusedUser},
		"Not subscribed":          {25, refusedUser},
		"nonce must be 8 digits":  {20, refusedOther},
		"refused without a cause": {-3, refusedOther},
	} {
		if got := kindOf(fmt.Errorf("submit: %w", &stratum.Error{Code: c.code, Text: text})); got != c.want {
			t.Errorf("[%d, %q] is %v, want %v", c.code, text, got, c.want)
		}
	}
	if got := kindOf(errors.New("stale")); got != refusedOther {
		t.Errorf("an error that is no refusal is %v", got)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		kind                refusalKind
		superseded, changed bool
		want                ruling
	}{
		{refusedStale, true, false, expected},
		{refusedStale, false, false, wait},
		{refusedStale, false, true, expected},
		{refusedDuplicate, true, true, falseReject},
		{refusedLow, true, false, falseReject},
		{refusedLow, false, true, expected},
		{refusedOther, true, false, falseReject},
		{refusedUser, false, false, falseReject},
	} {
		if got := judge(c.kind, c.superseded, c.changed); got != c.want {
			t.Errorf("%v, superseded %v, changed %v: ruling %d, want %d", c.kind, c.superseded, c.changed, got, c.want)
		}
	}
}

func job(id string, block byte) *stratum.Job {
	return &stratum.Job{ID: id, PrevBlock: chainhash.Hash{block}, Clean: true}
}

func TestBroadcasts(t *testing.T) {
	const msec = int64(time.Millisecond)
	var spread histogram
	b := newBroadcasts(nil, &spread)
	b.begin(1)
	b.found(chainhash.Hash{2}, 95*msec)

	// Two miners with ids of their own for the job on block 2; a third joins with it.
	first := b.arrive(0, job("a1", 2), true, 100*msec, 2)
	joined := b.joined(job("a3", 2))
	second := b.arrive(0, job("a2", 2), true, 130*msec, 3)
	if first != second || joined != first {
		t.Fatalf("one broadcast is %d, %d and %d", first, second, joined)
	}
	// A clean job on the same block is another broadcast.
	refresh := b.arrive(first, job("b", 2), false, 200*msec, 3)
	for i := range 2 {
		if got := b.arrive(first, job("b", 2), false, (201+int64(i))*msec, 3); got != refresh {
			t.Errorf("the refresh is broadcast %d, then %d", refresh, got)
		}
	}
	// Back to block 2 after block 3: not the broadcast of before.
	third := b.arrive(refresh, job("c", 3), true, 300*msec, 3)
	back := b.arrive(third, job("d", 2), true, 400*msec, 3)
	if back == first || back == refresh || back == third {
		t.Errorf("a reorganisation was taken for broadcast %d", back)
	}
	if !b.arriving(401 * msec) {
		t.Error("nobody is waited for, though 2 miners lack the last job")
	}
	b.settle(410*msec, true)
	if b.count != 4 || b.incomplete != 2 || len(b.done) != 4 {
		t.Fatalf("%d broadcasts, %d incomplete", b.count, b.incomplete)
	}
	one := b.done[0]
	if one.Expected != 2 || one.Reached != 2 || one.Last != 30*time.Millisecond || one.FromOrigin == nil || one.FromOrigin.Max != 35*time.Millisecond {
		t.Errorf("first broadcast %+v", one)
	}
	if b.done[1].Last != 2*time.Millisecond || b.done[1].FromOrigin != nil {
		t.Errorf("second broadcast %+v", b.done[1])
	}
}

func TestBroadcastsBeforeTheMeasuringDoNotCount(t *testing.T) {
	var spread histogram
	b := newBroadcasts(nil, &spread)
	seq := b.arrive(0, job("a", 1), true, 100, 2)
	b.begin(200)
	if b.arrive(0, job("a", 1), true, 300, 2) != seq {
		t.Error("a late receipt began a broadcast of its own")
	}
	b.settle(400, true)
	if b.count != 0 || spread.count.Load() != 0 {
		t.Errorf("%d broadcasts were counted", b.count)
	}
}

func TestSourcesKeepApart(t *testing.T) {
	target := netip.MustParseAddr("127.0.0.1")
	seen := map[string]int{}
	for _, kind := range []int{miners, slowReaders, garbage} {
		for i := 0; i < 100_000; i += 100 {
			a := source(target, kind, i)
			if a == nil {
				t.Skip("this system has one loopback address")
			}
			if old, ok := seen[a.String()]; ok && old != kind {
				t.Fatalf("%v is of kinds %d and %d", a, old, kind)
			}
			seen[a.String()] = kind
		}
	}
	if len(seen) != 600 {
		t.Errorf("%d addresses for 300,000 connections", len(seen))
	}
	if a := source(netip.MustParseAddr("192.0.2.1"), miners, 0); a != nil {
		t.Errorf("a connection to another machine comes from %v", a)
	}
}

func TestJobCacheSharesEqualLines(t *testing.T) {
	line := stratum.EncodeJob(&stratum.Job{ID: "a", Coinbase1: make([]byte, 60), Bits: 0x1d00ffff}).Line()
	parsed, err := stratum.ParseLine(line)
	if err != nil {
		t.Fatal(err)
	}
	var c jobCache
	if c.known(line) != nil {
		t.Error("an unknown line is known")
	}
	w, err := c.parse(line, parsed.Params)
	if err != nil || c.known(append([]byte(nil), line...)) != w {
		t.Errorf("the same line is other work; %v", err)
	}
}
