package stratum

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// turnsOf are turns at a gate, in a bubble whose clock runs while a turn lasts.
type turnsOf struct {
	*turns
	g     gate
	most  int // at once
	spent time.Duration
}

func newTurns(cpus float64) *turnsOf {
	var l Limits
	l.setDefaults()
	t := &turnsOf{turns: &turns{cpus: cpus}}
	t.g.init(&l)
	t.step = t.g.step
	return t
}

func (t *turnsOf) visitor(n int) *visitor {
	v := new(visitor)
	t.g.visitors[netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})] = v
	return v
}

// handshake asks for a turn, has it take a time, and calls then.
func (t *turnsOf) handshake(v *visitor, takes time.Duration, then func()) *turn {
	u := new(turn)
	u.wake = func() { // with the lock held
		t.most = max(t.most, t.running)
		go func() {
			began := time.Now()
			time.Sleep(takes)
			t.mu.Lock()
			t.spent += takes
			t.mu.Unlock()
			t.give(u, began)
			then()
		}()
	}
	t.ask(u, v)
	return u
}

const oneHandshake = 250 * time.Microsecond

// However many want to, handshakes take no more than their part of the processors, and
// that they get.
func TestTurnsPace(t *testing.T) {
	for _, cpus := range []float64{0.01, 0.25, 1, 3, 0} {
		synctest.Test(t, func(t *testing.T) {
			turns := newTurns(cpus)
			const n = 1000
			done := 0
			begin := time.Now()
			for i := range n {
				turns.handshake(turns.visitor(i), oneHandshake, func() {
					turns.mu.Lock()
					defer turns.mu.Unlock()
					done++
					if most := time.Duration(float64(time.Since(begin)+slackTime)*cpus) + 4*oneHandshake; cpus > 0 && turns.spent > most {
						t.Fatalf("%g cpus: %v were spent in %v", cpus, turns.spent, time.Since(begin))
					}
				})
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if cpus <= 0 {
				if turns.most != n {
					t.Errorf("without a limit %d ran at once", turns.most)
				}
				return
			}
			if want := max(1, int(cpus)); turns.most != want {
				t.Errorf("%g cpus: %d ran at once", cpus, turns.most)
			}
			if done != n {
				t.Errorf("%g cpus: %d of %d were done in a minute", cpus, done, n)
			}
		})
	}
}

// A turn for which the machine had no time does not keep the others out for long.
func TestTurnsChargeIsBounded(t *testing.T) {
	turns := newTurns(0.25)
	now := time.Unix(1e9, 0)
	turns.charge(now, now.Add(time.Hour))
	if rest := turns.next.Sub(now); rest != 4*mostPerTurn-slackTime {
		t.Errorf("the next begins after %v", rest)
	}
}

// fail notes n handshakes that brought no miner.
func (t *turnsOf) fail(v *visitor, n float64) {
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	now := time.Now()
	v.failed, v.failedAt = t.g.faded(v.failed, v.failedAt, now)+n, now
}

// besiege has attackers at as many addresses handshake in vain for ever, each again at once.
func (t *turnsOf) besiege(addresses int, stop *atomic.Bool) {
	for i := range addresses {
		v := t.visitor(1 + i)
		var again func()
		again = func() {
			t.fail(v, 1)
			if !stop.Load() {
				t.handshake(v, oneHandshake, again)
			}
		}
		t.handshake(v, oneHandshake, again)
	}
}

// A device at an address of its own goes ahead of attackers, and so does one at an address
// that has miners.
func TestTurnsOfNewcomers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, stop := newTurns(0.25), new(atomic.Bool)
		turns.besiege(1000, stop)
		time.Sleep(10 * time.Second)
		known := turns.visitor(0)
		known.miners = 100
		for i, v := range []*visitor{turns.visitor(1 << 20), known, turns.visitor(2 << 20)} {
			begin, took := time.Now(), time.Duration(-1)
			turns.handshake(v, oneHandshake, func() { took = time.Since(begin) })
			time.Sleep(time.Second)
			synctest.Wait()
			if took < 0 || took > 5*time.Millisecond {
				t.Errorf("newcomer %d had its turn after %v", i, took)
			}
		}
		stop.Store(true)
		time.Sleep(time.Minute)
	})
}

// A farm of 5,000 behind one address that comes back, to a proxy that knows nobody, gets in
// beside attackers at as many addresses who never stop; alone, in 5 s.
func TestTurnsOfFarm(t *testing.T) {
	for attackers, most := range map[int]time.Duration{0: 5500 * time.Millisecond, 100: 15 * time.Second, 5000: 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			turns, stop := newTurns(0.25), new(atomic.Bool)
			turns.besiege(attackers, stop)
			time.Sleep(30 * time.Second)
			const devices = 5000
			farm, in := turns.visitor(0), 0
			begin := time.Now()
			var took time.Duration
			for range devices {
				turns.handshake(farm, oneHandshake, func() {
					time.Sleep(50 * time.Millisecond) // the way to the login
					turns.g.mu.Lock()
					defer turns.g.mu.Unlock()
					farm.miners++
					if in++; in == devices {
						took = time.Since(begin)
					}
				})
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			t.Logf("beside %d attackers: %d devices are in after %v", attackers, in, took)
			if in < devices || took > most {
				t.Errorf("beside %d attackers: %d devices are in, after %v", attackers, in, took)
			}
			stop.Store(true)
			time.Sleep(time.Minute)
		})
	}
}

// Nobody waits for ever, not even who has failed often while others with a good name always
// wait, too.
func TestTurnsDoNotStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, stop := newTurns(0.25), new(atomic.Bool)
		for i := range 100 {
			v := turns.visitor(1 + i)
			v.miners = 10
			var again func()
			again = func() {
				if !stop.Load() {
					turns.handshake(v, oneHandshake, again)
				}
			}
			turns.handshake(v, oneHandshake, again)
		}
		bad := turns.visitor(0)
		turns.fail(bad, 20)
		had := 0
		for range 3 {
			turns.handshake(bad, oneHandshake, func() {
				turns.mu.Lock()
				defer turns.mu.Unlock()
				had++
			})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if had != 3 {
			t.Errorf("%d turns of 3 in a minute", had)
		}
		stop.Store(true)
		time.Sleep(time.Second)
	})
}

// Who leaves the line is passed over, wherever it stands.
func TestTurnsLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(0.25)
		a, b := turns.visitor(1), turns.visitor(2)
		had := ""
		ask := func(v *visitor, name string) *turn {
			return turns.handshake(v, oneHandshake, func() {
				turns.mu.Lock()
				defer turns.mu.Unlock()
				had += name
			})
		}
		ask(a, "a")
		leavers := []*turn{ask(a, "-"), ask(b, "-"), ask(nil, "-")}
		ask(a, "c")
		ask(nil, "b")
		for _, u := range leavers {
			turns.give(u, time.Time{})
			turns.give(u, time.Time{}) // does nothing
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if had != "abc" || turns.running != 0 || len(turns.queues) != 0 {
			t.Errorf("turns %s, %d run, %d wait", had, turns.running, len(turns.queues))
		}
	})
}
