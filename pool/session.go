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
	wish       stratum.Difficulty // suggested before authorize; 0: none
	vardiff    vardiff.Miner
	book       vardiff.Book
	told       float64 // difficulty that the miner was told last
	sentAlone  uint64  // number of the last job that was sent to this miner alone
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
		s.vardiff = vardiff.New(p.vardiff, p.now(), p.startDifficulty(s))
		if s.wish > 0 {
			s.vardiff.Suggest(p.vardiff, p.now(), float64(s.wish))
		}
	}
	j := p.jobs.latest()
	p.moveIfNeeded(s, j)
	if j == nil || !p.working.Load() {
		p.sendDifficulty(s, p.jobs.lastNumber()+1)
		return // the first job will be broadcast
	}
	p.sendDifficulty(s, j.number)
	p.sendJob(s, j, true)
}

// startDifficulty is the worker's last one, else that for its kind of program.
func (p *Proxy) startDifficulty(s *session) float64 {
	for _, w := range s.workers {
		if d := w.LastDifficulty(); d > 0 {
			return p.capDifficulty(d)
		}
	}
	d := startFor(s.conn.UserAgent(), p.config.StartDifficulty)
	if j := p.jobs.latest(); j != nil && j.networkDifficulty <= trivialNetwork && p.config.StartDifficulty <= 0 {
		d = min(d, unknownStart) // whatever it calls itself, it is somebody's test
	}
	return p.capDifficulty(d)
}

// sendDifficulty tells the miner its present difficulty, in force for jobs from
// number from on. The caller holds s.mu.
func (p *Proxy) sendDifficulty(s *session, from uint64) {
	d := p.capDifficulty(s.vardiff.Difficulty())
	s.book.Set(from, d)
	s.told = d
	s.conn.SetDifficulty(stratum.Difficulty(d))
}

// sendJob sends a job to this miner alone. The caller holds s.mu.
func (p *Proxy) sendJob(s *session, j *job, clean bool) {
	v, err := j.variant(s.size())
	if err != nil {
		p.log.Debug("no job for this miner", "address", s.conn.RemoteAddr().String(), "error", err)
		return
	}
	s.sentAlone = j.number
	s.conn.SetVersionMask(j.mask)
	s.conn.Notify(v.line(clean))
}

// SuggestDifficulty implements stratum.Handler.
func (p *Proxy) SuggestDifficulty(c *stratum.Conn, d stratum.Difficulty) {
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authorized {
		s.wish = d
		return
	}
	if _, changed := s.vardiff.Suggest(p.vardiff, p.now(), float64(d)); changed {
		p.changeDifficulty(s)
	}
}

// changeDifficulty tells the miner its new difficulty and, so that it takes it at
// once, a job to use it with. The caller holds s.mu.
func (p *Proxy) changeDifficulty(s *session) {
	j := p.aliasFor(s)
	if j == nil {
		p.sendDifficulty(s, p.jobs.lastNumber()+1) // in force with the next broadcast
		return
	}
	p.sendDifficulty(s, j.number)
	p.sendJob(s, j, false)
}

// aliasFor is a job of the present work that this miner has not got yet; nil: none
// can be made. A job under a new id is needed because miners take a new difficulty
// with the next job, and some drop a job whose id they have seen. The caller holds
// s.mu, so that no newer job reaches the miner before this one.
func (p *Proxy) aliasFor(s *session) *job {
	if !p.working.Load() {
		return nil
	}
	return p.jobs.alias(p.now(), s.sentAlone)
}

// Transactions implements stratum.Handler.
func (p *Proxy) Transactions(c *stratum.Conn, id string) ([][]byte, error) {
	j := p.jobs.get(id)
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
