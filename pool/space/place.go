package space

import (
	"container/list"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// place is a value that is not free. It is in one of three states: unproven with a
// connection, proven with a connection, idle.
type place struct {
	id      string // of the holder's session
	value   uint32
	kept    any
	fresh   bool     // kept is the holder's, not an earlier miner's
	holder  *Lease   // nil: idle
	guests  []*Lease // other connections that have not had a share either
	proven  bool
	effort  *effort   // of the session, where it is proven
	since   time.Time // taken or released
	address netip.Addr
	at      int           // in Space.unproven or Space.working
	mine    *list.Element // in the address's list of its state
	element *list.Element // in Space.idle
}

// enter gives a place, which is in no state, to a connection with a session id.
func (s *Space) enter(p *place, now time.Time, r Request, id string) *Lease {
	l := s.lease(p, now, r, id)
	s.settle(p, l, now)
	return l
}

// join has a connection share a place.
func (s *Space) join(p *place, now time.Time, r Request) *Lease {
	l := s.lease(p, now, r, newID(r))
	p.guests = append(p.guests, l)
	return l
}

func (s *Space) lease(p *place, now time.Time, r Request, id string) *Lease {
	if p.kept == nil {
		p.kept, p.fresh = r.Kept, true
	}
	value := binary.BigEndian.AppendUint32(append([]byte(nil), s.prefix...), uint32(uint64(p.value)<<(8*(4-s.size))))
	work := p.effort
	if work == nil {
		work = &effort{from: now, at: now}
	}
	return &Lease{
		ID: id, Extranonce: value[:len(s.prefix)+s.size], Kept: p.kept,
		space: s, place: p, address: r.Address, taken: r.Taken, who: r.Holder, promise: r.promise(), effort: work,
	}
}

// settle makes a lease that of a place's holder; the place is in no state.
func (s *Space) settle(p *place, l *Lease, now time.Time) {
	delete(s.byID, p.id)
	p.id, p.holder, p.since, p.address = l.ID, l, now, l.address
	s.byID[p.id] = p
	if p.proven {
		push(&s.working, p)
		return
	}
	p.mine = s.of(p.address).unproven.PushBack(p)
	push(&s.unproven, p)
}

// push and pop keep places in a list that each knows its index in.
func push(l *[]*place, p *place) {
	p.at = len(*l)
	*l = append(*l, p)
}

func pop(l *[]*place, p *place) {
	last := len(*l) - 1
	(*l)[p.at] = (*l)[last]
	(*l)[p.at].at = p.at
	(*l)[last] = nil
	*l = (*l)[:last]
}

// leave takes a place out of its state.
func (s *Space) leave(p *place) {
	a := s.addresses[p.address]
	switch {
	case p.holder == nil:
		a.idle.Remove(p.mine)
		s.idle.Remove(p.element)
	case p.proven:
		pop(&s.working, p)
	default:
		a.unproven.Remove(p.mine)
		pop(&s.unproven, p)
	}
	if a != nil && a.idle.Len() == 0 && a.unproven.Len() == 0 {
		delete(s.addresses, p.address)
	}
	p.mine, p.element = nil, nil
}

// of is what an address has.
func (s *Space) of(from netip.Addr) *address {
	a := s.addresses[from]
	if a == nil {
		a = &address{list.New(), list.New()}
		s.addresses[from] = a
	}
	return a
}

// remove ends a place; its value is neither free nor used then.
func (s *Space) remove(p *place) {
	s.leave(p)
	delete(s.used, p.value)
	delete(s.byID, p.id)
	p.holder = nil // it has nothing to give back
}

// release makes a value free.
func (s *Space) release(p *place, kept any) {
	s.remove(p)
	if s.size <= smallest {
		s.freed = append(s.freed, freed{p.value, kept})
	}
}

// expire frees what has been idle for too long.
func (s *Space) expire(now time.Time) {
	for s.idle.Len() > 0 {
		p := s.idle.Front().Value.(*place)
		if now.Sub(p.since) < s.hold {
			return
		}
		s.release(p, nil) // no share of that time counts any more
	}
}

// Lost reports whether the place was given to another connection: what this one finds
// with it is no work of its own any more.
func (l *Lease) Lost() bool { return l.lost.Load() }

// Prove makes the lease outlive its connection, and the place its own; kept is left with
// the value for whoever gets it next. It is to be called when a share was accepted; false: it
// is not its own yet, for among those that share it there is one who has done more, or has
// just come and promises more. To it nothing is lost meanwhile.
func (l *Lease) Prove(now time.Time, kept any) bool {
	s := l.space
	s.mu.Lock()
	losers, ok := s.prove(now, l, kept)
	s.mu.Unlock()
	for _, loser := range losers {
		loser.tell()
	}
	return ok
}

func (s *Space) prove(now time.Time, l *Lease, kept any) (losers []*Lease, ok bool) {
	p := l.place
	guest := slices.Index(p.guests, l)
	if p.proven || p.holder != l && guest < 0 {
		return nil, p.holder == l
	}
	done := l.done(now)
	for _, other := range append([]*Lease{p.holder}, p.guests...) {
		if other != l && done < other.claim(now) {
			return nil, false
		}
	}
	losers = p.guests
	if guest >= 0 {
		losers[guest] = p.holder
	}
	for _, loser := range losers {
		loser.lost.Store(true)
	}
	s.leave(p)
	p.proven, p.effort, p.kept, p.fresh, p.guests = true, l.effort, kept, false, nil
	s.settle(p, l, p.since)
	return losers, true
}

// Worked notes that the miner had shares of summed difficulty work accepted.
func (l *Lease) Worked(now time.Time, work float64) { l.effort.add(now, l.space.hold, work) }

// claim is what another one must have done to put this one out.
func (l *Lease) claim(now time.Time) float64 {
	done := l.done(now)
	if now.Sub(l.effort.from) < youth {
		return max(done, l.promise)
	}
	return done
}

// done is the work of the lease's time, or the last of it.
func (l *Lease) done(now time.Time) float64 { return l.effort.sum(now, l.space.hold) }

// rate is that in a second.
func (l *Lease) rate(now time.Time) float64 {
	return l.done(now) / min(max(now.Sub(l.effort.from), startTime), l.space.hold).Seconds()
}

// effort is a sum of difficulties, of which those of the past fade. Its lock is a leaf.
type effort struct {
	from time.Time // does not change

	mu     sync.Mutex // guards the rest
	work   float64    // at a time
	at     time.Time
	worked time.Time // last; zero: not yet
}

func (e *effort) add(now time.Time, span time.Duration, work float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Sub(e.at) > span/1000 {
		e.work, e.at = e.faded(now, span), now
	}
	e.work += work
	e.worked = now
}

func (e *effort) faded(now time.Time, span time.Duration) float64 {
	return e.work * math.Exp(-max(now.Sub(e.at), 0).Seconds()/span.Seconds())
}

func (e *effort) sum(now time.Time, span time.Duration) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.faded(now, span)
}

func (e *effort) last() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.worked
}

// Release ends the tenure, if it has not ended. A proven lease stays reserved for its
// session for a while; kept is left with it.
func (l *Lease) Release(now time.Time, kept any) {
	s := l.space
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.expire(now)
	p := l.place
	if p.holder != l {
		p.guests = slices.DeleteFunc(p.guests, func(g *Lease) bool { return g == l })
		return
	}
	if last := len(p.guests) - 1; last >= 0 {
		s.leave(p)
		next := p.guests[last]
		p.guests = p.guests[:last]
		s.settle(p, next, now)
		return
	}
	if !p.proven {
		if p.fresh {
			p.kept = nil
		}
		s.release(p, p.kept)
		return
	}
	s.leave(p)
	p.holder, p.since, p.kept = nil, now, kept
	a := s.of(p.address)
	p.mine, p.element = a.idle.PushBack(p), s.idle.PushBack(p)
	if s.size > smallest {
		if a.idle.Len() > maxIdleAddress {
			s.release(a.idle.Front().Value.(*place), nil)
		}
		if s.idle.Len() > maxIdle {
			s.release(s.idle.Front().Value.(*place), nil)
		}
	}
}
