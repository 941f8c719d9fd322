package space_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lode/pool/space"
)

const hold = 10 * time.Minute

var start = time.Unix(1_700_000_000, 0)

// address is one of many.
func address(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)})
}

// miner is a connection with a place, or one that has lost it.
type miner struct {
	*space.Lease
	taken int
}

func join(t testing.TB, s *space.Space, now time.Time, from int, resume string) (*miner, error) {
	m := &miner{}
	l, err := s.Take(now, space.Request{Resume: resume, Address: address(from), Holder: m, Taken: func() { m.taken++ }})
	m.Lease = l
	return m, err
}

func mustJoin(t testing.TB, s *space.Space, now time.Time, from int, resume string) *miner {
	t.Helper()
	m, err := join(t, s, now, from, resume)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newSpace(t testing.TB, size int) *space.Space {
	t.Helper()
	s, err := space.New([]byte{7}, size, 8, hold)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestExhaustion: places of miners that work are not taken away; one that left has its
// own for a while, unless it is needed.
func TestExhaustion(t *testing.T) {
	now := start
	s := newSpace(t, 1)
	seen := map[string]bool{}
	miners := make([]*miner, 256)
	for i := range miners {
		m := mustJoin(t, s, now, i, "")
		if e := m.Extranonce; len(e) != 2 || e[0] != 7 || seen[string(e)] {
			t.Fatalf("extranonce %x", e)
		}
		seen[string(m.Extranonce)] = true
		m.Prove(now, i)
		miners[i] = m
	}
	if _, err := join(t, s, now, 1000, ""); !errors.Is(err, space.ErrFull) {
		t.Fatalf("the 257th: %v", err)
	}
	miners[3].Release(now, "three")
	now = now.Add(time.Second)
	miners[4].Release(now, "four")
	if m := mustJoin(t, s, now.Add(hold-2*time.Second), 3, miners[3].ID); string(m.Extranonce) != string(miners[3].Extranonce) || !m.Resumed || m.Kept != "three" {
		t.Errorf("resume: %+v", m.Lease)
	} else {
		m.Release(now, "three again")
	}
	// The oldest goes to the newcomer, with what its miner left.
	m := mustJoin(t, s, now, 1000, "")
	if string(m.Extranonce) != string(miners[4].Extranonce) || m.Kept != "four" || m.Resumed || m.ID == miners[4].ID {
		t.Errorf("the newcomer has %+v", m.Lease)
	}
	m.Prove(now, "new")
	if m := mustJoin(t, s, now, 4, miners[4].ID); string(m.Extranonce) != string(miners[3].Extranonce) {
		t.Errorf("who comes back too late has %x", m.Extranonce)
	}
	if s.Leased() != 256 {
		t.Errorf("%d leased", s.Leased())
	}
}

// TestStrangers: connections that prove nothing, however many, staying or leaving, keep
// nobody out, and take nothing from those who work or have.
func TestStrangers(t *testing.T) {
	for name, c := range map[string]struct {
		size      int
		stay      bool
		addresses int
	}{
		"one address, leaving, 1 byte":    {1, false, 1},
		"one address, staying, 1 byte":    {1, true, 1},
		"100 addresses, staying, 1 byte":  {1, true, 100},
		"5000 addresses, staying, 1 byte": {1, true, 5000},
		"one address, leaving, 2 bytes":   {2, false, 1},
		"one address, staying, 2 bytes":   {2, true, 1},
		"1000 addresses, staying, 2":      {2, true, 1000},
		"one address, staying, 3 bytes":   {3, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := start
			s := newSpace(t, c.size)
			working := mustJoin(t, s, now, 1_000_000, "")
			working.Prove(now, nil)
			gone := mustJoin(t, s, now, 1_000_001, "")
			gone.Prove(now, nil)
			gone.Release(now, nil)
			refused := 0
			for i := range 65536 + 1000 {
				now = now.Add(time.Millisecond)
				m, err := join(t, s, now, i%c.addresses, "")
				if err != nil {
					refused++
					continue
				}
				if !c.stay {
					m.Release(now, nil)
				}
			}
			if refused > 0 {
				t.Errorf("%d were refused: they give way to each other", refused)
			}
			if working.Lost() || working.taken > 0 {
				t.Error("a working miner lost its place")
			}
			// A new miner is in at once, and is left to work.
			m := mustJoin(t, s, now, 2_000_000, "")
			for i := range 2000 {
				_, _ = join(t, s, now.Add(time.Duration(i)*time.Millisecond), i%c.addresses, "")
			}
			if m.Lost() {
				t.Error("a new miner was put out before it could show what it does")
			}
			m.Prove(now, nil)
			if m.Lost() {
				t.Error("a miner that has shown what it does has no place")
			}
			if c.addresses <= 100 {
				if back := mustJoin(t, s, now, 1_000_001, gone.ID); c.addresses == 1 && string(back.Extranonce) != string(gone.Extranonce) {
					t.Error("a miner that had left did not get its extranonce back")
				}
			}
		})
	}
}

// TestCheapShares: an address whose connections have a share accepted, leave and come
// again, holds what a part of the space is and no more once it is full.
func TestCheapShares(t *testing.T) {
	now := start
	s := newSpace(t, 1)
	var honest []*miner
	for i := range 100 {
		m := mustJoin(t, s, now, 1000+i, "")
		m.Prove(now, nil)
		m.Release(now, nil)
		honest = append(honest, m)
	}
	for range 10_000 {
		m := mustJoin(t, s, now, 1, "")
		m.Prove(now, nil)
		m.Release(now, nil)
	}
	for i, m := range honest {
		if back := mustJoin(t, s, now, 1000+i, m.ID); !back.Resumed {
			t.Fatalf("miner %d lost its lease", i)
		}
	}
}

// promising is join for a kind whose shares are worth so much at first.
func promising(t testing.TB, s *space.Space, now time.Time, from int, promise float64) (*miner, error) {
	t.Helper()
	m := &miner{}
	l, err := s.Take(now, space.Request{Address: address(from), Promise: promise, Taken: func() { m.taken++ }})
	m.Lease = l
	return m, err
}

// TestTrivialWork: shares that cost nothing hold no full space, whatever those who find them
// promise, and however often they come again; who works has a place soon, and keeps it.
func TestTrivialWork(t *testing.T) {
	for name, c := range map[string]struct {
		addresses int     // of attackers
		promise   float64 // of theirs
		resume    bool
	}{
		"one address":             {1, 1, false},
		"many addresses":          {5000, 1, false},
		"as if they were great":   {5000, 524288, false},
		"as if they were nothing": {5000, 0, false},
		"resuming":                {1, 524288, true},
	} {
		t.Run(name, func(t *testing.T) {
			now := start
			s := newSpace(t, 1)
			var attackers []*miner
			attack := func(i int) {
				if len(attackers) < 1000 {
					if m, err := promising(t, s, now, 10_000+i%c.addresses, c.promise); err == nil {
						attackers = append(attackers, m)
					}
				}
				kept := attackers[:0]
				for _, m := range attackers {
					if m.Lost() {
						continue
					}
					m.Worked(now, 1e-6)
					if m.Prove(now, nil) && c.resume {
						m = mustJoin(t, s, now, 10_000+i%c.addresses, m.ID)
					}
					kept = append(kept, m)
				}
				attackers = kept
			}
			for i := range 600 {
				now = now.Add(50 * time.Millisecond)
				attack(i)
			}
			if s.Leased() != s.Capacity() {
				t.Fatalf("%d leased", s.Leased())
			}
			now = now.Add(startOfComparison)
			type honest struct {
				*miner
				at     time.Time
				proven bool
			}
			farm := make([]honest, 100)
			tries, outs := 0, 0
			for i := range 6000 { // 5 min
				now = now.Add(50 * time.Millisecond)
				attack(i)
				for k := range farm {
					h := &farm[k]
					if h.miner != nil && h.Lost() {
						if h.proven {
							t.Fatalf("a miner that works lost its place after %v", now.Sub(h.at))
						}
						outs++
						h.miner, h.at = nil, now
					}
					switch {
					case h.miner == nil && now.Sub(h.at) >= time.Second: // it connects again
						m, err := promising(t, s, now, k%20, 1024)
						if tries++; err != nil {
							t.Fatalf("a miner is refused: %v", err)
						}
						h.miner, h.at = m, now
					case h.miner != nil && now.Sub(h.at) >= 2*time.Second:
						h.Worked(now, 1024)
						h.proven = h.Prove(now, nil)
						h.at = now
					}
				}
			}
			proven := 0
			for _, h := range farm {
				if h.proven {
					proven++
				}
			}
			t.Logf("%d of %d have places, %d attackers, %d tries, put out %d times", proven, len(farm), len(attackers), tries, outs)
			if proven < len(farm) {
				t.Errorf("%d of %d miners have places of their own", proven, len(farm))
			}
		})
	}
}

// startOfComparison is when a miner that has a place must have shown what it does.
const startOfComparison = 30 * time.Second

// TestSlowMinersStay: great promises put nobody out who works, and of those whose work is next
// to nothing a few, for as long as nobody has shown more.
func TestSlowMinersStay(t *testing.T) {
	for name, c := range map[string]struct {
		rate float64 // difficulty per second
		most int     // are put out
	}{"a terahash": {250, 0}, "a fifth of that": {50, 0}, "a processor": {0.005, 16}} {
		t.Run(name, func(t *testing.T) {
			now := start
			s := newSpace(t, 1)
			var miners []*miner
			for i := range 256 {
				m := mustJoin(t, s, now, i, "")
				miners = append(miners, m)
			}
			work := func() {
				for _, m := range miners {
					m.Worked(now, c.rate)
					m.Prove(now, nil)
				}
			}
			for range 100 {
				work()
				now = now.Add(time.Second)
			}
			for i := range 2000 {
				_, err := promising(t, s, now, 1000+i%500, 1e9)
				if c.most == 0 && !errors.Is(err, space.ErrFull) || c.most > 0 && err != nil {
					t.Fatal(err)
				}
				if now = now.Add(10 * time.Millisecond); i%100 == 0 {
					work()
				}
			}
			lost := 0
			for _, m := range miners {
				if m.Lost() {
					lost++
				}
			}
			if lost != c.most {
				t.Errorf("%d were put out, want %d", lost, c.most)
			}
		})
	}
}

// TestPrecedence: among those that share a place the one who has done most has it, and who has
// just come has time for a first share.
func TestPrecedence(t *testing.T) {
	share := func(now time.Time, promises ...float64) (list []*miner) {
		s := newSpace(t, 0)
		for i, promise := range promises {
			m, err := promising(t, s, now, i, promise)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, m)
		}
		return list
	}
	now := start
	two := share(now, 0.001, 1024)
	two[0].Worked(now, 0.001)
	if two[0].Prove(now, nil) || two[1].Lost() {
		t.Error("a share that is worth nothing put a greater one out")
	}
	two[1].Worked(now, 1024)
	if !two[1].Prove(now, nil) || !two[0].Lost() || two[0].taken != 1 {
		t.Error("a first share gave no place")
	}
	two = share(now, 0.001, 1024)
	now = now.Add(time.Minute)
	two[0].Worked(now, 0.001)
	if !two[0].Prove(now, nil) || !two[1].Lost() {
		t.Error("who does nothing kept the place from one who has a share")
	}
	two = share(now, 1024, 1e12)
	two[0].Worked(now, 20000)
	if !two[0].Prove(now, nil) || !two[1].Lost() {
		t.Error("a promise without bounds is believed")
	}
}

// TestFarm: many miners of one address that come back at once, without resuming, all get
// in, and only their own old leases make room for them.
func TestFarm(t *testing.T) {
	now := start
	s := newSpace(t, 1)
	var other []*miner
	for i := range 50 {
		m := mustJoin(t, s, now, 1000+i, "")
		m.Prove(now, nil)
		other = append(other, m)
	}
	for range 3 { // power cuts
		var farm []*miner
		for range 200 {
			farm = append(farm, mustJoin(t, s, now, 1, ""))
		}
		for i, m := range farm {
			if m.Lost() {
				t.Fatalf("miner %d of the farm was put out", i)
			}
			m.Prove(now, nil)
		}
		for _, m := range farm {
			m.Release(now, nil)
		}
		now = now.Add(time.Minute)
	}
	for i, m := range other {
		if m.Lost() {
			t.Errorf("miner %d was put out", i)
		}
	}
}

// TestResume: the session goes over at once, and the old connection can neither use it
// nor give it back.
func TestResume(t *testing.T) {
	for _, proven := range []bool{true, false} {
		t.Run(fmt.Sprintf("proven %v", proven), func(t *testing.T) {
			now := start
			s := newSpace(t, 2)
			old := mustJoin(t, s, now, 1, "")
			if proven {
				old.Prove(now, "kept")
			}
			m := mustJoin(t, s, now, 2, old.ID)
			if string(m.Extranonce) != string(old.Extranonce) || m.ID != old.ID || !m.Resumed || m.Former != any(old) || m.Kept == "kept" != proven {
				t.Errorf("resumed %+v", m.Lease)
			}
			if !old.Lost() || old.taken != 1 || m.Lost() || m.taken != 0 {
				t.Errorf("old: lost %v, told %d times", old.Lost(), old.taken)
			}
			old.Prove(now, "x")
			old.Release(now, "x")
			other := mustJoin(t, s, now, 3, "")
			if string(other.Extranonce) == string(m.Extranonce) || s.Leased() != 2 {
				t.Errorf("the old connection gave back what was not its own")
			}
			m.Prove(now, "new")
			m.Release(now, "newer")
			m.Release(now, "again")
			if last := mustJoin(t, s, now.Add(hold-1), 2, m.ID); last.Kept != "newer" || !last.Resumed {
				t.Errorf("at last %+v", last.Lease)
			}
		})
	}
	now := start
	s := newSpace(t, 2)
	if m := mustJoin(t, s, now, 1, "made up"); m.ID == "made up" || m.Resumed {
		t.Errorf("a made-up session id was taken: %+v", m.Lease)
	}
	l, err := s.Take(now, space.Request{Resume: "moved", Keep: true})
	if err != nil || l.ID != "moved" || l.Resumed {
		t.Errorf("a session from another space: %+v, %v", l, err)
	}
	m := mustJoin(t, s, now, 1, "")
	m.Prove(now, nil)
	m.Release(now, nil)
	if late := mustJoin(t, s, now.Add(hold), 1, m.ID); late.Resumed {
		t.Error("a lease was kept for too long")
	}
	// What was not proven is free at once.
	m = mustJoin(t, s, now, 1, "")
	m.Release(now, nil)
	if again := mustJoin(t, s, now, 1, m.ID); again.Resumed {
		t.Error("a place without a share was kept")
	}
}

// TestWholeExtranonce: a space of one place.
func TestWholeExtranonce(t *testing.T) {
	now := start
	s := newSpace(t, 0)
	m := mustJoin(t, s, now, 1, "")
	if string(m.Extranonce) != "\x07" || s.Capacity() != 1 || s.Size() != 1 {
		t.Errorf("extranonce %x of %d", m.Extranonce, s.Capacity())
	}
	other := mustJoin(t, s, now, 2, "")
	if m.Lost() || other.Lost() {
		t.Error("one of two who have shown nothing was put out")
	}
	other.Prove(now, nil)
	if !m.Lost() || m.taken != 1 {
		t.Error("two have it")
	}
	other.Worked(now.Add(time.Hour), 1)
	if _, err := join(t, s, now.Add(time.Hour+hold-1), 3, ""); !errors.Is(err, space.ErrFull) {
		t.Errorf("beside one that works: %v", err)
	}
	late := mustJoin(t, s, now.Add(time.Hour+hold), 3, "")
	if !other.Lost() || other.taken != 1 || late.Lost() {
		t.Error("a miner that does nothing any more keeps the place")
	}
}

// TestCompany: connections without a share are together on one value, know the same shares
// to be found, and none of them can harm another by coming or going.
func TestCompany(t *testing.T) {
	now := start
	full := func() (*space.Space, *miner) {
		s := newSpace(t, 0)
		m := &miner{}
		var err error
		if m.Lease, err = s.Take(now, space.Request{Address: address(0), Taken: func() { m.taken++ }, Kept: "common"}); err != nil {
			t.Fatal(err)
		}
		return s, m
	}
	s, first := full()
	second, third := mustJoin(t, s, now, 1, ""), mustJoin(t, s, now, 2, "")
	if second.Kept != "common" || second.ID == first.ID || second.ID == third.ID || second.Resumed {
		t.Errorf("the second has %+v", second.Lease)
	}
	if again := mustJoin(t, s, now, 3, second.ID); again.Resumed || second.Lost() {
		t.Error("a place that is shared was resumed as if it were somebody's own")
	}
	third.Release(now, "nothing")
	third.Prove(now, "nothing")
	if first.Lost() || second.Lost() {
		t.Error("one who has left puts others out")
	}
	first.Release(now, "nothing") // the others go on
	second.Prove(now, "proven")
	if second.Lost() || s.Leased() != 1 {
		t.Error("it does not have the place for itself")
	}
	if back := mustJoin(t, s, now, 1, second.ID); !back.Resumed || back.Kept != "proven" || !second.Lost() {
		t.Errorf("resumed %+v", back.Lease)
	}
	// All go, and nothing of them stays.
	s, first = full()
	second = mustJoin(t, s, now, 1, "")
	second.Release(now, "x")
	first.Release(now, "x")
	if m := mustJoin(t, s, now, 1, ""); s.Leased() != 1 || m.Kept != nil {
		t.Errorf("after all have left: %+v", m.Lease)
	}
}

// TestLoserDoesNotReturn: whose place went to one that shared it does not take it back by its
// session id.
func TestLoserDoesNotReturn(t *testing.T) {
	for how, lose := range map[string]func(first, second *miner){
		"it left":             func(first, _ *miner) { first.Release(start, nil) },
		"the other one works": func(_, second *miner) { second.Prove(start, nil) },
	} {
		s := newSpace(t, 0)
		first, second := mustJoin(t, s, start, 0, ""), mustJoin(t, s, start, 1, "")
		lose(first, second)
		if back, err := join(t, s, start, 0, first.ID); err == nil && back.Resumed || second.Lost() || second.taken > 0 {
			t.Errorf("%s: it has its place again", how)
		}
	}
}

func TestSplit(t *testing.T) {
	for size, want := range map[int]int{1: 0, 2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2, 9: 1, 10: 2, 12: 4, 16: 4} {
		if got := space.Split(size); got != want {
			t.Errorf("extranonce2 of %d bytes: prefix of %d, want %d", size, got, want)
		}
	}
}

// TestNoOverlap: no value is ever with two miners that work, whoever comes, goes, resumes,
// proves itself and is put out; what was left with a value is there while its shares count.
func TestNoOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := start
		s, err := space.New(nil, 1, 8, hold)
		if err != nil {
			t.Fatal(err)
		}
		type tenant struct {
			*miner
			proven bool
		}
		type left struct {
			what int
			at   time.Time
		}
		var all []*tenant
		remains := map[string]left{}
		holders := map[string][]*tenant{} // of each value
		for step := range rapid.IntRange(1, 600).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			pick := func() *tenant {
				if len(all) == 0 {
					return nil
				}
				return all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
			}
			switch what := rapid.IntRange(0, 9).Draw(t, "what"); what {
			case 0, 1, 2, 3, 4, 5:
				resume := ""
				if m := pick(); m != nil && what == 0 {
					resume = m.ID
				}
				m := &miner{}
				l, err := s.Take(now, space.Request{Resume: resume, Address: address(rapid.IntRange(0, 300).Draw(t, "address")), Taken: func() { m.taken++ }})
				if err != nil {
					continue
				}
				m.Lease = l
				value := string(l.Extranonce)
				others := slices.DeleteFunc(holders[value], func(m *tenant) bool { return m.Lost() && m.taken == 1 })
				for _, other := range others {
					if other.proven || l.Resumed && other.ID == l.ID {
						t.Fatalf("%x is with two miners", value)
					}
				}
				if r, ok := remains[value]; ok && now.Sub(r.at) < hold && l.Kept != r.what {
					t.Fatalf("%x: %v is left, want %d", value, l.Kept, r.what)
				}
				comes := &tenant{m, l.Resumed && l.Kept != nil}
				holders[value] = append(others, comes)
				all = append(all, comes)
			case 6, 7:
				if m := pick(); m != nil {
					m.Prove(now, step)
					value := string(m.Extranonce)
					if !slices.Contains(holders[value], m) || m.Lost() || m.proven {
						continue
					}
					m.proven = true
					remains[value] = left{step, now.Add(1000 * time.Hour)}
					for _, other := range holders[value] {
						if other != m && (!other.Lost() || other.taken != 1) {
							t.Fatalf("%x is with one who works and another", value)
						}
					}
				}
			default:
				if m := pick(); m != nil {
					m.Release(now, step)
					value := string(m.Extranonce)
					if at := slices.Index(holders[value], m); at >= 0 && !m.Lost() {
						holders[value] = slices.Delete(holders[value], at, at+1)
						if m.proven {
							remains[value] = left{step, now}
						}
					}
				}
			}
		}
	})
}

// BenchmarkTake is a connection that comes to a full space of 2 bytes.
func BenchmarkTake(b *testing.B) {
	s := newSpace(b, 2)
	now := start
	for i := range 65536 {
		mustJoin(b, s, now, i%5000, "")
	}
	now = now.Add(time.Minute)
	for i := 0; b.Loop(); i++ {
		_, _ = join(b, s, now, i%5000, "") // most are refused when the first have been put out
	}
}

// TestInheritance: what was found with a value is known to its next miner also if
// somebody had it in between and left.
func TestInheritance(t *testing.T) {
	now := start
	s := newSpace(t, 1)
	var first *miner
	for i := range 256 {
		m := mustJoin(t, s, now, i, "")
		m.Prove(now, i)
		if i == 0 {
			first = m
		}
	}
	first.Release(now, "found")
	for i := range 3 {
		m := mustJoin(t, s, now, 1000+i, "")
		if m.Kept != "found" || string(m.Extranonce) != string(first.Extranonce) {
			t.Fatalf("miner %d: %v is left with %x", i, m.Kept, m.Extranonce)
		}
		m.Release(now, nil)
	}
}

// TestForget: where memory is short leases without a connection go, but for those of a space in
// which the next miner would have their value while their shares count.
func TestForget(t *testing.T) {
	for size, kept := range map[int]bool{0: true, 1: true, 2: false, 4: false} {
		now := start
		s := newSpace(t, size)
		m := mustJoin(t, s, now, 1, "")
		m.Prove(now, nil)
		m.Release(now, "found")
		s.Forget()
		if n := s.Leased(); n == 1 != kept {
			t.Errorf("%d bytes: %d are leased", size, n)
		}
		for i := range min(s.Capacity(), 1000) {
			if next := mustJoin(t, s, now, 2+i, ""); string(next.Extranonce) == string(m.Extranonce) && next.Kept != "found" {
				t.Errorf("%d bytes: miner %d has the value, and not what was found", size, i)
			}
		}
	}
}

// TestLargeSpace: leases without a connection are bounded in number, by address too.
func TestLargeSpace(t *testing.T) {
	now := start
	s := newSpace(t, 3)
	other := mustJoin(t, s, now, 2, "")
	other.Prove(now, nil)
	other.Release(now, nil)
	for range 10_000 {
		m := mustJoin(t, s, now, 1, "")
		m.Prove(now, nil)
		m.Release(now, nil)
	}
	if n := s.Leased(); n != 8192+1 {
		t.Errorf("%d leases of one address and another", n)
	}
	for i := range 70_000 {
		m := mustJoin(t, s, now, 100+i, "")
		m.Prove(now, nil)
		m.Release(now, nil)
	}
	if n := s.Leased(); n != 65536 {
		t.Errorf("%d leases", n)
	}
	now = now.Add(hold)
	if mustJoin(t, s, now, 3, ""); s.Leased() != 1 {
		t.Errorf("%d leases after their time", s.Leased())
	}
}
