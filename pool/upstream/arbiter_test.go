package upstream_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"pgregory.net/rapid"

	"lode/pool/upstream"
)

// script plays a transcript against an Arbiter. Its lines are
//
//	TIME SOURCE HEIGHT[TIP] [bits=HEX] [time=SECONDS from now] [min=SECONDS from now]
//	TIME SOURCE gone | refuses N | takes N | lies
//	TIME NODE says TIP unknown|side|main [HEIGHT] (an answer to a question)
//	TIME = SOURCE HEIGHT | = none       (mined for, and the height of the last job)
//	TIME asks NODE TIP | asks nothing
//
// TIME is since the start, as 1m30s; at each second between two lines the arbiter
// decides once more. Sources are n1, n2 (nodes) and p1, p2 (pools). TIP is a letter;
// without it the chain is the usual one.
type script struct {
	t       testing.TB
	a       *upstream.Arbiter
	names   []string
	start   time.Time
	now     time.Time
	last    upstream.Decision
	height  int64 // of the last job
	jobs    int
	asked   []upstream.Question
	notes   []string
	serials int
}

func play(t testing.TB, sources, text string) *script {
	t.Helper()
	s := &script{t: t, names: strings.Fields(strings.TrimSuffix(sources, "easy")), start: time.Unix(1_700_000_000, 0)}
	s.now = s.start
	o := upstream.Options{HoldDown: time.Minute, StartPatience: 2 * time.Second}
	for _, name := range s.names {
		kind := upstream.Node
		if name[0] == 'p' {
			kind = upstream.Pool
		}
		o.Kinds = append(o.Kinds, kind)
	}
	s.a = upstream.New(s.now, o)
	s.a.OnChain(upstream.Chain{Steady: !strings.HasSuffix(sources, "easy"), Easy: strings.HasSuffix(sources, "easy")})
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if fields := strings.Fields(line); len(fields) > 0 {
			s.line(line, fields)
		}
	}
	return s
}

func (s *script) line(line string, f []string) {
	s.t.Helper()
	at, err := time.ParseDuration(f[0])
	if err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	s.until(s.start.Add(at))
	switch f[1] {
	case "=":
		got := "none"
		if s.last.Active >= 0 {
			got = fmt.Sprint(s.names[s.last.Active], " ", s.height)
		}
		if want := strings.Join(f[2:], " "); got != want {
			s.t.Errorf("%s: got %s (%v)", strings.TrimSpace(line), got, s.notes)
		}
		return
	case "asks":
		got := ""
		for _, q := range s.asked {
			got += fmt.Sprintf(" %s %c", s.names[q.Node], q.Block[1])
		}
		s.asked = nil
		if want := strings.Join(f[2:], " "); strings.TrimSpace(got) != want && !(got == "" && want == "nothing") {
			s.t.Errorf("%s: asks%s", strings.TrimSpace(line), got)
		}
		return
	}
	s.news(f)
	s.decide()
}

func (s *script) news(f []string) {
	s.t.Helper()
	i := -1
	for n, name := range s.names {
		if name == f[1] {
			i = n
		}
	}
	if i < 0 {
		s.t.Fatalf("no source %s", f[1])
	}
	count := func() int {
		n, err := strconv.Atoi(f[3])
		if err != nil {
			s.t.Fatal(err)
		}
		return n
	}
	switch f[2] {
	case "gone":
		s.a.Lose(s.now, i, errors.New("gone"))
	case "lies":
		s.a.Condemn(s.now, i, errors.New("a lie"))
	case "refuses", "takes":
		for range count() {
			s.a.Share(s.now, i, f[2] == "takes")
		}
	case "says":
		answer := map[string]upstream.Answer{"unknown": upstream.Unknown, "side": upstream.Side, "main": upstream.Main, "silent": upstream.Silent}[f[4]]
		var height int64
		if len(f) > 5 {
			height, _ = strconv.ParseInt(f[5], 10, 64)
		}
		for _, q := range []byte(f[3]) {
			for h := range int64(1000) { // whatever height the letter stands at
				s.a.Told(s.now, upstream.Question{Node: i, Block: tip(h, q)}, answer, height)
			}
		}
	default:
		s.a.Give(s.now, i, s.work(f))
	}
}

// tip is the block that work at a height builds on.
func tip(height int64, letter byte) chainhash.Hash {
	return chainhash.Hash{byte(height), letter, byte(height >> 8)}
}

func (s *script) work(f []string) upstream.Work {
	s.t.Helper()
	letter := byte('a')
	digits := strings.TrimRight(f[2], "abcdefghijklmnopqrstuvwxyz")
	if len(digits) < len(f[2]) {
		letter = f[2][len(digits)]
	}
	height, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	now := uint32(s.now.Unix())
	w := upstream.Work{Tip: tip(height, letter), Height: height, Bits: 0x17034219, Time: now, MinTime: now - 3600}
	for _, member := range f[3:] {
		name, value, _ := strings.Cut(member, "=")
		n, err := strconv.ParseInt(value, map[string]int{"bits": 16}[name], 64)
		if err != nil {
			s.t.Fatal(err)
		}
		switch name {
		case "bits":
			w.Bits = uint32(n)
		case "time":
			w.Time = uint32(int64(now) + n)
		case "min":
			w.MinTime = uint32(int64(now) + n)
		case "height": // another than the coinbase's
			w.Height = n
		default:
			s.t.Fatalf("unknown member %s", name)
		}
	}
	s.serials++
	serial := s.serials
	w.Made = &serial
	return w
}

// until lets time pass.
func (s *script) until(end time.Time) {
	for s.now.Before(end) {
		s.now = s.now.Add(min(time.Second, end.Sub(s.now)))
		s.decide()
	}
}

func (s *script) decide() {
	s.last = s.a.Decide(s.now)
	if s.last.Publish {
		s.jobs++
		s.height = s.last.Work.Height
	}
	s.asked = append(s.asked, s.last.Ask...)
	for _, n := range s.last.Notes {
		s.notes = append(s.notes, fmt.Sprintf("%s: %s: %v", s.names[n.Source], n.Text, n.Err))
	}
}

func TestTranscripts(t *testing.T) {
	for _, c := range []struct{ name, sources, text string }{
		// The order of the list.
		{"waits for the best at the start", "n1 n2", `
			0s n2 500
			0s = none
			1s = none
			2s = n2 500`},
		{"takes the best at once", "n1 n2", `
			0s n1 500
			0s = n1 500`},
		{"the best is down from the start", "n1 n2", `
			0s n1 gone
			0s n2 500
			0s = n2 500`},
		{"fails over at once", "n1 n2", `
			0s n1 500
			0s n2 500
			1s n1 gone
			1s = n2 500`},
		{"returns after the hold-down", "n1 n2", `
			0s n1 gone
			0s n2 500
			5s n1 500
			64s = n2 500
			65s = n1 500`},
		{"flapping starts the hold-down anew", "n1 n2", `
			0s n1 gone
			0s n2 500
			1s n1 500
			50s n1 gone
			51s n1 500
			110s = n2 500
			111s = n1 500`},
		{"no hold-down when the backup dies too", "n1 n2", `
			0s n1 gone
			0s n2 500
			1s n1 500
			2s n2 gone
			2s = n1 500`},
		{"all down, then one", "n1 n2", `
			0s n1 gone
			0s n2 gone
			0s = none
			1h n2 500
			1h = n2 500`},
		{"three: the middle one first", "n1 n2 n3", `
			0s n1 gone
			0s n2 gone
			0s n3 500
			1s n2 500
			61s = n2 500
			61s n1 500
			120s = n2 500
			121s = n1 500`},

		// Heights.
		{"a node that is behind is given time, then left", "n1 n2", `
			0s n1 500
			0s n2 500
			5s n2 501
			14s = n1 500
			15s = n2 501
			20s n1 501
			79s = n2 501
			80s = n1 501`},
		{"a node that is behind is not failed over to", "n1 n2", `
			0s n1 501
			0s n2 500
			5s n1 gone
			5s = none
			9s n2 501
			9s = n2 501`},
		{"a lower one after a long time", "n1 n2", `
			0s n1 501
			0s n2 500
			5s n1 gone
			10m4s = none
			10m5s = n2 500`},
		{"one that falls does not lower what another one had", "n1 n2", `
			0s n1 501
			0s n2 500
			5s n1 gone
			6s n2 499
			20s = none`},
		{"what was mined for says, while it is left, that it was too high", "p1 n1", `
			0s p1 505
			0s n1 500
			0s p1 refuses 10
			61s p1 refuses 1
			62s = none
			63s p1 500
			68s = n1 500`},
		{"one that does not tell its height does not lower it, either", "n1 p1 n2", `
			0s n1 501
			0s p1 0x
			0s n2 500
			5s n1 gone
			5s = p1 0
			6s p1 gone
			6s = none`},
		{"what was mined for may say itself that it lost blocks", "n1", `
			0s n1 500
			1s n1 gone
			2s n1 490
			2s = n1 490`},
		{"a stuck node is no place to go to from a pool", "p1 n1", `
			0s p1 500
			0s n1 500
			10s p1 501b
			10s n1 says b unknown
			10m p1 502b
			10m n1 says b unknown
			10m = p1 502
			20m p1 503b
			20m n1 says b unknown
			21m = p1 503
			21m p1 gone
			21m = none
			22m p1 503b
			22m = p1 503`},
		{"a stuck node is left for a pool in the end", "n1 p1", `
			0s n1 500
			0s p1 500
			10s p1 501b
			15m p1 502b
			30m9s = n1 500
			30m10s = p1 502`},
		{"a stuck node is left for a pool that another one confirms", "n1 p1 p2", `
			0s n1 500
			0s p1 500
			10s p1 501
			12s p2 501
			21s = n1 500
			22s = p1 501`},
		{"a pool's claim alone takes nobody from our node", "n1 p1", `
			0s n1 500
			0s p1 510b
			5m n1 501
			5m p1 511b
			10m n1 502
			10m p1 512b
			40m n1 503
			50m = n1 503`},
		{"a pool that is behind our node", "p1 n1", `
			0s p1 500
			0s n1 500
			10s n1 501
			39s = p1 500
			40s = n1 501
			50s p1 501
			109s = n1 501
			110s = p1 501`},
		{"a backup that names a great height", "p1 p2", `
			0s p1 500
			0s p2 900
			0s = p1 500
			5m p1 gone
			5m = p2 900
			6m p1 501
			6m59s = p2 900
			7m = p1 501`},
		{"a pool that named a great height and is gone", "p1 p2", `
			0s p1 900
			0s p2 500
			5s p1 gone
			5s = p2 500`},
		{"a pool that is stuck, far behind, and comes and goes", "p1 p2", `
			0s p1 500
			0s p2 500
			1m p1 gone
			1h p2 507
			1h p1 500
			2h = p2 507`},
		{"a pool without heights", "p1 n1", `
			0s p1 0z
			0s n1 500
			0s asks n1 z
			10m = p1 0`},
		{"a pool without heights that builds on an old block", "p1 n1", `
			0s p1 0z
			0s n1 500
			1s n1 says z main 480
			30s = p1 0
			31s = n1 500`},

		// Flapping.
		{"two nodes behind a balancer", "n1", `
			0s n1 501
			1s n1 500
			1s = n1 501
			2s n1 501
			5s n1 500
			9s n1 501
			13s n1 500
			13s = n1 501
			17s n1 501
			17s = n1 501`},
		{"two tips of one height behind a balancer", "n1", `
			0s n1 500a
			1s n1 500b
			2s n1 500a
			6s n1 500b
			10s n1 500a
			14s n1 500b
			15s n1 500a
			15s = n1 500`},
		{"a node whose chain became shorter", "n1", `
			0s n1 501
			1s n1 499
			5s = n1 501
			6s = n1 499`},

		// Trust.
		{"other bits on our tip", "p1 n1", `
			0s p1 500 bits=1703421a
			0s n1 500
			0s = n1 500
			4m p1 500
			5m59s = n1 500
			6m = p1 500`},
		{"another height on our tip", "p1 n1", `
			0s p1 500 height=501
			0s n1 500
			0s = n1 500`},
		{"before mintime", "p1 n1", `
			0s n1 500 min=-100
			0s p1 500 time=-101
			0s = n1 500`},
		{"at mintime", "p1 n1", `
			0s n1 500 min=-100
			0s p1 500 time=-100
			0s = p1 500`},
		{"from the far future", "p1 n1", `
			0s p1 500 time=7201
			0s n1 500
			0s = n1 500`},
		{"a testnet: easy bits, and our node has the usual ones", "p1 n1 easy", `
			0s n1 500
			0s p1 500 bits=1d00ffff
			0s = p1 500`},
		{"a testnet: the usual bits, and our node has the easy ones", "p1 n1 easy", `
			0s n1 500 bits=1d00ffff min=-5
			0s p1 500 time=-20
			0s = p1 500`},
		{"a testnet: neither", "p1 n1 easy", `
			0s n1 500
			0s p1 500 bits=1703421a
			0s = n1 500`},
		{"a testnet: easy bits too early", "p1 n1 easy", `
			0s n1 500 bits=1d00ffff min=-5
			0s p1 500 bits=1d00ffff time=-20
			0s = n1 500`},
		{"easy bits on another tip", "p1 n1", `
			0s p1 503b bits=1804b100
			0s n1 500
			0s = n1 500`},
		{"over a retarget", "p1 n1", `
			0s p1 2016b bits=17035000
			0s n1 2015
			0s = p1 2016`},
		{"over a retarget, too much", "p1 n1", `
			0s p1 2016b bits=170e0000
			0s n1 2015
			0s = n1 2015`},
		{"another chain, far ahead", "p1 n1", `
			0s p1 9000b
			0s n1 500
			0s = n1 500`},
		{"a block that the node does not have", "p1 n1", `
			0s n1 500
			0s p1 501b
			0s asks n1 b
			0s n1 says b unknown
			10m = p1 501`},
		{"blocks that the node does not have, of two pools", "p1 p2 n1", `
			0s p1 501b
			0s n1 500
			0s n1 says b unknown
			1s p2 501c
			9s asks n1 b n1 c n1 b n1 c n1 b`},
		{"one witness voids its height", "p1 n1", `
			0s n1 500
			0s p1 501b
			0s n1 says b unknown
			1m n1 502
			1m n1 says b unknown
			1m p1 503b
			20m = p1 503
			20m p1 gone
			20m = n1 502`},
		{"two pools of one fork that our node has passed", "n1 p1 p2", `
			0s n1 500
			0s p1 501b
			0s p2 501b
			1s n1 says b unknown
			5s n1 502
			6s p1 504b
			6s p2 504b
			5m = n1 502`},
		{"refusals after a long time without shares", "p1 n1", `
			0s p1 500
			0s n1 500
			1s p1 takes 5
			2s p1 gone
			1h p1 500
			1h1m = p1 500
			1h2m p1 refuses 10
			1h2m59s p1 refuses 5
			1h3m = p1 500
			1h3m1s = n1 500
			1h3m2s p1 refuses 20 # that were under way
			1h8m1s = n1 500
			1h9m1s = p1 500
			1h10m p1 refuses 10
			1h11m = p1 500
			1h11m1s = n1 500`},
		{"two witnesses against it", "p1 n1 n2", `
			0s n1 501
			0s n2 501
			0s p1 501b
			0s asks n1 b n2 b
			0s n1 says b unknown
			1s n2 says b unknown
			30s = p1 501
			31s = n1 501`},
		{"two blocks at one height, until one of them has a successor", "p1 n1 n2", `
			0s n1 501
			0s n2 501
			0s p1 501b
			1s n1 says b side 500
			1s n2 says b side 500
			10m = p1 501
			10m n1 502
			10m n2 502
			10m29s = p1 501
			10m30s = n1 502`},
		{"two blocks at one height, and the pool's has a successor", "p1 n1 n2", `
			0s n1 501
			0s n2 501
			0s p1 501b
			1s n1 says b side 500
			1s n2 says b unknown
			5m = p1 501
			5m p1 502c
			5m2s n1 says c main 501
			5m2s n1 502c
			10m = p1 502`},
		{"two witnesses, but they are behind", "p1 n1 n2", `
			0s n1 500
			0s n2 500
			0s p1 502b
			0s n1 says b unknown
			0s n2 says b unknown
			10m = p1 502`},
		{"two witnesses, one of which is told in time", "p1 n1 n2", `
			0s n1 501
			0s n2 501
			0s p1 501b
			0s n1 says b unknown
			1s n2 says b unknown
			20s n2 says b main 500
			40s = p1 501`},
		{"a node and another pool are witnesses", "p1 p2 n1", `
			0s n1 501
			0s p2 501
			0s p1 501b
			0s n1 says b unknown
			29s = p1 501
			30s = p2 501`},
		{"a node against two pools", "p1 p2 n1", `
			0s n1 501
			0s p2 501b
			0s p1 501b
			0s n1 says b unknown
			10m = p1 501`},
		{"a fork that the nodes have passed", "p1 n1 n2", `
			0s n1 500
			0s n2 500
			0s p1 501b
			0s n1 says b unknown
			0s n2 says b unknown
			1m n1 501
			1m n2 501
			1m p1 502b # it goes on, ahead by its own word
			1m n1 says b unknown
			1m n2 says b unknown
			1m29s = p1 502
			1m30s = n1 501`},
		{"a false height on a block that we have", "p1 n1", `
			0s n1 500
			0s p1 502b
			1s n1 says b main 480
			1s = n1 500`},
		{"a pool that refuses all", "p1 p2", `
			0s p1 500
			0s p2 500
			0s p1 refuses 5
			1m p1 refuses 5
			1m = p1 500
			1m1s = p2 500
			6m1s = p2 500
			7m1s = p1 500`},
		{"a pool that takes one", "p1 p2", `
			0s p1 500
			0s p2 500
			0s p1 refuses 9
			50s p1 takes 1
			51s p1 refuses 9
			3m = p1 500`},
		{"a liar's height does not bind", "p1 n1", `
			0s p1 510b
			0s n1 500
			1s = p1 510
			2s p1 lies
			2s = n1 500`},

		// Nodes that are wrong.
		{"another node agrees with a pool on bits", "p1 n1 n2", `
			0s n1 500 bits=1703421a # wrong
			0s n2 500
			0s p1 500
			1m = p1 500`},
		{"another node agrees with a pool on the height", "p1 n1 n2", `
			0s n1 500 height=700
			0s n2 500
			0s p1 500
			1m = p1 500`},
		{"a node on another chain, and one that is with the pool", "p1 n1 n2", `
			0s n1 9000b
			0s n2 500
			0s p1 500
			1m = p1 500
			2m p1 501 # before our node has it
			3m = p1 501`},
		{"a node that has been stuck for weeks is no witness", "p1 n1", `
			0s n1 500 min=-2000000
			0s p1 3000b
			1m = p1 3000`},
		{"a node that is stuck beside the chain is no witness for ever", "n1 p1", `
			0s n1 501
			0s p1 501b
			1s n1 says b unknown
			10m p1 502b
			20m p1 503b
			30m9s = n1 501
			30m10s = p1 503`},
		{"two nodes that are stuck beside the chain", "p1 n1 n2", `
			0s n1 501
			0s n2 501
			0s p1 501b
			1s n1 says b unknown
			1s n2 says b unknown
			31s = n1 501
			10m p1 502b
			20m p1 503b
			41m = p1 503`},
		{"a node far ahead on another chain takes nobody", "n1 n2", `
			0s n1 500
			0s n2 9000b
			5m n1 501
			5m = n1 501
			5m n1 gone
			5m = n2 9000
			5m1s n1 501
			7m = n1 501`},
		{"a node with bits of another chain takes nobody", "n1 n2", `
			0s n1 500
			0s n2 501b bits=207fffff
			1m = n1 500`},
		{"a node whose blocks are easy, where that may be", "n1 n2 easy", `
			0s n1 500
			0s n2 501b bits=1d00ffff
			1m = n2 501`},
		{"one that does not tell its height is on no other chain for that", "p1 n1", `
			0s p1 0z
			0s n1 5000
			1m = p1 0`},
		{"a side block without a height", "p1 n1", `
			0s p1 0z
			0s n1 500
			1s n1 says z side 0
			10m = p1 0`},
		{"what a condemned pool had before is not mined for later", "p1", `
			0s p1 500
			1s p1 lies
			10m = none
			10m p1 501
			10m = p1 501`},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, c.sources, c.text)
		})
	}
}

// TestPace floods an Arbiter with what changes all the time: miners get jobs at a pace,
// and the newest in the end.
func TestPace(t *testing.T) {
	for name, work := range map[string]func(i int) (string, int64){
		"jobs on one tip":     func(int) (string, int64) { return "500", 500 },
		"tips of one pool":    func(i int) (string, int64) { return fmt.Sprint(500, string(rune('a'+i%26))), 500 },
		"ever new blocks":     func(i int) (string, int64) { return fmt.Sprint(500 + i), int64(500 + i) },
		"heights up and down": func(i int) (string, int64) { return fmt.Sprint(500 + i%2), 501 },
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, "p1", "")
			const seconds, each = 10, 200
			want := int64(0)
			for i := range seconds * each {
				s.now = s.start.Add(time.Duration(i) * time.Second / each)
				text, height := work(i)
				s.news([]string{"", "p1", text})
				s.decide()
				if want = height; i == each/4 && name != "heights up and down" && s.jobs != 4 {
					t.Errorf("%d jobs at once, want 4", s.jobs)
				}
			}
			if s.jobs < seconds || s.jobs > 2*seconds+4 {
				t.Errorf("%d jobs in %d s", s.jobs, seconds)
			}
			if again := s.last.Again; again.IsZero() || again.Sub(s.now) > time.Second {
				t.Errorf("nobody is told when the last work is due (%v)", again)
			} else {
				s.now = again
				s.decide()
			}
			if !s.last.Publish || s.height != want {
				t.Errorf("the last job is of height %d, want %d", s.height, want)
			}
			if len(s.asked) > 0 {
				t.Errorf("%d questions", len(s.asked))
			}
		})
	}
}

// TestSameWorkAgain: a source that was left for a while and comes back with what it had is
// mined for at once; the miners have been idle meanwhile.
func TestSameWorkAgain(t *testing.T) {
	s := play(t, "p1", `
		0s p1 500
		0s p1 refuses 10
		2m = none
		6m1s = p1 500
		8m = p1 500`)
	if s.jobs != 2 {
		t.Errorf("%d jobs, want one before and one after", s.jobs)
	}
}

// TestWords: people hear of what a source lacks, but not without end.
func TestWords(t *testing.T) {
	for name, c := range map[string]struct {
		each        func(s *script, i int) // second
		least, most int
	}{
		"the same all the time": {func(s *script, _ int) { s.news([]string{"", "p1", "gone"}) }, 1, 1},
		"in other words":        {func(s *script, i int) { s.a.Lose(s.now, 0, fmt.Errorf("gone for %d s", i)) }, 10, 15},
		"it comes and goes":     {func(s *script, i int) { s.news([]string{"", "p1", [2]string{"gone", "500"}[i%2]}) }, 10, 15},
		"lost as before, after a lie": {func(s *script, i int) {
			switch i {
			case 0, 30:
				s.a.Lose(s.now, 0, errors.New("gone"))
			case 10:
				s.news([]string{"", "p1", "500"})
			case 20:
				s.news([]string{"", "p1", "lies"})
			}
		}, 3, 3},
		"each of its jobs is a lie":    {func(s *script, _ int) { s.news([]string{"", "p1", "lies"}) }, 1, 1},
		"two reasons, one after other": {func(s *script, i int) { s.a.Lose(s.now, 0, fmt.Errorf("reason %d", min(i, 1))) }, 2, 2},
		"a lie in each block": {func(s *script, i int) {
			s.news([]string{"", "p1", fmt.Sprint(500 + i/60), "time=7201"})
		}, 2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, "p1", "")
			for i := range 600 {
				s.now = s.now.Add(time.Second)
				c.each(s, i)
				s.decide()
			}
			if n := len(s.notes); n < c.least || n > c.most {
				t.Errorf("%d notes in 10 minutes, want %d to %d: %q", n, c.least, c.most, s.notes)
			}
		})
	}
}

// TestUnknownBlocks: where a pool is the first to have each block people are told so once in a
// while, if the node does not know it.
func TestUnknownBlocks(t *testing.T) {
	for answer, most := range map[upstream.Answer]int{upstream.Unknown: 3, upstream.Main: 0, upstream.Silent: 0} {
		unknownBlocks(t, answer, most)
	}
}

func unknownBlocks(t *testing.T, answer upstream.Answer, most int) {
	s := play(t, "p1 n1", "0s n1 500")
	for i := range 600 {
		s.now = s.now.Add(time.Second)
		s.news([]string{"", "p1", fmt.Sprint(501 + i/10)})
		s.news([]string{"", "n1", fmt.Sprint(501 + (i-4)/10)})
		s.decide()
		for _, q := range s.last.Ask {
			s.a.Told(s.now, q, answer, 0)
			s.decide()
		}
	}
	if n := len(s.notes); n > most || n == 0 && most > 0 {
		t.Errorf("%d notes in 10 minutes for answer %d: %q", n, answer, s.notes)
	}
}

// TestQuestions: however fast a pool goes from one unknown block to the next, a node is
// asked each two seconds at most.
func TestQuestions(t *testing.T) {
	s := play(t, "p1 n1", "0s n1 500")
	for i := range 1000 {
		s.now = s.start.Add(time.Duration(i) * 10 * time.Millisecond)
		s.news([]string{"", "p1", fmt.Sprint(501, string(rune('b'+i%20)))})
		s.decide()
	}
	if n := len(s.asked); n < 3 || n > 6 {
		t.Errorf("%d questions in 10 s", n)
	}
}

// TestProperties: what is mined for gives work and is trusted, never lower than what was
// mined within the last minutes; if all sources agree, one of them is mined for.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"n1", "p1", "n2", "p2"}[:rapid.IntRange(1, 4).Draw(t, "sources")]
		now := time.Unix(1_700_000_000, 0)
		o := upstream.Options{HoldDown: time.Minute, StartPatience: 2 * time.Second}
		for _, n := range names {
			o.Kinds = append(o.Kinds, map[byte]upstream.Kind{'n': upstream.Node, 'p': upstream.Pool}[n[0]])
		}
		a := upstream.New(now, o)
		has := make([]int64, len(names)) // height; 0: nothing
		var mined int64
		var minedAt time.Time
		minedFor := -1
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
			i := rapid.IntRange(0, len(names)-1).Draw(t, "which")
			if rapid.IntRange(0, 4).Draw(t, "what") == 0 {
				has[i] = 0
				a.Lose(now, i, errors.New("gone"))
			} else {
				h := rapid.Int64Range(500, 504).Draw(t, "height")
				if h > has[i] {
					has[i] = h // chains do not become shorter here
				}
				serial := new(int)
				a.Give(now, i, upstream.Work{Tip: tip(has[i], 'a'), Height: has[i], Time: uint32(now.Unix()), Made: serial})
			}
			d := a.Decide(now)
			if d.Active < 0 {
				continue
			}
			if has[d.Active] == 0 {
				t.Fatalf("%s is mined for, which gives nothing", names[d.Active])
			}
			if h := has[d.Active]; h < mined && d.Active != minedFor && now.Sub(minedAt) < 5*time.Minute {
				t.Fatalf("from height %d of %s to %d of %s", mined, names[minedFor], h, names[d.Active])
			}
			mined, minedAt, minedFor = has[d.Active], now, d.Active
		}
		for i := range has {
			a.Give(now, i, upstream.Work{Tip: tip(600, 'a'), Height: 600, Time: uint32(now.Unix()), Made: new(int)})
		}
		if d := a.Decide(now.Add(3 * time.Second)); d.Active < 0 {
			t.Fatal("all agree, and nothing is mined for")
		}
	})
}

// TestOneLiar has one source say anything, among others that follow the chain with a
// delay: none of those is distrusted for it.
func TestOneLiar(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := rapid.Permutation([]string{"n1", "n2", "p1", "p2"}).Draw(rt, "order")
		liar := rapid.IntRange(0, len(names)-1).Draw(rt, "liar")
		s := play(t, strings.Join(names, " "), "")
		has, delay := make([]int64, len(names)), make([]int, len(names))
		truth, since := int64(500), 0
		for i, name := range names {
			has[i] = truth
			s.news([]string{"", name, "500"})
		}
		lies := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 300, 300).Draw(rt, "lies")
		for second, lie := range lies {
			s.now = s.now.Add(time.Second)
			if lie%60 == 0 {
				truth, since = truth+1, second
				for i := range delay {
					delay[i] = lie >> 6 >> (4 * i) & 15
				}
			}
			for i, name := range names {
				switch {
				case i == liar && lie%7 == 0:
					height := truth + int64(lie>>4%8) - 4
					bits := [4]string{"bits=17034219", "bits=17034219", "bits=1703421a", "bits=207fffff"}[lie>>8%4]
					news := []string{"", name, fmt.Sprint(height, string(rune('a'+lie>>10%3))), bits}
					if name[0] == 'p' {
						news = append(news, fmt.Sprint("height=", height+int64(lie>>13%3)))
					}
					s.news(news)
				case i == liar && lie%97 == 1:
					s.news([]string{"", name, "gone"})
				case i != liar && has[i] < truth && second-since >= delay[i]:
					has[i] = truth
					s.news([]string{"", name, fmt.Sprint(truth)})
				}
			}
			s.decide()
			for _, q := range s.asked {
				answer, height := upstream.Unknown, int64(0)
				if h := int64(q.Block[0]) | int64(q.Block[2])<<8; q.Block[1] == 'a' && h <= has[q.Node] {
					answer, height = upstream.Main, h-1
				}
				s.a.Told(s.now, q, answer, height)
			}
			s.asked = nil
			for i, name := range names {
				if st := s.a.State(i); i != liar && strings.Contains(st.Why+fmt.Sprint(st.Err), upstream.ErrViolation.Error()) {
					rt.Fatalf("%v, %s lies: at %d s %s is distrusted: %s %v", names, names[liar], second, name, st.Why, st.Err)
				}
			}
		}
	})
}
