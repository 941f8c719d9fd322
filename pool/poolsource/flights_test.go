package poolsource

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"lode/pool/jobs"
	"lode/stratum"
)

// bench is a Source that is not connected, with a clock in hand.
type bench struct {
	*Source
	now   time.Time
	notes []string // hash: what
}

func newBench(t testing.TB, change func(*Options)) *bench {
	t.Helper()
	b := &bench{now: time.Unix(1_700_000_000, 0)}
	o := Options{
		URL: "stratum+tcp://127.0.0.1:1", User: "w", Mask: stratum.WideVersionMask,
		Network: func() string { return "" },
		Note:    func(hash, what string) { b.notes = append(b.notes, hash+": "+what) },
		Now:     func() time.Time { return b.now },
		Logger:  slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	var err error
	if b.Source, err = New(o); err != nil {
		t.Fatal(err)
	}
	b.report = &answers{}
	return b
}

// answers are what a source reports of shares.
type answers struct {
	mu             sync.Mutex
	taken, refused int
}

func (a *answers) Work(*jobs.Work) {}
func (a *answers) Lost(error)      {}
func (a *answers) Condemned(error) {}
func (a *answers) Share(accepted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if accepted {
		a.taken++
	} else {
		a.refused++
	}
}

// TestAnswers: what the pool says of a share is counted, and told of a block.
func TestAnswers(t *testing.T) {
	refusal := func(code int) error { return &stratum.Error{Code: code, Text: "no"} }
	for name, c := range map[string]struct {
		err     error
		again   bool
		counted string // "": it is kept
		taken   bool
		note    string
	}{
		"accepted":               {nil, false, "accepted", true, "accepted"},
		"stale":                  {refusal(stratum.CodeStale), false, "stale", false, "refused"},
		"too easy":               {refusal(stratum.CodeLowDifficulty), false, "rejected", false, "refused"},
		"a duplicate":            {refusal(stratum.CodeDuplicate), false, "rejected", false, "refused"},
		"its answer was lost":    {refusal(stratum.CodeDuplicate), true, "accepted", true, "accepted"},
		"the connection was":     {stratum.ErrDisconnected, false, "", false, "no answer yet"},
		"the space is another's": {fmt.Errorf("late: %w", stratum.ErrOtherSpace), true, "lost", false, "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			for _, block := range []string{"", "00ff"} {
				if block != "" {
					b.blocks++
				}
				b.answered(&flight{again: c.again, block: block, since: b.now}, c.err)
			}
			for answer, n := range b.Answers() {
				if want := map[bool]uint64{true: 2}[answer == c.counted]; n != want {
					t.Errorf("%d shares are %s, want %d", n, answer, want)
				}
			}
			kept := c.counted == ""
			if got := b.report.(*answers); c.taken != (got.taken == 2) || got.taken+got.refused != map[bool]int{true: 2}[!kept && c.counted != "lost"] {
				t.Errorf("told: %d taken, %d refused", got.taken, got.refused)
			}
			if (len(b.retries) == 2) != kept {
				t.Errorf("%d are kept", len(b.retries))
			}
			if len(b.notes) != 1 || !strings.HasPrefix(b.notes[0], "00ff: stratum+tcp://127.0.0.1:1: "+c.note) {
				t.Errorf("noted %q", b.notes)
			}
			ended, end := context.WithCancel(t.Context())
			end()
			if b.AwaitBlocks(ended) == kept {
				t.Errorf("a block is waited for: %v, want %v", !kept, kept)
			}
		})
	}
}

// TestUnanswered: shares that the pool may not have got are kept for a while, not without
// end; blocks for longer, and they are given up last.
func TestUnanswered(t *testing.T) {
	b := newBench(t, nil)
	send := func(block string) { b.submit(&flight{block: block, since: b.now, nonce: uint32(len(b.retries))}) }
	send("block")
	for range retryLimit + 87 {
		send("")
	}
	if len(b.retries) != retryLimit || b.Answers()["lost"] != 88 || b.retries[0].block != "block" {
		t.Fatalf("%d are kept, %d lost, the block first: %v", len(b.retries), b.Answers()["lost"], b.retries[0].block != "")
	}
	b.sendAgain() // in vain
	if len(b.retries) != retryLimit || !b.retries[0].again {
		t.Fatalf("%d are kept after a vain attempt", len(b.retries))
	}
	b.now = b.now.Add(retryTime - 1)
	if b.expire(); len(b.retries) != retryLimit {
		t.Errorf("%d are kept after %v", len(b.retries), retryTime-1)
	}
	b.now = b.now.Add(1)
	if b.expire(); len(b.retries) != 1 || b.retries[0].block != "block" || b.Answers()["lost"] != retryLimit+87 {
		t.Errorf("%d are kept after %v, %d lost", len(b.retries), retryTime, b.Answers()["lost"])
	}
	b.now = b.now.Add(retryBlockTime)
	if b.expire(); len(b.retries) != 0 || !strings.Contains(b.notes[len(b.notes)-1], "lost: the pool did not come back") {
		t.Errorf("%d are kept after %v; noted %q", len(b.retries), retryBlockTime, b.notes[len(b.notes)-1])
	}
	for i := range retryLimit + 1 {
		send(fmt.Sprint("block", i))
	}
	if len(b.retries) != retryLimit || b.retries[0].block != "block1" {
		t.Errorf("%d blocks are kept, the first is %s", len(b.retries), b.retries[0].block)
	}
}

// TestTake: the pool gets what meets its target, and blocks in any case.
func TestTake(t *testing.T) {
	b := newBench(t, nil)
	w, err := b.make(&stratum.Assignment{
		Job: &stratum.Job{Bits: 0x1d00ffff, Time: 1_700_000_000}, Extranonce1: []byte{1, 2}, Extranonce2Size: 8, Difficulty: 1,
		VersionMask: 0xfff01fff,
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := uint32(0x1ff01fe0); w.Mask != want {
		t.Errorf("miners may roll %08x, want what we and the pool have in common, %08x", w.Mask, want)
	}
	in := &stratum.Share{Extranonce2: []byte{5, 6, 7, 8, 9, 10}, Time: 7, Nonce: 8}
	easy, hard := [32]byte{31: 1}, [32]byte{27: 1}
	w.Taker.Take(in, 9, []byte{1, 2, 3, 4}, (*chainHash)(&easy))
	if len(b.retries) != 0 {
		t.Error("a share that is too easy is handed on")
	}
	w.Taker.Take(in, 9, []byte{1, 2, 3, 4}, (*chainHash)(&hard))
	for _, isNew := range []bool{false, true} {
		w.Taker.TakeBlock(in, 9, []byte{1, 2, 3, 4}, "00ff", func(pool string) bool { return isNew && pool == b.URL() })
	}
	if len(b.retries) != 3 || b.retries[1].block != "" || b.retries[2].block != "00ff" || b.blocks != 1 {
		t.Fatalf("%d are handed on, %d blocks", len(b.retries), b.blocks)
	}
	for _, f := range b.retries {
		if string(f.extranonce2) != "\x03\x04\x05\x06\x07\x08\x09\x0a" || f.ntime != 7 || f.nonce != 8 || f.version != 9 {
			t.Errorf("handed on: %+v", f)
		}
	}
	for size, fits := range map[int]bool{10: true, 9: false, 11: false, 12: false} {
		if _, err := w.Origin.Make(size, 0); (err == nil) != fits {
			t.Errorf("%d bytes of extranonce: %v", size, err)
		}
	}
}

// TestSpaces: miners share what the pool leaves us, or one has it all.
func TestSpaces(t *testing.T) {
	for _, c := range []struct {
		size     int
		whole    bool
		prefix   int // -1: it cannot be shared
		sizeLeft int
	}{{1, false, -1, 0}, {1, true, 0, 1}, {2, false, 1, 1}, {4, false, 1, 3}, {4, true, 0, 4}, {8, false, 2, 6}, {16, false, 4, 12}} {
		b := newBench(t, func(o *Options) { o.WholeExtranonce = c.whole })
		a := &stratum.Assignment{Job: &stratum.Job{Bits: 0x1d00ffff}, Extranonce1: []byte{1, 2}, Extranonce2Size: c.size, Difficulty: 1}
		w, err := b.make(a)
		if (err != nil) != (c.prefix < 0) {
			t.Errorf("%+v: %v", c, err)
		}
		if err != nil {
			continue
		}
		if w.Space.Size() != 2+c.prefix || w.Space.Rest() != c.sizeLeft {
			t.Errorf("%+v: extranonce1 of %d bytes, %d are left", c, w.Space.Size(), w.Space.Rest())
		}
		if again, err := b.make(a); err != nil || again.Space != w.Space {
			t.Errorf("%+v: another space with the next job", c)
		}
		a.Extranonce1 = []byte{1, 3}
		if other, err := b.make(a); err != nil || other.Space == w.Space {
			t.Errorf("%+v: the same space with another extranonce1", c)
		}
	}
}

// TestAddress: mistakes in the address of a pool are named, and its password is not shown.
func TestAddress(t *testing.T) {
	for url, want := range map[string]string{
		"stratum+tcp://":          "not a URL",
		"stratum+tcp://%zz":       "not a URL",
		"stratum+tcp://pool:3333": "no user",
	} {
		if _, err := New(Options{URL: url}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	s, err := New(Options{URL: "stratum+tcp://u:p@pool:3333"})
	if err != nil || s.o.User != "u" || s.o.Password != "p" || s.URL() != "stratum+tcp://pool:3333" {
		t.Errorf("user %q, password %q, shown as %s, %v", s.o.User, s.o.Password, s.URL(), err)
	}
}

// TestFloodOfRefusals: people hear of refused shares, but not of each.
func TestFloodOfRefusals(t *testing.T) {
	var log strings.Builder
	b := newBench(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for range 30 {
		for range 1000 {
			b.answered(&flight{since: b.now}, &stratum.Error{Code: stratum.CodeStale, Text: "old"})
		}
		b.now = b.now.Add(time.Second)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 3 || !strings.Contains(log.String(), "shares=10000") {
		t.Errorf("%d lines in 30 s: %s", lines, &log)
	}
}

// losses are what a source says of why it gives no work.
type losses struct {
	answers
	said chan error
}

func (l *losses) Lost(err error) { l.said <- err }

// TestWhyLost: the first word of a pool that cannot be reached says why, not only the second.
func TestWhyLost(t *testing.T) {
	b := newBench(t, nil)
	l := &losses{said: make(chan error, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { b.Run(ctx, l); close(ended) }()
	if err := <-l.said; !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("the pool is lost: %v", err)
	}
	cancel()
	<-ended
}
