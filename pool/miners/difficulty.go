package miners

import (
	"time"

	"lode/pool/jobs"
	"lode/pool/vardiff"
	"lode/stratum"
)

// trivialNetwork is the difficulty up to which a network is good for tests only.
const trivialNetwork = 1e-6

// easyShare is how much easier than what its miner was told last a share is of which there
// may be so many only: easyBurst, and easyRate a second. They are of jobs from before a
// raise, and count for as long as those do; but each is remembered until then, and who began
// with next to nothing could find thousands a second.
const (
	easyShare = 16
	easyBurst = 1024
	easyRate  = 1
)

// easyShares counts them: at a time there were so many.
type easyShares struct {
	n  float64
	at time.Time
}

func (e *easyShares) now(now time.Time) float64 {
	return max(e.n-now.Sub(e.at).Seconds()*easyRate, 0)
}

// tooMany reports whether the next ones are to be judged by more than they were sent with.
func (e *easyShares) tooMany(now time.Time) bool { return e.n > 0 && e.now(now) >= easyBurst }

func (e *easyShares) note(now time.Time) { e.n, e.at = e.now(now)+1, now }

// unknownPromise is the least that a miner of which nothing is known may turn out to be good for.
const unknownPromise = 1

// promise is the difficulty that shares of a miner of that kind have at first.
func (m *Server) promise(kind vardiff.Kind) float64 {
	if !kind.Known() {
		kind.Start = max(m.o.StartDifficulty, unknownPromise)
	}
	if m.isTest() {
		kind.Start = min(kind.Start, vardiff.UnknownStart)
	}
	if most := m.o.Vardiff.Max; most > 0 {
		kind.Start = min(kind.Start, most)
	}
	return m.capDifficulty(kind.Start)
}

// isTest reports whether the network is good for tests only.
func (m *Server) isTest() bool {
	j := m.o.Jobs.Latest()
	return j != nil && j.NetworkDifficulty <= trivialNetwork
}

// startDifficulty is what a miner begins with, and the least that vardiff may give it: its
// worker's last difficulty with such a device at its address, or what the operator says, or what
// suits its kind.
func (m *Server) startDifficulty(s *session) (start, least float64) {
	kind := vardiff.KindOf(s.conn.UserAgent())
	if given := m.o.StartDifficulty; given > 0 {
		kind.Start, kind.Least = given, min(kind.Least, given)
	} else if m.isTest() {
		// Whatever it calls itself, it is somebody's test.
		kind = vardiff.Kind{Start: min(kind.Start, vardiff.UnknownStart)}
	}
	for _, w := range s.workers {
		if d := w.StartDifficulty(s.device); d > 0 {
			kind.Start = d
			break
		}
	}
	return m.capDifficulty(kind.Start), kind.Least
}

// sendDifficulty tells the miner its present difficulty, in force for what is sent from
// key on. The caller holds s.mu.
func (m *Server) sendDifficulty(s *session, from jobs.Key) {
	d := m.capDifficulty(s.vardiff.Difficulty())
	s.book.Set(uint64(from), d)
	s.told = d
	s.conn.SetDifficulty(stratum.Difficulty(d))
}

// SuggestDifficulty implements stratum.Handler.
func (m *Server) SuggestDifficulty(c *stratum.Conn, d stratum.Difficulty, least bool) {
	wish := vardiff.Wish{Difficulty: float64(d), Least: least}
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authorized {
		if least {
			s.bound = wish
		} else {
			s.wish = wish
		}
		return
	}
	if _, changed := s.vardiff.Suggest(m.o.Vardiff, m.o.Now(), wish); changed {
		m.changeDifficulty(s)
	}
}

// changeDifficulty tells the miner its new difficulty and, so that it takes it at once,
// the next edition of its job to use it with. Where it has had the last one, or another
// job is about to be sent, that brings the difficulty. The caller holds s.mu.
func (m *Server) changeDifficulty(s *session) {
	j := m.o.Jobs.Latest()
	next := s.sent + 1
	if !m.working.Load() || j == nil || next.Number() != j.Number || m.capDifficulty(s.vardiff.Difficulty()) == s.told {
		return
	}
	m.sendDifficulty(s, next)
	m.sendJob(s, j, next.Edition(), false)
}

// Tick lowers the difficulty of silent miners. It is to be called every few seconds.
func (m *Server) Tick(now time.Time) {
	if !m.working.Load() {
		return
	}
	m.server.Conns(func(c *stratum.Conn) {
		s := sessionOf(c)
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.authorized {
			return
		}
		if _, changed := s.vardiff.Tick(m.o.Vardiff, now); changed {
			m.changeDifficulty(s)
		}
	})
}

// capDifficulty keeps a share's difficulty at or below the network's, so that each
// block is a share: miners hand in nothing easier than a share. On networks that are
// trivially easy (regtest, young simnets) it does not: every hash would be a share.
func (m *Server) capDifficulty(d float64) float64 {
	if j := m.o.Jobs.Latest(); j != nil {
		d = j.Origin.CapDifficulty(d)
		if j.NetworkDifficulty > trivialNetwork {
			d = min(d, j.NetworkDifficulty)
		}
	}
	return d
}
