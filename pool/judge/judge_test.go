package judge_test

import (
	"encoding/hex"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/accounts"
	"lode/pool/jobs"
	"lode/pool/judge"
	"lode/pool/share"
	"lode/pool/template"
	"lode/stratum"
)

// given is an origin whose work is what a job has.
type given struct{ job *stratum.Job }

func (g given) Make(int, jobs.Key) (template.Work, error) { return g, nil }
func (g given) OwnCoinbase() bool                         { return true }
func (g given) CapDifficulty(d float64) float64           { return d }
func (g given) Coinbase() (before, after []byte)          { return g.job.Coinbase1, g.job.Coinbase2 }
func (g given) Branch() []chainhash.Hash                  { return g.job.MerkleBranch }
func (g given) Solve(header [80]byte, _ []byte) []byte    { return header[:] }

// taker is a pool.
type taker struct{}

func (taker) Take(*stratum.Share, uint32, []byte, *chainhash.Hash)                {}
func (taker) TakeBlock(*stratum.Share, uint32, []byte, string, func(string) bool) {}

// court judges shares.
type court struct {
	table *jobs.Table
	now   time.Time
	seen  *share.Seen
	rules judge.Rules
}

func newCourt(t testing.TB, grace time.Duration) *court {
	t.Helper()
	return &court{
		table: jobs.NewTable(0, grace), now: time.Unix(1_700_000_000, 0), seen: share.NewSeen(grace),
		rules: judge.Rules{Working: true, Grace: grace},
	}
}

// send makes a job as a node would have given it.
func (c *court) send(t testing.TB, from *stratum.Job, mask uint32, clean bool) *jobs.Job {
	t.Helper()
	network, err := stratum.TargetFromBits(from.Bits)
	if err != nil {
		t.Fatal(err)
	}
	return c.table.Add(c.now, &jobs.Work{
		Prev: from.PrevBlock, Bits: from.Bits, Network: network, NetworkDifficulty: float64(network.Difficulty()),
		Version: from.Version &^ mask, Mask: mask, Time: from.Time, MinTime: from.Time - 100, Origin: given{from},
	}, clean)
}

// judge judges a vector's share for a job, changed by change.
func (c *court) judge(t testing.TB, j *jobs.Job, v vector, difficulty float64, change func(*judge.Attempt)) judge.Attempt {
	t.Helper()
	s := v.share
	s.Extranonce2 = unhex(t, v.e2)
	var scratch judge.Scratch
	a := &scratch.Attempts[0]
	*a = judge.Attempt{
		In: &s, Job: j, Extranonce1: unhex(t, v.e1), Rest: len(s.Extranonce2), Difficulty: difficulty, Seen: c.seen,
	}
	if j != nil {
		a.Key = j.Key(0)
	}
	if change != nil {
		change(a)
	}
	a.Admit()
	scratch.Hash(1)
	a.Judge(c.now, c.rules)
	return *a
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wireHash reads a prevhash as mining.notify has it.
func wireHash(t testing.TB, s string) (h chainhash.Hash) {
	t.Helper()
	for i, b := range unhex(t, s) {
		h[i^3] = b
	}
	return h
}

type vector struct {
	name       string
	job        stratum.Job
	mask       uint32
	e1, e2     string
	share      stratum.Share
	hash       string
	difficulty float64 // that the share has
}

func vectors(t testing.TB) []vector {
	return []vector{
		{
			name: "mainnet genesis",
			job: stratum.Job{
				Coinbase1: unhex(t, "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d"),
				Coinbase2: unhex(t, "696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"),
				Version:   1, Bits: 0x1d00ffff, Time: 0x495fab29,
			},
			e1: "01044554", e2: "68652054",
			share: stratum.Share{Time: 0x495fab29, Nonce: 0x7c2bac1d},
			hash:  "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", difficulty: 2536.4262984453103,
		},
		{
			name: "testnet3 1263442",
			job: stratum.Job{
				PrevBlock:    wireHash(t, "521a8d1c96a3399c34b22ddb2f15ecd587a251a6ccda6629b428e0bd00000000"),
				Coinbase1:    unhex(t, "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff230352471300fe5f45765afe94690a000963676d696e6572343208"),
				Coinbase2:    unhex(t, "00ffffffff024423a804000000001976a914f2c25ac3d59f3d674b1d1d0a25c27339aaac0ba688ac0000000000000000266a24aa21a9edcb26cb3052426b9ebb4d19c819ef87c19677bbf3a7c46ef0855bd1b2abe8349100000000"),
				MerkleBranch: []chainhash.Hash{chainhash.Hash(unhex(t, "e0e03cc73169f0a7d4863fd1c12d3680006d3406fe1ced246d3d529905d4212c"))},
				Version:      0x20000000, Bits: 0x1d00dcad, Time: 0x5a76455f,
			},
			e1: "00000000", e2: "00000000",
			share: stratum.Share{Time: 0x5a76455f, Nonce: 0x9a3b3338},
			hash:  "000000006f27ddfe1dd680044a34548f41bed47eba9e6f0b310da21423bc5f33", difficulty: 2.3030399894112277,
		},
		{
			name: "simnet 1, version rolled",
			job: stratum.Job{
				PrevBlock: wireHash(t, "69d77af62a669b5d8e3dff72e02dbbdb137ba6bf91b94b975c6d110d683e86bd"),
				Coinbase1: unhex(t, "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff18510c"),
				Coinbase2: unhex(t, "092f6578616d706c652fffffffff0100f2052a010000001976a9140102030405060708090a0b0c0d0e0f101112131488ac00000000"),
				Version:   0x20000000, Bits: 0x207fffff, Time: 0x6553f100,
			},
			mask: 0x1fffe000, e1: "a1b2c3d4", e2: "0102030405060708",
			share: stratum.Share{Time: 0x6553f100, Nonce: 0x10015793, VersionBits: 0x00c0e000, HasVersionBits: true},
			hash:  "00004ab978371b91262b50df9b32276b57ce75bc970e10c9d679625222b07908", difficulty: 5.227456707361418e-05,
		},
	}
}

// TestVectors: known blocks are what they are known to be.
func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			c := newCourt(t, 0)
			j := c.send(t, &v.job, v.mask, true)
			if a := c.judge(t, j, v, v.difficulty*0.999, nil); a.Refusal != nil || a.Outcome != accounts.Accepted || !a.Block ||
				a.Hash.String() != v.hash || a.Reached/v.difficulty-1 > 1e-12 || a.Reached/v.difficulty-1 < -1e-12 {
				t.Fatalf("%v %v, block %v, hash %v of difficulty %v; want hash %s, difficulty %v", a.Outcome, a.Refusal, a.Block, a.Hash, a.Reached, v.hash, v.difficulty)
			}
			if a := c.judge(t, j, v, v.difficulty*0.999, nil); a.Refusal != judge.ErrDuplicate || a.Outcome != accounts.Duplicate || a.Block {
				t.Errorf("again: %v %v, block %v; want a duplicate", a.Outcome, a.Refusal, a.Block)
			}
			// Another nonce is no share at that difficulty (but on simnet it may be a block).
			if a := c.judge(t, j, v, v.difficulty*0.999, func(a *judge.Attempt) { a.In.Nonce++ }); v.mask == 0 && (a.Refusal != judge.ErrLowDifficulty || a.Outcome != accounts.LowDifficulty) {
				t.Errorf("other nonce: %v %v, want low difficulty", a.Outcome, a.Refusal)
			}
		})
	}
}

// hardened is a vector for a network of difficulty 1, with a nonce that makes its hash a
// share of difficulty 1e-7.
func hardened(t testing.TB, v vector) vector {
	t.Helper()
	v.job.Bits = 0x1d00ffff
	target := stratum.Difficulty(1e-7).Target()
	c := newCourt(t, 0)
	j := c.send(t, &v.job, v.mask, true)
	for v.share.Nonce = 0; ; v.share.Nonce++ {
		if a := c.judge(t, j, v, 1e-12, nil); target.MetBy(&a.Hash) {
			return v
		}
	}
}

// TestTable: what becomes of a share that has something wrong with it, and whether it is a
// block all the same.
func TestTable(t *testing.T) {
	block := vectors(t)[2] // of simnet
	plain := hardened(t, block)
	type attempt = judge.Attempt
	type refused struct {
		outcome accounts.Outcome
		err     error
	}
	accepted := refused{accounts.Accepted, nil}
	lowDifficulty := refused{accounts.LowDifficulty, judge.ErrLowDifficulty}
	stale := refused{accounts.Stale, judge.ErrStale}
	malformed := func(err error) refused { return refused{accounts.Malformed, err} }
	duplicate := refused{accounts.Duplicate, judge.ErrDuplicate}
	with := func(v vector, change func(v *vector)) vector {
		change(&v)
		return v
	}
	ofPool := func(_ *court, j *jobs.Job) { j.Taker = taker{} }
	for name, c := range map[string]struct {
		v       vector
		before  func(c *court, j *jobs.Job)
		change  func(*attempt)
		want    refused
		isBlock bool
	}{
		"a block":                  {v: block, want: accepted, isBlock: true},
		"a share":                  {v: plain, want: accepted},
		"too easy for a share":     {v: plain, change: func(a *attempt) { a.Difficulty = 1 }, want: lowDifficulty},
		"a block is a share":       {v: block, change: func(a *attempt) { a.Difficulty = 1e6 }, want: accepted, isBlock: true},
		"no job":                   {v: plain, change: func(a *attempt) { a.Job = nil }, want: refused{accounts.Stale, judge.ErrUnknownJob}},
		"neither job nor place":    {v: plain, change: func(a *attempt) { a.Job, a.Extranonce1 = nil, nil }, want: refused{accounts.Stale, judge.ErrUnknownJob}},
		"not subscribed":           {v: plain, change: func(a *attempt) { a.Extranonce1 = nil }, want: malformed(judge.ErrNotSubscribed)},
		"long extranonce2":         {v: plain, change: func(a *attempt) { a.In.Extranonce2 = append(a.In.Extranonce2, 0) }, want: malformed(judge.ErrExtranonce)},
		"short extranonce2":        {v: plain, change: func(a *attempt) { a.In.Extranonce2 = a.In.Extranonce2[1:] }, want: malformed(judge.ErrExtranonce)},
		"no extranonce2":           {v: plain, change: func(a *attempt) { a.In.Extranonce2 = nil }, want: malformed(judge.ErrExtranonce)},
		"of a space that was left": {v: block, change: func(a *attempt) { a.Elsewhere = true }, want: stale},

		// What changes the header, and is allowed, makes another hash of it.
		"version bit outside":    {v: plain, change: func(a *attempt) { a.In.VersionBits |= 1 << 12 }, want: malformed(nil)},
		"high version bit":       {v: plain, change: func(a *attempt) { a.In.VersionBits |= 1 << 30 }, want: malformed(nil)},
		"the whole version":      {v: plain, change: func(a *attempt) { a.In.VersionBits |= 1 << 29 }, want: accepted},
		"no version bits":        {v: plain, change: func(a *attempt) { a.In.HasVersionBits, a.In.VersionBits = false, 0 }, want: lowDifficulty},
		"time before mintime":    {v: plain, change: func(a *attempt) { a.In.Time = block.job.Time - 101 }, want: malformed(jobs.ErrTimeTooOld)},
		"time = mintime":         {v: plain, change: func(a *attempt) { a.In.Time = block.job.Time - 100 }, want: lowDifficulty},
		"time 7000 s ahead":      {v: plain, change: func(a *attempt) { a.In.Time = block.job.Time + 7000 }, want: lowDifficulty},
		"time 7001 s ahead":      {v: plain, change: func(a *attempt) { a.In.Time = block.job.Time + 7001 }, want: malformed(jobs.ErrTimeTooNew)},
		"time 0":                 {v: plain, change: func(a *attempt) { a.In.Time = 0 }, want: malformed(jobs.ErrTimeTooOld)},
		"time at the end of all": {v: plain, change: func(a *attempt) { a.In.Time = 1<<32 - 1 }, want: malformed(jobs.ErrTimeTooNew)},

		// None of these keeps a hash from being a block.
		"a stranger's block":        {v: block, change: func(a *attempt) { a.Stranger = true }, want: malformed(judge.ErrNotAllowed), isBlock: true},
		"a block with a lost place": {v: block, change: func(a *attempt) { a.Lost = true }, want: stale, isBlock: true},
		"a block for no upstream":   {v: block, before: func(c *court, _ *jobs.Job) { c.rules.Working = false }, want: stale, isBlock: true},
		"a block on the last tip":   {v: block, before: func(c *court, _ *jobs.Job) { c.send(t, &plain.job, 0, true) }, want: stale, isBlock: true},
		"a block of the job before": {v: block, before: func(c *court, _ *jobs.Job) { c.send(t, &plain.job, 0, false) }, want: accepted, isBlock: true},

		// Nor do bounds that are not the network's.
		"a block with bits outside the mask":   {v: with(block, func(v *vector) { v.mask = 0 }), want: malformed(nil), isBlock: true},
		"a pool's, with bits outside the mask": {v: with(block, func(v *vector) { v.mask = 0 }), before: ofPool, want: malformed(nil)},
		"a block 7001 s ahead":                 {v: with(block, func(v *vector) { v.job.Time -= 7001 }), want: malformed(jobs.ErrTimeTooNew), isBlock: true},
		"a block before mintime":               {v: with(block, func(v *vector) { v.job.Time += 101 }), want: malformed(jobs.ErrTimeTooOld)},
		"a pool's block before its job":        {v: with(block, func(v *vector) { v.job.Time += 101 }), before: ofPool, want: malformed(jobs.ErrTimeTooOld), isBlock: true},
		"a block after maxtime":                {v: block, before: func(_ *court, j *jobs.Job) { j.MaxTime = block.share.Time - 1 }, want: malformed(jobs.ErrTimeTooNew)},
		"a pool's block later than pools take": {v: block, before: func(c *court, j *jobs.Job) { ofPool(c, j); j.MaxTime = block.share.Time - 1 }, want: malformed(jobs.ErrTimeTooNew), isBlock: true},
		"a share for a pool before its job":    {v: with(plain, func(v *vector) { v.job.Time += 101 }), before: ofPool, want: malformed(jobs.ErrTimeTooOld)},
		"a stranger's block, outside the mask": {v: with(block, func(v *vector) { v.mask = 0 }), change: func(a *attempt) { a.Stranger = true }, want: malformed(judge.ErrNotAllowed), isBlock: true},

		"a stranger's share":         {v: plain, change: func(a *attempt) { a.Stranger = true }, want: malformed(judge.ErrNotAllowed)},
		"a stranger's for no job":    {v: plain, change: func(a *attempt) { a.Stranger, a.Job = true, nil }, want: refused{accounts.Stale, judge.ErrNotAllowed}},
		"a share with a lost place":  {v: plain, change: func(a *attempt) { a.Lost = true }, want: stale},
		"a share for no upstream":    {v: plain, before: func(c *court, _ *jobs.Job) { c.rules.Working = false }, want: stale},
		"a share on the last tip":    {v: plain, before: func(c *court, _ *jobs.Job) { c.send(t, &block.job, 0, true) }, want: stale},
		"a share of the job before":  {v: plain, before: func(c *court, _ *jobs.Job) { c.send(t, &block.job, 0, false) }, want: accepted},
		"a share once more":          {v: plain, before: func(c *court, j *jobs.Job) { c.judge(t, j, plain, 1e-9, nil) }, want: duplicate},
		"a block once more":          {v: block, before: func(c *court, j *jobs.Job) { c.judge(t, j, block, 1e-9, nil) }, want: duplicate},
		"once more after a stranger": {v: block, before: func(c *court, j *jobs.Job) { c.judge(t, j, block, 1e-9, func(a *attempt) { a.Stranger = true }) }, want: duplicate},
		"too easy a moment ago":      {v: plain, before: func(c *court, j *jobs.Job) { c.judge(t, j, plain, 1, nil) }, want: accepted},
		"stale a moment ago": {v: plain, before: func(c *court, j *jobs.Job) {
			c.rules.Working = false
			c.judge(t, j, plain, 1e-9, nil)
			c.rules.Working = true
		}, want: accepted},
	} {
		t.Run(name, func(t *testing.T) {
			court := newCourt(t, 0)
			j := court.send(t, &c.v.job, c.v.mask, true)
			if c.before != nil {
				c.before(court, j)
			}
			a := court.judge(t, j, c.v, 0.9e-7, c.change)
			anyRefusal := c.want.err == nil && c.want.outcome != accounts.Accepted
			if a.Outcome != c.want.outcome || a.Block != c.isBlock || a.Refusal == nil && anyRefusal || !anyRefusal && !errors.Is(a.Refusal, c.want.err) {
				t.Errorf("%v, %v, block: %v; want %v, %v, block: %v", a.Outcome, a.Refusal, a.Block, c.want.outcome, c.want.err, c.isBlock)
			}
		})
	}
}

// TestGrace: shares for the last tip count for a while, where the operator says so.
func TestGrace(t *testing.T) {
	v := hardened(t, vectors(t)[2])
	for grace, want := range map[time.Duration][3]error{
		0:               {judge.ErrStale, judge.ErrStale, judge.ErrStale},
		2 * time.Second: {nil, nil, judge.ErrStale},
	} {
		for i, after := range []time.Duration{0, 2*time.Second - 1, 2 * time.Second} {
			c := newCourt(t, grace)
			j := c.send(t, &v.job, v.mask, true)
			c.send(t, &v.job, v.mask, true)
			c.now = c.now.Add(after)
			if a := c.judge(t, j, v, 1e-9, nil); !errors.Is(a.Refusal, want[i]) {
				t.Errorf("grace %v, %v after the next tip: %v, want %v", grace, after, a.Refusal, want[i])
			}
		}
	}
}

// TestBorder: a hash is a share up to the very last difficulty whose target it meets, as the
// most generous of miners count.
func TestBorder(t *testing.T) {
	v := hardened(t, vectors(t)[2])
	c := newCourt(t, 0)
	j := c.send(t, &v.job, v.mask, true)
	a := c.judge(t, j, v, 1, nil)
	met := func(d float64) bool {
		target := stratum.Difficulty(d).LooseTarget()
		return target.MetBy(&a.Hash)
	}
	easy, hard := 1e-12, 1.
	for math.Nextafter(easy, hard) < hard {
		if middle := (easy + hard) / 2; met(middle) {
			easy = middle
		} else {
			hard = middle
		}
	}
	if !met(easy) || met(hard) || easy < 1e-7 {
		t.Fatalf("the border is between %g and %g", easy, hard)
	}
	if a := c.judge(t, j, v, hard, nil); a.Refusal != judge.ErrLowDifficulty {
		t.Errorf("difficulty %g: %v, want it to be too easy", hard, a.Refusal)
	}
	if a := c.judge(t, j, v, hard*(1+1e-11), nil); a.Refusal != judge.ErrLowDifficulty {
		t.Errorf("difficulty %g and more: %v, want it to be too easy", hard, a.Refusal)
	}
	if a := c.judge(t, j, v, easy, nil); a.Refusal != nil {
		t.Errorf("difficulty %g: %v, want a share", easy, a.Refusal)
	}
}
