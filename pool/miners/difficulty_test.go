package miners

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lode/pool/accounts"
	"lode/pool/vardiff"
	"lode/stratum"
)

// told is the difficulty in a set_difficulty line.
func (m *quietMiner) told() float64 {
	m.t.Helper()
	var line struct{ Params []float64 }
	if err := json.Unmarshal([]byte(m.until(`mining.set_difficulty","params"`)), &line); err != nil || len(line.Params) != 1 {
		m.t.Fatal(line, err)
	}
	return line.Params[0]
}

// TestFirstDifficulty: a miner begins with what is known of its worker, of its wish, its
// kind, or with what the operator says; never with more than the network's difficulty, so
// that each block is a share, unless the network is a toy.
func TestFirstDifficulty(t *testing.T) {
	const (
		full  = 0x1d00ffff // difficulty 1
		easy  = 0x1e00ffff // 1/256
		toy   = 0x207fffff // regtest's
		wish  = `{"id":9,"method":"mining.suggest_difficulty","params":[0.125]}` + "\n"
		bound = `{"id":8,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":0.5}]}` + "\n"
		login = `{"id":1,"method":"mining.subscribe","params":["%s"]}` + "\n" + `{"id":2,"method":"mining.authorize","params":["w","x"]}` + "\n"
	)
	for name, c := range map[string]struct {
		bits   uint32
		start  float64
		agent  string
		before string // what is sent ahead of the login
		last   float64
		from   string // whose that was; "": it is not known
		// lastAgent is how that one called itself; "": agent.
		lastAgent string
		want      float64
	}{
		"nothing is known":                {bits: full, want: vardiff.UnknownStart},
		"its kind is":                     {bits: full, agent: "nerdminer/1", want: 0.0002},
		"the network's is less":           {bits: easy, agent: "bitaxe/2", want: 1. / 256},
		"the operator says":               {bits: full, start: 0.25, agent: "nerdminer/1", want: 0.25},
		"the operator says too much":      {bits: full, start: 1e6, want: 1},
		"an easy network":                 {bits: 0x1f00ffff, start: 0.25, want: 1. / 65536},
		"a wish":                          {bits: full, before: wish, want: 0.125},
		"a wish that is too much":         {bits: easy, before: `{"id":9,"method":"mining.suggest_difficulty","params":[5000]}` + "\n", want: 1. / 256},
		"a bound, and a wish for less":    {bits: full, before: bound + wish, want: 0.5},
		"a wish, and a bound above it":    {bits: full, before: wish + bound, want: 0.5},
		"its worker was here":             {bits: full, last: 0.5, agent: "nerdminer/1", start: 0.25, want: 0.5},
		"its worker was here, from there": {bits: full, last: 0.5, from: "127.0.0.1", want: 0.5},
		"another device has its name":     {bits: full, agent: "nerdminer/1", last: 0.5, lastAgent: "bitaxe/2", from: "127.0.0.1", want: 0.0002},
		"another one has its name":        {bits: full, last: 1e-6, from: "127.0.0.2", want: vardiff.UnknownStart},
		"its worker was too good for now": {bits: easy, last: 0.5, want: 1. / 256},
		"toys are not capped":             {bits: toy, start: 0.25, want: 0.25},
		"toys, whatever it calls itself":  {bits: toy, agent: "antminer", want: vardiff.UnknownStart},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(o *Options) { o.StartDifficulty = c.start })
			dial := b.serve(t)
			if c.last > 0 {
				from, _ := netip.ParseAddr(c.from)
				kind := vardiff.KindOf(cmp.Or(c.lastAgent, c.agent)).Name()
				b.o.Accounts.Worker("w").Share(b.now(), accounts.Accepted, c.last, c.last, accounts.Device{Address: from, Kind: kind})
			}
			w := b.work(true)
			w.Bits = c.bits
			w.Network, _ = stratum.TargetFromBits(c.bits)
			w.NetworkDifficulty = float64(w.Network.Difficulty())
			b.Publish(w)
			m := dial()
			m.send(c.before + fmt.Sprintf(login, c.agent))
			if got := m.told(); math.Abs(got/c.want-1) > 0.01 {
				t.Errorf("difficulty %g, want %g", got, c.want)
			}
			if line := m.until("mining.notify"); !strings.Contains(line, fmt.Sprintf("%08x", c.bits)) {
				t.Errorf("job %s", line)
			}
		})
	}
}

// TestPromise: who is not known may be good for a share of difficulty 1, unless no share can be worth so much here.
func TestPromise(t *testing.T) {
	for name, c := range map[string]struct {
		agent      string
		start, max float64
		want       float64
	}{
		"unknown":                   {want: 1},
		"its kind is known":         {agent: "nerdminer/1", want: 0.0002},
		"the operator says more":    {start: 4, want: 4},
		"the operator says less":    {start: 0.25, want: 1},
		"shares are bounded":        {start: 1e-6, max: 1e-6, want: 1e-6},
		"those of its kind are not": {agent: "nerdminer/1", max: 0.5, want: 0.0002},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(o *Options) { o.StartDifficulty, o.Vardiff.Max = c.start, c.max })
			if got := b.promise(vardiff.KindOf(c.agent)); got != c.want {
				t.Errorf("got %g, want %g", got, c.want)
			}
		})
	}
}

// TestEasyShares: shares of before a raise count, but not without end: each is remembered,
// and next to nothing may be needed to find it. A block is one all the same, and what is
// near to the present difficulty is a share always.
func TestEasyShares(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Vardiff = vardiff.Config{Min: everyHash} })
	b.Publish(b.work(true))
	j := b.o.Jobs.Latest()
	s := b.loggedIn(1)
	s.book.Set(uint64(j.Key(0)), everyHash)
	s.book.Set(uint64(j.Key(1)), 1)
	s.told = 1
	nonce := uint32(0)
	send := func(n int) (accepted int) {
		for range n / 16 {
			batch := make([]*stratum.Submission, 16)
			for i := range batch {
				batch[i] = &stratum.Submission{Share: stratum.Share{Worker: "w", JobID: j.Key(0).ID(), Extranonce2: make([]byte, 8), Time: j.Time, Nonce: nonce}}
				nonce++
			}
			b.submitBatch(s, batch)
			for _, in := range batch {
				switch {
				case in.Verdict == nil && in.Worth == everyHash:
					accepted++
				case code(in.Verdict) != stratum.CodeLowDifficulty:
					t.Fatalf("share %d: %v, worth %g", in.Nonce, in.Verdict, float64(in.Worth))
				}
			}
		}
		return accepted
	}
	if n := send(2 * easyBurst); n < easyBurst || n > easyBurst+16 {
		t.Errorf("%d shares of before the raise were accepted, want %d", n, easyBurst)
	}
	b.advance(time.Minute)
	if n := send(1600); n < 60*easyRate || n > 60*easyRate+16 {
		t.Errorf("%d more after a minute", n)
	}
	if n := s.seen.Len(); n > easyBurst+200 {
		t.Errorf("%d shares are remembered", n)
	}
	s.told = 8 * everyHash // it is not far from what they are worth
	if n := send(1600); n != 1600 {
		t.Errorf("%d of 1600 shares near the present difficulty were accepted", n)
	}
	// Who resumes does not begin anew.
	if past := s.past(); !past.easy.tooMany(b.now()) {
		t.Error("a session that is resumed has forgotten them")
	}
}
