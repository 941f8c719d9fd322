package pool

import (
	"errors"
	"sync"

	"lode/pool/accounts"
	"lode/pool/space"
	"lode/pool/vardiff"
	"lode/stratum"
)

// session is what the proxy knows of one connection.
type session struct {
	conn *stratum.Conn

	mu         sync.Mutex // guards the rest; never held together with another session's
	place      *place     // the extranonce space that the lease is of
	lease      space.Lease
	e2size     int
	authorized bool
	workers    map[string]*accounts.Worker
	wish       vardiff.Wish // heard before authorize
	vardiff    vardiff.Miner
	book       vardiff.Book
	told       float64 // difficulty that the miner was told last
	sent       jobKey  // of the job that the miner was sent last; 0: none
	before     former  // what held before the last mining.set_extranonce
}

// former is the search space that a miner had for jobs before a number.
type former struct {
	until  uint64
	place  *place
	lease  space.Lease
	e2size int
}

// space is the search space that the miner has for a job. The caller holds mu.
func (s *session) space(number uint64) (where *place, extranonce1 []byte, e2size int) {
	if number < s.before.until {
		return s.before.place, s.before.lease.Extranonce, s.before.e2size
	}
	return s.place, s.lease.Extranonce, s.e2size
}

// place is an extranonce space with the size of extranonce2 that goes with it.
type place struct {
	*space.Space
	e2size int
	source int // upstream whose space it is; -1: our own, good for any node
}

// size is that of the whole extranonce. The caller holds mu.
func (s *session) size() int { return len(s.lease.Extranonce) + s.e2size }

var (
	errNoWork     = &stratum.Error{Code: stratum.CodeOther, Text: "No work at present"}
	errMoved      = errors.New("the extranonce changed with the upstream, and this miner cannot be told")
	errNotAllowed = &stratum.Error{Code: stratum.CodeUnauthorized, Text: "Unauthorized worker"}
)

// Connected implements stratum.Handler.
func (p *Proxy) Connected(c *stratum.Conn) error {
	c.SetData(&session{conn: c, workers: make(map[string]*accounts.Worker)})
	return nil
}

func sessionOf(c *stratum.Conn) *session { return c.Data().(*session) }

// Subscribe implements stratum.Handler: it leases an extranonce1.
func (p *Proxy) Subscribe(c *stratum.Conn, resume string) (stratum.Subscription, error) {
	if p.away.Load() {
		c.Close(errNoWork)
		return stratum.Subscription{}, errNoWork
	}
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place == nil {
		if err := p.settle(s, resume); err != nil {
			return stratum.Subscription{}, err
		}
	}
	return stratum.Subscription{SessionID: s.lease.ID, Extranonce1: s.lease.Extranonce, Extranonce2Size: s.e2size}, nil
}

// settle leases a place in the present space. The caller holds s.mu.
func (p *Proxy) settle(s *session, resume string) error {
	where := p.place.Load()
	lease, err := where.Take(p.now(), resume)
	if err != nil {
		p.log.Warn("miner turned away", "address", s.conn.RemoteAddr().String(), "error", err)
		return &stratum.Error{Code: stratum.CodeOther, Text: err.Error()}
	}
	s.place, s.lease, s.e2size = where, lease, where.e2size
	return nil
}

// Authorize implements stratum.Handler.
func (p *Proxy) Authorize(c *stratum.Conn, user, password string) error {
	if p.config.Authorize != nil {
		if err := p.config.Authorize(user, password); err != nil {
			p.log.Info("worker refused", "address", c.RemoteAddr().String(), "worker", user, "error", err)
			return errNotAllowed
		}
	}
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers[user] == nil {
		w := p.accounts.Worker(user)
		w.Connected()
		s.workers[user] = w
	}
	return nil
}

// Authorized implements stratum.Handler: the miner gets difficulty and job.
func (p *Proxy) Authorized(c *stratum.Conn) {
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authorized {
		s.authorized = true
		start, least := p.startDifficulty(s)
		s.vardiff = vardiff.New(p.vardiff, p.now(), start, least)
		s.vardiff.Suggest(p.vardiff, p.now(), s.wish)
	}
	j := p.jobs.latest()
	p.moveIfNeeded(s, j)
	if j == nil || !p.working.Load() {
		p.sendDifficulty(s, keyOf(p.jobs.lastNumber()+1, 0))
		return // the first job will be broadcast
	}
	if s.sent.number() == j.number { // it has subscribed once more, and gets the same again
		s.conn.SetDifficulty(stratum.Difficulty(s.told))
		p.sendJob(s, j, s.sent.edition(), true)
		return
	}
	p.sendDifficulty(s, j.key(0))
	p.sendJob(s, j, 0, true)
}

// startDifficulty is what a miner begins with, and the least that vardiff may give it: its
// worker's last difficulty, or what the operator says, or what suits its kind.
func (p *Proxy) startDifficulty(s *session) (start, least float64) {
	kind := kindOf(s.conn.UserAgent())
	if given := p.config.StartDifficulty; given > 0 {
		kind.start, kind.least = given, min(kind.least, given)
	} else if j := p.jobs.latest(); j != nil && j.networkDifficulty <= trivialNetwork {
		// Whatever it calls itself, it is somebody's test.
		kind = deviceKind{start: min(kind.start, unknownStart)}
	}
	for _, w := range s.workers {
		if d := w.LastDifficulty(); d > 0 {
			kind.start = d
			break
		}
	}
	return p.capDifficulty(kind.start), kind.least
}

// sendDifficulty tells the miner its present difficulty, in force for what is sent from
// key on. The caller holds s.mu.
func (p *Proxy) sendDifficulty(s *session, from jobKey) {
	d := p.capDifficulty(s.vardiff.Difficulty())
	s.book.Set(uint64(from), d)
	s.told = d
	s.conn.SetDifficulty(stratum.Difficulty(d))
}

// sendJob sends an edition of a job to this miner. The caller holds s.mu.
func (p *Proxy) sendJob(s *session, j *job, edition int, clean bool) {
	v, err := j.variant(s.size(), edition)
	if err != nil {
		p.log.Debug("no job for this miner", "address", s.conn.RemoteAddr().String(), "error", err)
		return
	}
	s.sent = j.key(edition)
	s.conn.SetVersionMask(j.mask)
	s.conn.Notify(v.line(clean))
}

// SuggestDifficulty implements stratum.Handler.
func (p *Proxy) SuggestDifficulty(c *stratum.Conn, d stratum.Difficulty, least bool) {
	wish := vardiff.Wish{Difficulty: float64(d), Least: least}
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authorized {
		s.wish = wish
		return
	}
	if _, changed := s.vardiff.Suggest(p.vardiff, p.now(), wish); changed {
		p.changeDifficulty(s)
	}
}

// changeDifficulty tells the miner its new difficulty and, so that it takes it at once,
// the next edition of its job to use it with. Where it has had the last one, or another
// job is about to be sent, that brings the difficulty. The caller holds s.mu.
func (p *Proxy) changeDifficulty(s *session) {
	j := p.jobs.latest()
	next := s.sent + 1
	if !p.working.Load() || j == nil || next.number() != j.number || p.capDifficulty(s.vardiff.Difficulty()) == s.told {
		return
	}
	p.sendDifficulty(s, next)
	p.sendJob(s, j, next.edition(), false)
}

// Transactions implements stratum.Handler.
func (p *Proxy) Transactions(c *stratum.Conn, id string) ([][]byte, error) {
	j, _ := p.jobs.get(id)
	if j == nil {
		return nil, errUnknownJob
	}
	if j.node == nil {
		return nil, &stratum.Error{Code: stratum.CodeOther, Text: "The transactions of a pool's job are not known"}
	}
	txs := make([][]byte, len(j.node.Transactions))
	for i := range txs {
		txs[i] = j.node.Transactions[i].Append(nil)
	}
	return txs, nil
}

// Disconnected implements stratum.Handler.
func (p *Proxy) Disconnected(c *stratum.Conn, reason error) {
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		w.Disconnected()
	}
	if s.place != nil {
		s.place.Release(p.now(), s.lease.ID)
	}
	if reason != nil {
		p.log.Debug("miner left", "address", c.RemoteAddr().String(), "reason", reason)
	}
}

// moveIfNeeded takes a miner whose extranonces do not fit the present work to the
// present space: with set_extranonce where it understands that, else it is sent away to
// subscribe anew. next is the job that it gets next. moved: it needs a clean job. The
// caller holds s.mu.
func (p *Proxy) moveIfNeeded(s *session, next *job) (moved bool) {
	where := p.place.Load()
	if s.place == nil || s.place == where || where.source < 0 && p.fitsNode(s.size()) {
		return false
	}
	old, oldID := s.place, s.lease.ID
	before := former{place: s.place, lease: s.lease, e2size: s.e2size}
	if !s.conn.WantsExtranonce() {
		s.conn.Close(errMoved)
		return false
	}
	s.place = nil
	if err := p.settle(s, ""); err != nil {
		s.place = old
		s.conn.Close(err)
		return false
	}
	old.Release(p.now(), oldID)
	if next != nil {
		before.until = next.number
		s.before = before
	}
	return s.conn.SetExtranonce(s.lease.Extranonce, s.e2size)
}
