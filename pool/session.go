package pool

import (
	"errors"
	"slices"
	"sync"
	"time"

	"lode/pool/accounts"
	"lode/pool/jobs"
	"lode/pool/judge"
	"lode/pool/share"
	"lode/pool/space"
	"lode/pool/vardiff"
	"lode/stratum"
)

// session is what the proxy knows of one connection.
type session struct {
	conn *stratum.Conn

	mu         sync.Mutex // guards the rest; never held together with another session's
	holding               // space is nil: it has not subscribed
	proven     bool       // it had a share accepted
	authorized bool
	workers    map[string]*accounts.Worker
	wish       vardiff.Wish // heard before authorize
	vardiff    vardiff.Miner
	book       vardiff.Book
	told       float64  // difficulty that the miner was told last
	sent       jobs.Key // of the job that the miner was sent last; 0: none
	former     []former // what held before each mining.set_extranonce, newest first
	restored   *past    // of the session that is resumed, until it authorizes
}

// holding is what a miner searches in: a lease in a space, and what was found with it.
type holding struct {
	space *space.Space
	lease *space.Lease
	seen  *share.Seen
}

// size is that of the whole extranonce. The caller holds mu.
func (h *holding) size() int { return h.space.Size() + h.space.Rest() }

// former is the search space that a miner had for jobs before a number.
type former struct {
	until uint64
	holding
}

// maxFormer is how many former search spaces are remembered.
const maxFormer = 4

// at is what the miner searches a job in. The caller holds mu.
func (s *session) at(number uint64) *holding {
	at := &s.holding
	for i := range s.former {
		if number < s.former[i].until {
			at = &s.former[i].holding
		}
	}
	return at
}

// past is what a session leaves behind with its lease: the shares are for whoever gets
// the value next, the rest for the connection that resumes it.
type past struct {
	seen    *share.Seen
	vardiff vardiff.Miner
	book    vardiff.Book
	ready   bool // it had authorized
}

// past is that of the session. The caller holds mu.
func (s *session) past() *past {
	return &past{seen: s.seen, vardiff: s.vardiff, book: s.book, ready: s.authorized}
}

var (
	errNoWork = &stratum.Error{Code: stratum.CodeOther, Text: "No work at present"}
	errMoved  = errors.New("the extranonce changed with the upstream, and this miner cannot be told")
	errTaken  = errors.New("its extranonce went to another connection: it has not had a share, or its session was resumed")
)

// Connected implements stratum.Handler.
func (p *Proxy) Connected(c *stratum.Conn) error {
	c.SetData(&session{conn: c, workers: make(map[string]*accounts.Worker)})
	return nil
}

func sessionOf(c *stratum.Conn) *session { return c.Data().(*session) }

// Subscribe implements stratum.Handler: it assigns an extranonce1.
func (p *Proxy) Subscribe(c *stratum.Conn, resume string) (stratum.Subscription, error) {
	if p.away.Load() {
		c.Close(errNoWork)
		return stratum.Subscription{}, errNoWork
	}
	s := sessionOf(c)
	s.mu.Lock()
	if s.space == nil {
		if err := p.settle(s, space.Request{Resume: resume}); err != nil {
			s.mu.Unlock()
			return stratum.Subscription{}, err
		}
	}
	subscription := stratum.Subscription{SessionID: s.lease.ID, Extranonce1: s.lease.Extranonce, Extranonce2Size: s.space.Rest()}
	lease := s.lease
	s.mu.Unlock()
	p.restore(s, lease)
	return subscription, nil
}

// settle gives a session a place in the present space. The caller holds s.mu.
func (p *Proxy) settle(s *session, r space.Request) error {
	where := p.space.Load()
	r.Address, r.Holder, r.Taken = s.conn.Address(), s, func() { s.conn.Close(errTaken) }
	lease, err := where.Take(p.now(), r)
	if err != nil {
		p.turnAway(s, err)
		return &stratum.Error{Code: stratum.CodeOther, Text: err.Error()}
	}
	s.holding = holding{space: where, lease: lease}
	if past, _ := lease.Kept.(*past); past != nil {
		s.seen = past.seen
	} else {
		s.seen = share.NewSeen(p.config.StaleGrace)
	}
	if s.proven {
		lease.Prove(s.past())
	}
	return nil
}

// turnAwayLog is how often it is logged that miners are turned away.
const turnAwayLog = 10 * time.Second

// turnAway counts a miner that found no place.
func (p *Proxy) turnAway(s *session, err error) {
	n := p.turnedAway.Add(1)
	now := p.now().UnixNano()
	if last := p.turnAwayLogged.Load(); now-last >= int64(turnAwayLog) && p.turnAwayLogged.CompareAndSwap(last, now) {
		p.log.Warn("miners are turned away", "address", s.conn.RemoteAddr().String(), "error", err, "so far", n)
	}
}

// restore takes over the difficulty of the session that was resumed with a lease: shares
// of its jobs may still come. The old connection may be there yet.
func (p *Proxy) restore(s *session, lease *space.Lease) {
	if !lease.Resumed {
		return
	}
	was, _ := lease.Kept.(*past)
	if former, _ := lease.Former.(*session); former != nil {
		former.mu.Lock()
		was = former.past()
		former.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if was == nil || s.authorized || s.lease != lease {
		return
	}
	s.seen, s.restored = was.seen, was
}

// Authorize implements stratum.Handler.
func (p *Proxy) Authorize(c *stratum.Conn, user, password string) error {
	if p.config.Authorize != nil {
		if err := p.config.Authorize(user, password); err != nil {
			p.log.Info("worker refused", "address", c.RemoteAddr().String(), "worker", user, "error", err)
			return judge.ErrNotAllowed
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
		if r := s.restored; r != nil && r.ready {
			s.vardiff, s.book = r.vardiff.Again(p.now()), r.book
		}
		s.restored = nil
		s.vardiff.Suggest(p.vardiff, p.now(), s.wish)
	}
	j := p.jobs.Latest()
	p.moveIfNeeded(s, j)
	if j == nil || !p.working.Load() {
		p.sendDifficulty(s, jobs.KeyOf(p.jobs.Last()+1, 0))
		return // the first job will be broadcast
	}
	if s.sent.Number() == j.Number { // it has subscribed once more, and gets the same again
		s.conn.SetDifficulty(stratum.Difficulty(s.told))
		p.sendJob(s, j, s.sent.Edition(), true)
		return
	}
	p.sendDifficulty(s, j.Key(0))
	p.sendJob(s, j, 0, true)
}

// startDifficulty is what a miner begins with, and the least that vardiff may give it: its
// worker's last difficulty, or what the operator says, or what suits its kind.
func (p *Proxy) startDifficulty(s *session) (start, least float64) {
	kind := kindOf(s.conn.UserAgent())
	if given := p.config.StartDifficulty; given > 0 {
		kind.start, kind.least = given, min(kind.least, given)
	} else if j := p.jobs.Latest(); j != nil && j.NetworkDifficulty <= trivialNetwork {
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
func (p *Proxy) sendDifficulty(s *session, from jobs.Key) {
	d := p.capDifficulty(s.vardiff.Difficulty())
	s.book.Set(uint64(from), d)
	s.told = d
	s.conn.SetDifficulty(stratum.Difficulty(d))
}

// sendJob sends an edition of a job to this miner. The caller holds s.mu.
func (p *Proxy) sendJob(s *session, j *jobs.Job, edition int, clean bool) {
	v, err := j.Variant(s.size(), edition)
	if err != nil {
		p.log.Debug("no job for this miner", "address", s.conn.RemoteAddr().String(), "error", err)
		return
	}
	s.sent = j.Key(edition)
	s.conn.SetVersionMask(j.Mask)
	s.conn.Notify(v.Line(clean))
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
	j := p.jobs.Latest()
	next := s.sent + 1
	if !p.working.Load() || j == nil || next.Number() != j.Number || p.capDifficulty(s.vardiff.Difficulty()) == s.told {
		return
	}
	p.sendDifficulty(s, next)
	p.sendJob(s, j, next.Edition(), false)
}

// Transactions implements stratum.Handler.
func (p *Proxy) Transactions(c *stratum.Conn, id string) ([][]byte, error) {
	j, _ := p.jobs.Get(id)
	if j == nil {
		return nil, judge.ErrUnknownJob
	}
	from, ok := j.Origin.(*nodeWork)
	if !ok {
		return nil, &stratum.Error{Code: stratum.CodeOther, Text: "The transactions of a pool's job are not known"}
	}
	list := from.made.Load().Transactions
	txs := make([][]byte, len(list))
	for i := range txs {
		txs[i] = list[i].Append(nil)
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
	if s.space != nil {
		s.lease.Release(p.now(), s.past())
	}
	if reason != nil {
		p.log.Debug("miner left", "address", c.RemoteAddr().String(), "reason", reason)
	}
}

// moveIfNeeded takes a miner whose extranonces do not fit the present work to the
// present space: with set_extranonce where it understands that, else it is sent away to
// subscribe anew. next is the job that it gets next. moved: it needs a clean job. The
// caller holds s.mu.
func (p *Proxy) moveIfNeeded(s *session, next *jobs.Job) (moved bool) {
	where := p.space.Load()
	if s.space == nil || s.space == where || where == p.home && p.fitsNode(s.size()) {
		return false
	}
	if !s.conn.WantsExtranonce() {
		s.conn.Close(errMoved)
		return false
	}
	before := former{holding: s.holding}
	if err := p.settle(s, space.Request{Resume: before.lease.ID, Keep: true}); err != nil {
		s.conn.Close(err)
		return false
	}
	before.lease.Release(p.now(), &past{seen: before.seen})
	if next != nil {
		before.until = next.Number
		s.former = slices.Insert(s.former, 0, before)
		s.former = s.former[:min(len(s.former), maxFormer)]
	}
	return s.conn.SetExtranonce(s.lease.Extranonce, s.space.Rest())
}
