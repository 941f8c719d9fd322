package miners

import (
	"errors"
	"net/netip"
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
	conn    *stratum.Conn
	address netip.Addr // the miner's, as limits go by it

	mu         sync.Mutex // guards the rest; never held together with another session's
	gone       bool       // it has been disconnected
	holding               // space is nil: it has not subscribed
	proven     bool       // it had a share accepted, and its place is its own
	asked      time.Time  // for that
	authorized bool
	device     accounts.Device // when it authorized; only calls for the connection change and read it
	workers    map[string]*accounts.Worker
	wish       vardiff.Wish // heard before authorize
	bound      vardiff.Wish // the same, not to be below
	vardiff    vardiff.Miner
	book       vardiff.Book
	told       float64 // difficulty that the miner was told last
	easy       easyShares
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
	easy    easyShares
	ready   bool // it had authorized
}

// past is that of the session. The caller holds mu.
func (s *session) past() *past {
	return &past{seen: s.seen, vardiff: s.vardiff, book: s.book, easy: s.easy, ready: s.authorized}
}

var (
	errTransactions = &stratum.Error{Code: stratum.CodeOther, Text: "Too many transactions"}
	errNoWork       = &stratum.Error{Code: stratum.CodeOther, Text: "No work at present"}
	errMoved        = errors.New("the extranonce changed with the upstream, and this miner cannot be told")
	errTaken        = errors.New("its extranonce went to another connection: it has not had a share, its shares were worth next to nothing, or its session was resumed")
)

// Connected implements stratum.Handler.
func (m *Server) Connected(c *stratum.Conn) error {
	c.SetData(&session{conn: c, address: c.Address(), workers: make(map[string]*accounts.Worker)})
	return nil
}

func sessionOf(c *stratum.Conn) *session { return c.Data().(*session) }

// Subscribe implements stratum.Handler: it assigns an extranonce1.
func (m *Server) Subscribe(c *stratum.Conn, resume string) (stratum.Subscription, error) {
	if m.away.Load() {
		c.Close(errNoWork)
		return stratum.Subscription{}, errNoWork
	}
	s := sessionOf(c)
	s.mu.Lock()
	if s.space == nil {
		if err := m.settle(s, space.Request{Resume: resume}); err != nil {
			s.mu.Unlock()
			return stratum.Subscription{}, err
		}
	}
	subscription := stratum.Subscription{SessionID: s.lease.ID, Extranonce1: s.lease.Extranonce, Extranonce2Size: s.space.Rest()}
	lease := s.lease
	s.mu.Unlock()
	m.restore(s, lease)
	return subscription, nil
}

// settle gives a session a place in the present space. The caller holds s.mu.
func (m *Server) settle(s *session, r space.Request) error {
	where := m.space.Load()
	r.Address, r.Holder, r.Taken = s.address, s, func() { s.conn.Close(errTaken) }
	r.Kept = &past{seen: share.NewSeen(m.o.StaleGrace)}
	r.Promise = m.promise(vardiff.KindOf(s.conn.UserAgent()))
	lease, err := where.Take(m.o.Now(), r)
	if err != nil {
		m.turnAway(s, err)
		return &stratum.Error{Code: stratum.CodeOther, Text: err.Error()}
	}
	s.holding = holding{space: where, lease: lease, seen: lease.Kept.(*past).seen}
	if s.proven {
		s.proven = lease.Prove(m.o.Now(), s.past())
	}
	return nil
}

// turnAwayLog is how often it is logged that miners are turned away.
const turnAwayLog = 10 * time.Second

// turnAway counts a miner that found no place.
func (m *Server) turnAway(s *session, err error) {
	n := m.turnedAway.Add(1)
	now := m.o.Now().UnixNano()
	if last := m.turnAwayLogged.Load(); now-last >= int64(turnAwayLog) && m.turnAwayLogged.CompareAndSwap(last, now) {
		m.log.Warn("miners are turned away", "address", s.conn.RemoteAddr().String(), "error", err, "so far", n)
	}
}

// restore takes over the difficulty of the session that was resumed with a lease: shares
// of its jobs may still come. The old connection may be there yet.
func (m *Server) restore(s *session, lease *space.Lease) {
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
	s.restored = was // its shares came with the lease
}

// Authorize implements stratum.Handler.
func (m *Server) Authorize(c *stratum.Conn, user, password string) error {
	if m.o.Authorize != nil {
		if err := m.o.Authorize(user, password); err != nil {
			m.log.Info("worker refused", "address", c.RemoteAddr().String(), "worker", user, "error", err)
			return judge.ErrNotAllowed
		}
	}
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers[user] == nil {
		w := m.o.Accounts.Worker(user)
		w.Connected()
		s.workers[user] = w
	}
	return nil
}

// Authorized implements stratum.Handler: the miner gets difficulty and job.
func (m *Server) Authorized(c *stratum.Conn) {
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authorized {
		s.authorized = true
		s.device = accounts.Device{Address: s.address, Kind: vardiff.KindOf(s.conn.UserAgent()).Name()}
		start, least := m.startDifficulty(s)
		s.vardiff = vardiff.New(m.o.Vardiff, m.o.Now(), start, least)
		if r := s.restored; r != nil && r.ready {
			s.vardiff, s.book, s.easy = r.vardiff.Again(m.o.Now()), r.book, r.easy
		}
		s.restored = nil
		s.vardiff.Suggest(m.o.Vardiff, m.o.Now(), s.bound, s.wish)
	}
	j := m.o.Jobs.Latest()
	if _, stays := m.moveIfNeeded(s, j); !stays {
		return
	}
	if j == nil || !m.working.Load() {
		m.sendDifficulty(s, jobs.KeyOf(m.o.Jobs.Last()+1, 0))
		return // the first job will be broadcast
	}
	if s.sent.Number() == j.Number { // it has subscribed once more, and gets the same again
		s.conn.SetDifficulty(stratum.Difficulty(s.told))
		m.sendJob(s, j, s.sent.Edition(), true)
		return
	}
	m.sendDifficulty(s, j.Key(0))
	m.sendJob(s, j, 0, true)
}

// sendJob sends an edition of a job to this miner. The caller holds s.mu.
func (m *Server) sendJob(s *session, j *jobs.Job, edition int, clean bool) {
	v, err := j.Variant(s.size(), edition)
	if err != nil {
		m.log.Debug("no job for this miner", "address", s.conn.RemoteAddr().String(), "error", err)
		return
	}
	s.sent = j.Key(edition)
	s.conn.SetVersionMask(j.Mask)
	s.conn.Notify(v.Line(clean))
}

// Transactions implements stratum.Handler.
func (m *Server) Transactions(c *stratum.Conn, id string) ([][]byte, error) {
	j, _ := m.o.Jobs.Get(id)
	if j == nil {
		return nil, judge.ErrUnknownJob
	}
	from, ok := j.Origin.(jobs.Lister)
	if !ok {
		return nil, &stratum.Error{Code: stratum.CodeOther, Text: "The transactions of a pool's job are not known"}
	}
	list, ok := from.Transactions(stratum.MaxTransactions / 2)
	if !ok {
		return nil, errTransactions
	}
	return list, nil
}

// Disconnected implements stratum.Handler.
func (m *Server) Disconnected(c *stratum.Conn, reason error) {
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	for _, w := range s.workers {
		w.Disconnected()
	}
	if s.space != nil {
		s.lease.Release(m.o.Now(), s.past())
	}
	if reason != nil {
		m.log.Debug("miner left", "address", c.RemoteAddr().String(), "reason", reason)
	}
}

// moveIfNeeded takes a miner whose extranonces do not fit the present work to the
// present space: with set_extranonce where it understands that, else it is sent away to
// subscribe anew. next is the job that it gets next. moved: it needs a clean job; stays:
// it is not sent away. The caller holds s.mu.
func (m *Server) moveIfNeeded(s *session, next *jobs.Job) (moved, stays bool) {
	where := m.space.Load()
	if s.space == nil || s.space == where || where == m.o.Home && s.size() <= m.o.MaxExtranonce {
		return false, true
	}
	if s.gone || s.lease.Lost() { // it is about to go: the place is for who has its session now
		return false, false
	}
	if !s.conn.WantsExtranonce() {
		s.conn.Close(errMoved)
		return false, false
	}
	before := former{holding: s.holding}
	if err := m.settle(s, space.Request{Resume: before.lease.ID, Keep: true}); err != nil {
		s.conn.Close(err)
		return false, false
	}
	before.lease.Release(m.o.Now(), &past{seen: before.seen})
	if next != nil {
		before.until = next.Number
		s.former = slices.Insert(s.former, 0, before)
		s.former = s.former[:min(len(s.former), maxFormer)]
	}
	return s.conn.SetExtranonce(s.lease.Extranonce, s.space.Rest()), true
}
