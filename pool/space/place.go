package space

import (
	"container/list"
	"encoding/binary"
	"net/netip"
	"slices"
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
	since   time.Time // taken or released
	address netip.Addr
	at      int           // in Space.unproven or Space.working
	mine    *list.Element // in the address's list of its state
	element *list.Element // in Space.idle
}

// enter gives a place, which is in no state, to a connection with a session id.
func (s *Space) enter(p *place, now time.Time, r Request, id string) *Lease {
	l := s.lease(p, r, id)
	s.settle(p, l, now)
	return l
}

// join has a connection share a place.
func (s *Space) join(p *place, r Request) *Lease {
	l := s.lease(p, r, newID(r))
	p.guests = append(p.guests, l)
	return l
}

func (s *Space) lease(p *place, r Request, id string) *Lease {
	if p.kept == nil {
		p.kept, p.fresh = r.Kept, true
	}
	value := binary.BigEndian.AppendUint32(append([]byte(nil), s.prefix...), uint32(uint64(p.value)<<(8*(4-s.size))))
	return &Lease{
		ID: id, Extranonce: value[:len(s.prefix)+s.size], Kept: p.kept,
		space: s, place: p, address: r.Address, taken: r.Taken, who: r.Holder,
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
// the value for whoever gets it next.
func (l *Lease) Prove(kept any) {
	s := l.space
	s.mu.Lock()
	losers := s.prove(l, kept)
	s.mu.Unlock()
	for _, loser := range losers {
		loser.tell()
	}
}

func (s *Space) prove(l *Lease, kept any) (losers []*Lease) {
	p := l.place
	guest := slices.Index(p.guests, l)
	if p.proven || p.holder != l && guest < 0 {
		return nil
	}
	losers = p.guests
	if guest >= 0 {
		losers[guest] = p.holder
	}
	for _, loser := range losers {
		loser.lost.Store(true)
	}
	s.leave(p)
	p.proven, p.kept, p.fresh, p.guests = true, kept, false, nil
	s.settle(p, l, p.since)
	return losers
}

// Worked notes that the miner had a share accepted.
func (l *Lease) Worked(now time.Time) { l.worked.Store(now.UnixNano()) }

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
