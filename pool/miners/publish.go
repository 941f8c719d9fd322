package miners

import (
	"time"

	"lode/pool/jobs"
	"lode/stratum"
)

// keepAlive is how long miners are left without a message while there is work. Some give
// up after 60 s.
const keepAlive = 45 * time.Second

// Publish makes a job of the work and sends it to all miners, without waiting. Publish,
// Refresh and Pause are not for several goroutines at once.
func (m *Server) Publish(w *jobs.Work) {
	current := m.o.Jobs.Latest()
	clean := current == nil || current.Prev != w.Prev || current.Source != w.Source || !m.working.Load() || w.Clean
	w = m.o.Jobs.Unsearched(w)
	m.space.Store(w.Space)
	m.server.SetVersionMask(w.Mask)
	j := m.o.Jobs.Add(m.o.Now(), w, clean)
	m.working.Store(true)
	m.away.Store(false)
	m.broadcast(j)
}

// broadcast sends a job to all miners, without waiting.
func (m *Server) broadcast(j *jobs.Job) {
	m.sentAt = m.o.Now()
	// Most miners have the extranonce size of the space.
	v, err := j.Variant(j.Space.Size()+j.Space.Rest(), 0)
	if err != nil {
		m.log.Error("cannot make a job", "upstream", j.Source+1, "error", err)
		return
	}
	m.server.Publish(v.Line(j.Clean), func(c *stratum.Conn) { m.deliver(c, j) })
}

// Refresh sends the present work once more, with the time of now, where an upstream
// has long been quiet: miners take silence for the end of the connection.
func (m *Server) Refresh(now time.Time) {
	current := m.o.Jobs.Latest()
	if current == nil || !m.working.Load() || now.Sub(m.sentAt) < keepAlive {
		return
	}
	if next := current.Again(now); next != nil {
		m.broadcast(m.o.Jobs.Add(now, next, false))
	}
}

// Pause has shares be stale until the next Publish; false: they are already. Nothing is
// sent: Stratum has no pause, but miners take a minute or two of silence for the end of
// the connection, connect again, and then wait for a job.
func (m *Server) Pause() bool { return m.working.CompareAndSwap(true, false) }

// SendAway closes all connections, and has new ones refused until the next Publish; false:
// they are refused already.
func (m *Server) SendAway() bool {
	news := !m.away.Swap(true)
	m.server.Conns(func(c *stratum.Conn) { c.Close(errNoWork) })
	return news
}

// deliver sends a broadcast job to one miner.
func (m *Server) deliver(c *stratum.Conn, j *jobs.Job) {
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authorized {
		return
	}
	if s.sent >= j.Key(0) {
		return // it came in meanwhile, and has this job or a newer one
	}
	c.SetVersionMask(j.Mask)
	moved, stays := m.moveIfNeeded(s, j)
	if !stays {
		return
	}
	v, err := j.Variant(s.size(), 0)
	if err != nil {
		return // it is about to move or to leave
	}
	if d := m.capDifficulty(s.vardiff.Difficulty()); d != s.told {
		m.sendDifficulty(s, j.Key(0))
	}
	s.sent = j.Key(0)
	c.Notify(v.Line(j.Clean || moved))
}
