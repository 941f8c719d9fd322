package stratum

import (
	"cmp"
	"container/list"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"
)

// gate bounds connections: all, those of an address, and those that have not logged
// in. Of the last, the oldest goes when one too many comes: miners log in at once, and
// have shares soon after that, so whoever only fills places up loses them first. IPv6
// addresses count by their /64, the smallest part that a customer gets.
//
// Its lock is a leaf: nothing is called with it held.
type gate struct {
	limits *Limits

	mu         sync.Mutex
	open       int
	pending    list.List // *Conn that have not logged in, oldest first
	unproven   list.List // *Conn that have, but had no share accepted, oldest first
	working    list.List // the others; first who has had no share for longest
	handshakes list.List // *Conn in a TLS handshake, oldest first
	visitors   map[netip.Addr]*visitor
	idle       int // visitors without a connection
	swept      time.Time
}

// visitor is what is known of an address.
type visitor struct {
	conns   int
	miners  int     // of them logged in
	fresh   float64 // connections that may be made, at a time
	freshAt time.Time
	pending list.List // *Conn, the others, oldest first
	// unproven are those of the miners that had no share accepted, oldest first.
	unproven list.List

	most   int // miners at once within memory
	mostAt time.Time

	points      float64 // ban score at a time
	at          time.Time
	bannedUntil time.Time

	held   float64 // connections that were held for garbage, at a time
	heldAt time.Time

	names int // of its connections, beyond the first of each

	begun    int     // TLS handshakes of those that are here and have not logged in
	failed   float64 // others that brought no miner, at a time
	failedAt time.Time
	turns    turnQueue // guarded by turns.mu

	guesses   float64 // refused logins that are free, at a time; below 0: some wait
	guessedAt time.Time
}

// entry is what the gate knows of a connection.
type entry struct {
	visitor      *visitor // nil: not known yet, or exempt
	inAll        member   // of gate.pending, unproven or working
	inVisitor    member   // of visitor.pending or unproven
	inHandshakes member
	since        time.Time // it came, logged in, or had a share accepted
	inside       bool
	isLoggedIn   bool
	asked        bool // for a TLS handshake
	handshaking  bool // which has begun
	names        int  // beyond the first, counted for the visitor
}

// member is a place in a list, or in none.
type member struct {
	list    *list.List
	element *list.Element
}

// move takes a member out of its list and puts it at the end of another; nil: of none.
func (m *member) move(to *list.List, c *Conn) {
	if m.list != nil {
		m.list.Remove(m.element)
	}
	*m = member{}
	if to != nil {
		*m = member{to, to.PushBack(c)}
	}
}

const (
	// maxIdleVisitors bounds the memory that an attacker with many addresses can fill.
	maxIdleVisitors = 1 << 16
	// sweepInterval is the time until what need not be remembered is forgotten.
	sweepInterval = time.Minute
	// memory is how long it is remembered that an address has miners.
	memory = time.Hour
	// narrow is how many connections that have not logged in a banned address may have
	// if there are miners: so many that one of them, far away, can log in beside a
	// neighbour who connects some hundred times a second.
	narrow = 64
	// freeGuesses are the refused logins at once of an address without miners.
	freeGuesses = 10
	// freshBurst is how many times as many connections as an address may have it can make
	// at once.
	freshBurst = 10
	// When there is no other place, a connection that has not logged in keeps its own for
	// loginTime, a miner without a share for proofTime, and one which had one for workTime.
	loginTime = 5 * time.Second
	proofTime = 30 * time.Second
	workTime  = 10 * time.Minute
	// workPrecision is that of the time of a miner's last share.
	workPrecision = time.Minute
	// maxGuessWait is the longest time that a login waits for its turn.
	maxGuessWait = 15 * time.Second
)

// Ban points.
const (
	linePoints  = 1 // for a line that is no message
	closePoints = 5 // for a connection that had to be closed for such
	guessPoints = 2 // for a refused login
)

func (g *gate) init(limits *Limits) {
	g.limits = limits
	g.visitors = map[netip.Addr]*visitor{}
}

// addressOf is the address that limits and bans go by; the zero Addr, to which
// none applies, for connections that are no IP connections.
func addressOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		prefix, _ := ip.Prefix(64)
		return prefix.Addr()
	}
	return ip
}

// arrive lets a connection in; full: only in exchange for another one. Where its address is
// not known yet, identify is to follow. Of its address and of all one may have to be closed for
// it; nil: none. leave must follow if there is no error.
func (g *gate) arrive(c *Conn, full bool, now time.Time) (own, other *Conn, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := g.room(full, now); err != nil {
		return nil, nil, err
	}
	// Who is not let in for its address puts nobody out.
	if own, err = g.count(c, c.address, now); err != nil {
		return nil, nil, err
	}
	if other, _ = g.room(full && own == nil, now); other != nil {
		g.forget(other)
	}
	g.open++
	c.gate.inside, c.gate.since = true, now
	c.gate.inAll.move(&g.pending, c)
	return own, other, nil
}

// room finds room for a connection: victim has it; nil: there is some.
func (g *gate) room(full bool, now time.Time) (victim *Conn, err error) {
	switch {
	case full || over(g.open, g.limits.Connections):
		if victim = g.idler(now); victim == nil {
			return nil, ErrFull
		}
	case over(g.pending.Len(), g.limits.Pending):
		victim = oldest(&g.pending)
	}
	return victim, nil
}

// idler is the connection that is of least use; nil: all are of some. Who has just come is
// left the time for a login, if it can be: else those who come at once put each other out.
func (g *gate) idler(now time.Time) *Conn {
	return cmp.Or(
		longest(&g.pending, now, loginTime), longest(&g.unproven, now, proofTime), longest(&g.working, now, workTime),
		oldest(&g.pending),
	)
}

// longest is the first of a list, if it has been in it for a time.
func longest(l *list.List, now time.Time, least time.Duration) *Conn {
	if c := oldest(l); c != nil && now.Sub(c.gate.since) >= least {
		return c
	}
	return nil
}

// identify counts a connection that has arrived for its address.
func (g *gate) identify(c *Conn, ip netip.Addr, now time.Time) (victim *Conn, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !c.gate.inside {
		return nil, ErrCrowded
	}
	return g.count(c, ip, now)
}

// count is identify for the holder of mu.
func (g *gate) count(c *Conn, ip netip.Addr, now time.Time) (victim *Conn, err error) {
	if g.exempt(ip) {
		return nil, nil
	}
	v := g.visitors[ip]
	banned := v != nil && now.Before(v.bannedUntil)
	crowded := banned && v.pending.Len() >= narrow
	switch {
	case v == nil:
		v = &visitor{guesses: freeGuesses, fresh: freshBurst*float64(g.limits.PerAddress) - 1, freshAt: now}
		g.visitors[ip] = v
		g.idle++
	case banned && v.known(now) == 0:
		return nil, ErrBanned
	case !g.connects(v, now):
		return nil, ErrTooManyConns
	case crowded, over(v.conns, g.limits.PerAddress):
		if !crowded {
			victim = cmp.Or(longest(&v.pending, now, loginTime), longest(&v.unproven, now, proofTime))
		}
		if victim = cmp.Or(victim, oldest(&v.pending)); victim == nil {
			return nil, ErrTooManyConns
		}
		g.forget(victim)
	}
	if v.conns == 0 {
		g.idle--
	}
	v.conns++
	c.gate.visitor = v
	c.gate.inVisitor.move(&v.pending, c)
	return victim, nil
}

// connects counts a new connection of an address: ten times as many as it may have can be
// made at once, and as many each second. Where somebody mines, his neighbours do not use
// that up for him.
func (g *gate) connects(v *visitor, now time.Time) bool {
	if g.limits.PerAddress <= 0 {
		return true
	}
	g.refresh(v, now)
	if v.fresh < 1 {
		return v.known(now) > 0
	}
	v.fresh--
	return true
}

func (g *gate) refresh(v *visitor, now time.Time) (full bool) {
	most := float64(g.limits.PerAddress)
	v.fresh = min(v.fresh+now.Sub(v.freshAt).Seconds()*most, freshBurst*most)
	v.freshAt = now
	return most <= 0 || v.fresh >= freshBurst*most
}

func oldest(l *list.List) *Conn {
	if l.Len() == 0 {
		return nil
	}
	return l.Front().Value.(*Conn)
}

// asks notes that a connection wants to begin TLS; v is its address, nil: one without limits.
func (g *gate) asks(c *Conn) (v *visitor) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.gate.asked = true
	return c.gate.visitor
}

// failedForMost is after how many TLS handshakes that brought no miner, or not yet, for each
// miner that it has, an address waits for all of TLSWait.
const failedForMost = 4

// patience is the part of TLSWait for which a connection waits before it begins TLS; sure:
// it will hardly be less, whatever those bring that have begun.
func (g *gate) patience(c *Conn, now time.Time) (part float64, sure bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := c.gate.visitor
	if v == nil {
		return 0, true
	}
	blame := g.blame(v, now)
	return min(1, (blame+float64(v.begun)/float64(1+v.known(now)))/failedForMost), blame >= failedForMost
}

// blame is how many TLS handshakes brought no miner lately, for each of an address' miners
// and one more.
func (g *gate) blame(v *visitor, now time.Time) float64 {
	return g.faded(v.failed, v.failedAt, now) / float64(1+v.known(now))
}

// failed counts a TLS handshake that brought no miner.
func (g *gate) failed(v *visitor, now time.Time) {
	v.failed, v.failedAt = g.faded(v.failed, v.failedAt, now)+1, now
}

// step is by how much a TLS handshake moves an address back in the order of turns.
func (g *gate) step(v *visitor) float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	return g.blame(v, now) + 1/float64(1+v.known(now))
}

// handshake counts a TLS handshake that begins; it ends with handshaken or leave.
func (g *gate) handshake(c *Conn) (victim *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.gate.handshaking = true
	if v := c.gate.visitor; v != nil {
		v.begun++
	}
	if !c.gate.inside {
		return nil
	}
	if over(g.handshakes.Len(), g.limits.Handshakes) {
		if victim = oldest(&g.handshakes); victim != nil {
			g.forget(victim)
		}
	}
	c.gate.inHandshakes.move(&g.handshakes, c)
	return victim
}

func (g *gate) handshaken(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.gate.inHandshakes.move(nil, c)
}

// loggedIn makes a miner of a connection: it is none of those that go first now.
func (g *gate) loggedIn(c *Conn, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := &c.gate
	if !e.inside || e.isLoggedIn {
		return
	}
	e.isLoggedIn, e.since = true, now
	e.inAll.move(&g.unproven, c)
	if v := e.visitor; v != nil {
		if e.handshaking {
			v.begun--
		}
		e.inVisitor.move(&v.unproven, c)
		if v.miners++; v.miners > v.most {
			v.guesses++ // one more may mistype
		}
		v.note(now)
	}
}

// worked notes that a share of the miner was accepted.
func (g *gate) worked(c *Conn, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := &c.gate; e.inside {
		e.since = now
		e.inAll.move(&g.working, c)
		e.inVisitor.move(nil, c)
	}
}

// note remembers how many miners the address has at most.
func (v *visitor) note(now time.Time) {
	if v.miners >= v.most || now.Sub(v.mostAt) > memory {
		v.most, v.mostAt = v.miners, now
	}
}

// known is how many miners there are, or have been lately.
func (v *visitor) known(now time.Time) int {
	if now.Sub(v.mostAt) > memory {
		return v.miners
	}
	return max(v.miners, v.most)
}

func (g *gate) leave(c *Conn, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v := c.gate.visitor; v != nil {
		switch e := &c.gate; {
		case e.isLoggedIn && e.inside:
			v.note(now)
		case !e.isLoggedIn && e.handshaking:
			v.begun--
			g.failed(v, now)
		case e.inside && e.asked && !e.isLoggedIn: // it left before its turn, and was not put out
			g.failed(v, now)
		}
	}
	g.forget(c)
	if v := c.gate.visitor; v != nil && v.conns == 0 {
		g.tidy(c.address, v, now)
	}
}

// forget takes a connection out of all counts.
func (g *gate) forget(c *Conn) {
	e := &c.gate
	if !e.inside {
		return
	}
	e.inside = false
	g.open--
	e.inAll.move(nil, c)
	e.inHandshakes.move(nil, c)
	if v := e.visitor; v != nil {
		e.inVisitor.move(nil, c)
		if e.isLoggedIn {
			v.miners--
		}
		v.names -= e.names
		e.names = 0
		if v.conns--; v.conns == 0 {
			g.idle++
		}
	}
}

// tidy forgets an address without connections, if there is nothing to remember or no
// room to.
func (g *gate) tidy(ip netip.Addr, v *visitor, now time.Time) {
	if g.visitors[ip] != v {
		return
	}
	if since := now.Sub(g.swept); g.idle > maxIdleVisitors && since > time.Second || since > sweepInterval {
		g.swept = now
		for ip, v := range g.visitors {
			if v.conns == 0 && g.forgettable(v, now) {
				delete(g.visitors, ip)
				g.idle--
			}
		}
	}
	if _, there := g.visitors[ip]; there && (g.forgettable(v, now) || g.idle > maxIdleVisitors) {
		delete(g.visitors, ip)
		g.idle--
	}
}

func (g *gate) forgettable(v *visitor, now time.Time) bool {
	guesses := float64(freeGuesses)
	if g.limits.GuessTime > 0 {
		guesses, _ = g.guesses(v, now)
	}
	return g.points(v, now) < 1 && g.faded(v.held, v.heldAt, now) < 1 && g.faded(v.failed, v.failedAt, now) < 1 && !now.Before(v.bannedUntil) && v.known(now) == 0 && guesses >= freeGuesses && g.refresh(v, now)
}

func (g *gate) exempt(ip netip.Addr) bool {
	return !ip.IsValid() || contains(g.limits.Exempt, ip)
}

// points is the ban score now.
func (g *gate) points(v *visitor, now time.Time) float64 { return g.faded(v.points, v.at, now) }

// faded is what is left now of points at a time.
func (g *gate) faded(points float64, at, now time.Time) float64 {
	if g.limits.BanHalfLife <= 0 {
		return points
	}
	return points * math.Exp2(-float64(now.Sub(at))/float64(g.limits.BanHalfLife))
}

// penalize adds points to the score of a connection's address, and reports whether it
// is banned from now on.
func (g *gate) penalize(c *Conn, points float64, now time.Time) (banned bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := c.gate.visitor
	if v == nil || g.limits.BanScore < 0 || now.Before(v.bannedUntil) {
		return false
	}
	v.points, v.at = g.points(v, now)+points, now
	if v.points < g.limits.BanScore {
		return false
	}
	v.points, v.bannedUntil = 0, now.Add(max(g.limits.BanTime, 0))
	return true
}

// nuisance is the part of a ban's points with which an address is a nuisance: four
// connections that were closed for garbage, or two that had many lines of it.
const nuisance = 0.2

// isNuisance reports whether the connection's address is banned, or on the way to it.
func (g *gate) isNuisance(c *Conn, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := c.gate.visitor
	return v != nil && g.limits.BanScore > 0 && (now.Before(v.bannedUntil) || g.points(v, now) >= nuisance*g.limits.BanScore)
}

// heldForMost is after how many connections an address has the next held for all of
// TarpitTime: attackers have as many in no time, and whoever tries what is wrong with a
// device waits for a second or two.
const heldForMost = 100

// hold counts a connection of an address that is to be held, and returns for how long: the
// longer, the more of them the address had. What is counted halves as ban points do.
func (g *gate) hold(ip netip.Addr, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.visitors[ip]
	if v == nil { // exempt
		return 0
	}
	v.held, v.heldAt = g.faded(v.held, v.heldAt, now)+1, now
	return time.Duration(float64(g.limits.TarpitTime) * min(1, v.held/heldForMost))
}

// narrowed reports whether the connection's address is banned, though there are miners.
func (g *gate) narrowed(c *Conn, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := c.gate.visitor
	return v != nil && now.Before(v.bannedUntil)
}

// guesses are the free ones of an address now, and how many become free again in each
// GuessTime. As many as there are miners may mistype at once, and one in a hundred of
// them all the time.
func (g *gate) guesses(v *visitor, now time.Time) (free, rate float64) {
	known := float64(v.known(now))
	rate = 1 + known/100
	free = v.guesses + rate*float64(now.Sub(v.guessedAt))/float64(g.limits.GuessTime)
	return min(free, freeGuesses+known), rate
}

// guess takes a turn to have a password checked; it says how long to wait for it
// before, or that too many do. guessed must follow, where ok.
//
// A right password waits as a wrong one does: the time would tell which it is, to one
// who does not stay for the answer.
func (g *gate) guess(c *Conn, now time.Time) (wait time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := c.gate.visitor
	if v == nil || g.limits.GuessTime <= 0 {
		return 0, true
	}
	free, rate := g.guesses(v, now)
	if free--; free < 0 {
		wait = time.Duration(-free / rate * float64(g.limits.GuessTime))
		if wait > maxGuessWait {
			return 0, false
		}
	}
	v.guesses, v.guessedAt = free, now
	return wait, true
}

// guessed gives the turn back if the password was right.
func (g *gate) guessed(c *Conn, right bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v := c.gate.visitor; v != nil && right {
		v.guesses++
	}
}

// names counts n more names of a connection, beyond its first, for its address; false: that
// has as many as it may.
func (g *gate) names(c *Conn, n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := &c.gate
	switch v := e.visitor; {
	case !e.inside:
		return false
	case v == nil:
		return true
	case n > 0 && over(v.names, g.limits.AddressNames):
		return false
	default:
		v.names += n
		e.names += n
		return true
	}
}

func over(n, limit int) bool { return limit > 0 && n >= limit }
