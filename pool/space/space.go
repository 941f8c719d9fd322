// Package space hands out extranonce1 values, so that no two miners ever search the
// same work.
//
// A value belongs to a connection, and is free again when that ends. When a share of its
// miner was accepted (Lease.Prove) it is leased: it outlives the connection for a while,
// and goes to the one that brings its session id, at once also if the old connection has
// not been found dead yet.
//
// A space that is full takes back what is needed least: see Space.victim. A miner that works
// keeps its place, however slow it is, but for one whose work is next to nothing beside that of
// the newcomer's kind: else shares that cost nothing would be enough to hold all. Where nothing can
// be taken back, connections that have not had a share are put together on one value: most
// of them do nothing, and the first that has a share has the value for itself, but that a kind
// whose first share is worth more has its time for that. So those that prove nothing keep
// nobody out, for no moment.
package space

import (
	"container/list"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull is a space in which every value is with a miner that works.
var ErrFull = errors.New("no extranonce is free: too many miners for the upstream's extranonce space")

const (
	// smallest is the size in bytes up to which a space hands out the value that was free
	// for longest. Larger ones count, and are never near full.
	smallest = 2
	// tiny is the size in bytes up to which values come round while shares of those who had
	// them before still count.
	tiny = 1
	// An address is held to its part of a full space: 1/fraction of it.
	fraction = 16
	// samples of places are looked at to find one that is fit for something, poorSamples to
	// find one whose miner does next to nothing.
	samples, poorSamples = 16, 256
	// For so long a miner is taken to be as good as it promises: youth among those that share
	// a place, startTime where it has one that others want.
	youth, startTime = 10 * time.Second, 30 * time.Second
	// poorest is how many times less than a newcomer's one share in startTime is next to
	// nothing, and mostPromised the greatest share that is believed of one.
	poorest, mostPromised = 16, 16384
	// Leases without a connection that are kept in a large space: of one address, of all.
	maxIdleAddress, maxIdle = 8192, 65536
)

// Space is a set of extranonce1 values with a common prefix.
type Space struct {
	prefix []byte
	size   int           // bytes after the prefix, 0 to 4
	rest   int           // bytes of extranonce2
	hold   time.Duration // a lease outlives its connection so long

	mu        sync.Mutex // guards the rest
	next      uint32     // the next value that was never used, or in a large space is tried
	unused    int        // such values, in a small space
	freed     []freed    // oldest first, in a small space
	used      map[uint32]*place
	byID      map[string]*place
	unproven  []*place // with a connection; place.at is the index
	working   []*place // proven, with a connection; place.at is the index
	idle      *list.List
	addresses map[netip.Addr]*address
}

// freed is a value that can be handed out again.
type freed struct {
	value uint32
	kept  any
}

// address is what an address has of the space, oldest first.
type address struct{ unproven, idle *list.List }

// Request is what a miner asks for.
type Request struct {
	// Resume is a session id that is asked for again, "": none. Keep gives the session
	// that id also if it is not known here: for a miner that comes from another space.
	Resume string
	Keep   bool
	// Address is the miner's: full spaces are shared by address.
	Address netip.Addr
	// Holder stands for the connection. Taken is called when the place is given to
	// another one, with no lock of the space: the connection is then to be closed.
	Holder any
	Taken  func()
	// Promise is the difficulty of the shares that such a miner begins with; 0: it is not
	// known.
	Promise float64
	// Kept is left with the value where nobody has left anything: all that have the value
	// at once get the same.
	Kept any
}

// Lease is the tenure of an extranonce1 by one connection.
type Lease struct {
	ID         string // brings it back
	Extranonce []byte
	Resumed    bool
	// Kept is what the last miner that had the value left with it (Prove, Release), or a
	// Request did.
	Kept any
	// Former is the Holder of a connection that was there when the session was resumed.
	Former any

	space   *Space
	place   *place
	address netip.Addr
	taken   func()
	who     any
	promise float64
	lost    atomic.Bool
	effort  *effort
}

// New makes a space of all values of size bytes (0 to 4) after prefix. They leave the
// miner rest bytes of extranonce2.
func New(prefix []byte, size, rest int, hold time.Duration) (*Space, error) {
	if size < 0 || size > 4 {
		return nil, fmt.Errorf("extranonce space of %d bytes, want 0 to 4", size)
	}
	s := &Space{
		prefix: append([]byte(nil), prefix...), size: size, rest: rest, hold: hold,
		used: make(map[uint32]*place), byID: make(map[string]*place),
		idle: list.New(), addresses: make(map[netip.Addr]*address),
	}
	s.unused = s.Capacity()
	// A random start keeps a restarted proxy from giving new miners the values
	// that its predecessor gave to others, who may still send shares.
	var start [4]byte
	_, _ = rand.Read(start[:]) // never fails
	s.next = binary.BigEndian.Uint32(start[:])
	return s, nil
}

// Size is that of an extranonce1 of this space.
func (s *Space) Size() int { return len(s.prefix) + s.size }

// Rest is the size of the extranonce2 that goes with it.
func (s *Space) Rest() int { return s.rest }

func (s *Space) mask() uint32 { return uint32(1<<(8*s.size) - 1) }

// Capacity is how many values there are.
func (s *Space) Capacity() int { return int(s.mask()) + 1 }

// share is what a full space leaves an address before it must give way to itself.
func (s *Space) share() int { return max(2, s.Capacity()/fraction) }

// Leased is how many values are not free.
func (s *Space) Leased() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.used)
}

// Forget gives up all leases without a connection, where there is no memory for them: who comes
// back gets another value. Those of a byte or none are few, and would be another miner's at once,
// who would find shares that the upstream has.
func (s *Space) Forget() {
	if s.size <= tiny {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.idle.Len() > 0 {
		s.release(s.idle.Front().Value.(*place), nil)
	}
}

// Take gives a connection a value: that of the session which it resumes, if that is
// known, else another.
func (s *Space) Take(now time.Time, r Request) (*Lease, error) {
	s.mu.Lock()
	s.expire(now)
	l, loser, err := s.take(now, r)
	if loser != nil {
		loser.lost.Store(true)
	}
	s.mu.Unlock()
	loser.tell()
	return l, err
}

func (s *Space) take(now time.Time, r Request) (l, loser *Lease, err error) {
	if p := s.byID[r.Resume]; p != nil {
		loser = p.holder
		s.leave(p)
		l = s.enter(p, now, r, p.id)
		l.Resumed = true
		if loser != nil {
			l.Former = loser.who
		}
		return l, loser, nil
	}
	p := &place{}
	if v, ok := s.free(); ok {
		p.value, p.kept = v.value, v.kept
	} else if v := s.victim(now, r); v != nil {
		loser = v.holder
		s.remove(v)
		p.value, p.kept, p.fresh, p.guests = v.value, v.kept, v.fresh, v.guests
		v.guests = nil
		for _, g := range p.guests {
			g.place = p
		}
	} else if p = s.company(); p != nil {
		return s.join(p, now, r), nil, nil
	} else {
		return nil, nil, ErrFull
	}
	s.used[p.value] = p
	return s.enter(p, now, r, newID(r)), loser, nil
}

// tell says to a connection that its place is another's now; nil: there is none.
func (l *Lease) tell() {
	if l != nil && l.taken != nil {
		l.taken()
	}
}

func newID(r Request) string {
	if r.Keep && r.Resume != "" {
		return r.Resume
	}
	var id [8]byte
	_, _ = rand.Read(id[:])
	return fmt.Sprintf("%x", id)
}

// free finds a free value.
func (s *Space) free() (v freed, ok bool) {
	switch {
	case len(s.used) >= s.Capacity():
		return v, false
	case s.size > smallest:
		for s.used[s.next&s.mask()] != nil {
			s.next++
		}
	case s.unused == 0:
		v = s.freed[0]
		s.freed = s.freed[1:]
		return v, true
	default:
		s.unused--
	}
	v.value = s.next & s.mask()
	s.next++
	return v, true
}

// victim is the place that a full space takes back for a newcomer, nil: none. An address
// that has more than its share gives way to itself. Then connections that have not had a
// share go, if one address has many of them; then idle leases, the oldest first; then one
// whose miner does next to nothing, while few are without a share; then, if there is nobody
// without one, one who has not had any for as long as a lease is kept.
func (s *Space) victim(now time.Time, r Request) *place {
	mine := address{list.New(), list.New()}
	if a := s.addresses[r.Address]; a != nil {
		mine = *a
	}
	crowded := mine.unproven.Len() >= s.share()
	most := s.most()
	switch {
	case mine.idle.Len() >= s.share(), crowded && mine.idle.Len() > 0:
		return mine.idle.Front().Value.(*place)
	case crowded:
		return oldest(&mine)
	case most != nil && most.unproven.Len() >= s.share():
		return oldest(most)
	case s.idle.Len() > 0:
		return s.idle.Front().Value.(*place)
	}
	if len(s.unproven) < s.share() {
		if p := s.poor(now, r.promise()); p != nil {
			return p
		}
	}
	if len(s.unproven) > 0 {
		return nil
	}
	return s.silent(now)
}

func (r *Request) promise() float64 { return min(max(r.Promise, 0), mostPromised) }

// company is a place without a share that one more connection may share, of some that with
// the fewest on it; nil: there is none.
func (s *Space) company() (best *place) {
	for range min(samples, len(s.unproven)) {
		if p := s.unproven[mathrand.IntN(len(s.unproven))]; best == nil || len(p.guests) < len(best.guests) {
			best = p
		}
	}
	return best
}

// silent is a place, of some, whose miner has had no share for longest, and for too long;
// nil: there is none.
func (s *Space) silent(now time.Time) (worst *place) {
	last := now.Add(-s.hold)
	for range min(samples, len(s.working)) {
		p := s.working[mathrand.IntN(len(s.working))]
		if at := p.active(); !at.After(last) {
			worst, last = p, at
		}
	}
	return worst
}

// poor is the place, of some, whose miner does least, if that is next to nothing beside what
// a newcomer promises; nil: there is none. So a full space is not held by whoever finds shares
// that cost nothing.
func (s *Space) poor(now time.Time, promise float64) (worst *place) {
	least := promise / poorest / startTime.Seconds()
	look := func(p *place) {
		if rate := p.holder.rate(now); rate < least && now.Sub(p.effort.from) >= startTime {
			worst, least = p, rate
		}
	}
	if len(s.working) <= poorSamples {
		for _, p := range s.working {
			look(p)
		}
		return worst
	}
	for range poorSamples {
		look(s.working[mathrand.IntN(len(s.working))])
	}
	return worst
}

// active is when the miner had a share, or came.
func (p *place) active() time.Time {
	if at := p.effort.last(); at.After(p.since) {
		return at
	}
	return p.since
}

// most is an address with the most connections that have not had a share, among some; nil:
// there are none.
func (s *Space) most() (most *address) {
	for range min(samples, len(s.unproven)) {
		a := s.addresses[s.unproven[mathrand.IntN(len(s.unproven))].address]
		if most == nil || a.unproven.Len() > most.unproven.Len() ||
			a.unproven.Len() == most.unproven.Len() && oldest(a).since.Before(oldest(most).since) {
			most = a
		}
	}
	return most
}

// oldest is the connection of an address that has been without a share for longest.
func oldest(a *address) *place { return a.unproven.Front().Value.(*place) }

// Split says how many bytes of an upstream pool's extranonce2 of size bytes to take
// as a prefix for each miner: enough for many miners, few enough that the rest does
// for them and for another proxy behind this one. Of 2 bytes each miner keeps one, too
// few for some (cpuminer-opt), but for the others better than no pool. 0: the space is
// too small to share.
func Split(size int) int {
	switch {
	case size > 8:
		return min(size-8, 4)
	case size >= 6:
		return 2
	case size >= 2:
		return 1
	default:
		return 0
	}
}
