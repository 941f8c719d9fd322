package load

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum"
)

// maxLine bounds the lines of a pool, writeTimeout a write to it.
const (
	maxLine      = 1 << 20
	writeTimeout = 10 * time.Second
	// replyTimeout is after how long a share counts as unanswered.
	replyTimeout = 30 * time.Second
	// maxWaiting bounds the shares of one miner that wait for a verdict.
	maxWaiting = 256
)

// link is one connection of a miner. Its goroutine is its slot's, which reads;
// solvers submit.
type link struct {
	run    *run
	socket *socket
	opened int64 // when it was dialed, unix nanoseconds
	ready  func(at int64)
	part   []byte // of a line that has not come to its end
	parts  bool   // shares are sent in two packets, as some networks and firmwares have it

	writing sync.Mutex // held to write

	// epoch counts clean jobs: work of an earlier one is not worth sending.
	epoch atomic.Uint64

	mu         sync.Mutex // guards what follows
	closed     bool
	authorized bool
	work       *work // nil: none yet
	space      space // of work
	next       space // of the next job
	mask       uint32
	changes    uint64 // counts changes of extranonce and version mask
	broadcast  uint64 // the last one that it took part in
	lastID     uint64
	waiting    []*sentShare
	doubts     []doubtful
}

// space is what comes with a job.
type space struct {
	extranonce1     []byte
	extranonce2Size int
	difficulty      stratum.Difficulty
}

func newLink(r *run, conn net.Conn, opened int64, ready func(at int64)) *link {
	socket := newSocket(conn)
	r.stamped.Store(socket.stamped) // all are of one kind
	return &link{run: r, socket: socket, opened: opened, ready: ready, next: space{difficulty: 1}, lastID: firstShareID}
}

// serve logs in and reads until the connection ends; the error says why.
func (l *link) serve() error {
	if err := l.socket.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return err
	}
	if err := l.write(l.run.login.subscribe); err != nil {
		return err
	}
	for {
		data, at, lag, err := l.socket.read()
		if len(data) > 0 {
			if l.run.measuring.Load() {
				l.run.lag.record(lag)
			}
			if err := l.take(data, at); err != nil {
				l.socket.release()
				return err
			}
		}
		l.socket.release()
		if err != nil {
			return err
		}
	}
}

// take handles the lines in what was read, and keeps the rest for the next time.
func (l *link) take(data []byte, at int64) error {
	if len(l.part) > 0 {
		if len(l.part)+len(data) > maxLine {
			return fmt.Errorf("%w: a line of more than %d bytes", stratum.ErrProtocol, maxLine)
		}
		l.part = append(l.part, data...)
		data = l.part
	}
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			break
		}
		line := bytes.TrimSpace(data[:end])
		data = data[end+1:]
		if len(line) == 0 {
			continue
		}
		if err := l.handle(line, at); err != nil {
			return err
		}
	}
	if len(data) == 0 {
		l.part = nil // most lines come whole
	} else {
		l.part = append(l.part[:0], data...)
	}
	return nil
}

func (l *link) handle(raw []byte, at int64) error {
	if w := l.run.jobs.known(raw); w != nil {
		l.takeWork(w, at)
		return nil
	}
	line, err := stratum.ParseLine(raw)
	if err != nil {
		return err
	}
	switch string(line.MethodName()) {
	case "":
		return l.takeReply(&line, at)
	case "mining.notify":
		w, err := l.run.jobs.parse(raw, line.Params)
		if err != nil {
			return fmt.Errorf("%w: mining.notify: %w", stratum.ErrProtocol, err)
		}
		l.takeWork(w, at)
	case "mining.set_difficulty":
		d, err := stratum.ParseDifficulty(line.Params)
		if err != nil {
			return fmt.Errorf("%w: %w", stratum.ErrProtocol, err)
		}
		l.mu.Lock()
		l.next.difficulty = d
		l.mu.Unlock()
	case "mining.set_extranonce":
		l.mu.Lock()
		e1, size, err := stratum.ParseExtranonce(line.Params, l.next.extranonce2Size)
		if err != nil {
			l.mu.Unlock()
			return fmt.Errorf("%w: mining.set_extranonce: %w", stratum.ErrProtocol, err)
		}
		l.next.extranonce1, l.next.extranonce2Size = e1, size
		l.changes++
		l.mu.Unlock()
	case "mining.set_version_mask":
		mask, err := stratum.ParseVersionMask(line.Params)
		if err != nil {
			return fmt.Errorf("%w: %w", stratum.ErrProtocol, err)
		}
		l.setMask(mask)
	case "mining.ping":
		return l.write(fmt.Appendf(nil, `{"id":%s,"result":"pong","error":null}`+"\n", orNull(line.ID)))
	case "client.get_version":
		return l.write(fmt.Appendf(nil, `{"id":%s,"result":%s,"error":null}`+"\n", orNull(line.ID), quote(l.run.opts.UserAgent)))
	case "client.reconnect":
		return stratum.ErrReconnect
	}
	return nil
}

func orNull(id []byte) []byte {
	if id == nil {
		return []byte("null")
	}
	return id
}

func (l *link) setMask(mask uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.run.opts.NoVersionRolling {
		return
	}
	if mask &= stratum.DefaultVersionMask; mask != l.mask {
		l.mask = mask
		l.changes++
	}
}

// takeWork takes a job that came at a time.
func (l *link) takeWork(w *work, at int64) {
	l.mu.Lock()
	old := l.work
	again := old != nil && old.job.ID == w.job.ID && old.job.PrevBlock == w.job.PrevBlock
	newBlock := old != nil && old.job.PrevBlock != w.job.PrevBlock
	clean := w.job.Clean || newBlock
	l.work, l.space = w, l.next
	var explained []doubtful
	if clean && !again {
		l.epoch.Add(1)
		explained, l.doubts = l.doubts, nil
	}
	after := l.broadcast
	l.mu.Unlock()

	l.run.notifications.Add(1)
	for _, d := range explained {
		r := expected
		if d.due(at, l.run.opts.Grace) {
			r = falseReject
		}
		l.run.shares.reject(d.share, d.err, r)
	}
	switch {
	case old == nil:
		after = l.run.broadcasts.joined(w.job)
		_ = l.socket.SetDeadline(time.Time{}) // the login is over; an error shows at the next read
		l.ready(at)
	case clean && !again:
		after = l.run.broadcasts.arrive(after, w.job, newBlock, at, int(l.run.mining.Load()))
	default:
		return
	}
	l.mu.Lock()
	l.broadcast = after
	l.mu.Unlock()
}

// takeReply takes the reply to a login's step or to a share.
func (l *link) takeReply(line *stratum.Line, at int64) error {
	id, ok := line.RequestID()
	if !ok {
		return nil
	}
	refusal := line.Refusal()
	switch id {
	case configureID:
		if refusal == nil {
			l.setMask(stratum.ParseConfigured(line.Result))
		}
		return nil
	case subscribeID:
		if refusal != nil {
			return fmt.Errorf("%w mining.subscribe: %w", errRefused, refusal)
		}
		sub, err := stratum.ParseSubscription(line.Result)
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.next.extranonce1, l.next.extranonce2Size = sub.Extranonce1, sub.Extranonce2Size
		l.mu.Unlock()
		return l.write(l.run.login.authorize)
	case authorizeID:
		if refusal != nil {
			return fmt.Errorf("%w user and password: %w", errRefused, refusal)
		}
		l.run.loggedIn.record(time.Duration(at - l.opened))
		l.mu.Lock()
		l.authorized = true
		l.mu.Unlock()
		return nil
	}
	if id < firstShareID {
		return nil
	}
	l.mu.Lock()
	i := slices.IndexFunc(l.waiting, func(s *sentShare) bool { return s.id == id })
	if i < 0 {
		l.mu.Unlock()
		return nil // it was too late
	}
	share := l.waiting[i]
	l.waiting = slices.Delete(l.waiting, i, i+1)
	verdict := expected
	if refusal != nil {
		verdict = judge(kindOf(refusal), l.epoch.Load() != share.epoch, l.changes != share.changes)
		if verdict == wait {
			l.doubts = append(l.doubts, doubtful{share, refusal, at})
		}
	}
	l.mu.Unlock()

	l.run.answered(time.Duration(at - share.sent))
	switch {
	case refusal == nil:
		l.run.shares.accepted.Add(1)
	case verdict != wait:
		l.run.shares.reject(share, refusal, verdict)
	}
	return nil
}

// task is what a share is solved for.
type task struct {
	link    *link
	work    *work
	space   space
	mask    uint32
	epoch   uint64
	changes uint64
}

// task is the miner's work now; false: it has none.
func (l *link) task() (task, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.work == nil || l.closed || !l.authorized || len(l.waiting) >= maxWaiting {
		return task{}, false
	}
	return task{l, l.work, l.space, l.mask, l.epoch.Load(), l.changes}, true
}

// submit sends a share, unless the miner has come to know meanwhile that it is
// worth nothing.
func (l *link) submit(t *task, share stratum.Share, header [80]byte, hash chainhash.Hash) {
	l.writing.Lock()
	defer l.writing.Unlock()
	counts := &l.run.shares
	l.mu.Lock()
	if l.closed || l.epoch.Load() != t.epoch || l.changes != t.changes {
		l.mu.Unlock()
		counts.outdated.Add(1)
		return
	}
	l.lastID++
	id := l.lastID
	sent := unixNow()
	l.waiting = append(l.waiting, &sentShare{
		id: id, sent: sent, epoch: t.epoch, changes: t.changes, share: share,
		difficulty: t.space.difficulty, extranonce1: t.space.extranonce1, header: header, hash: hash,
	})
	l.mu.Unlock()
	counts.submitted.Add(1)
	if t.work.network.MetBy(&hash) {
		l.run.broadcasts.found(hash, sent)
	}
	line := stratum.AppendSubmit(make([]byte, 0, 160), id, &share)
	if l.parts {
		first := line[:1+rand.N(len(line)-1)]
		line = line[len(first):]
		_ = l.writeLocked(first) // the second one fails, too
	}
	if err := l.writeLocked(line); err != nil {
		l.socket.Close() // the reader finds out
	}
}

func (l *link) write(b []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.writeLocked(b)
}

func (l *link) writeLocked(b []byte) error {
	if err := l.socket.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := l.socket.Write(b)
	return err
}

// review looks for shares that were not answered, and for refusals that nothing has
// explained.
func (l *link) review(now int64) {
	l.mu.Lock()
	var late, unexplained int
	for late < len(l.waiting) && now-l.waiting[late].sent > int64(replyTimeout) {
		late++
	}
	for unexplained < len(l.doubts) && l.doubts[unexplained].due(now, l.run.opts.Grace) {
		unexplained++
	}
	if late == 0 && unexplained == 0 {
		l.mu.Unlock()
		return
	}
	doubts := slices.Clone(l.doubts[:unexplained])
	l.waiting = slices.Delete(l.waiting, 0, late)
	l.doubts = slices.Delete(l.doubts, 0, unexplained)
	l.mu.Unlock()
	l.run.shares.unanswered.Add(int64(late))
	for _, d := range doubts {
		l.run.shares.reject(d.share, d.err, falseReject)
	}
}

// pending is the number of shares without a final verdict.
func (l *link) pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) + len(l.doubts)
}

// end closes the connection for good. Shares without a verdict are lost with
// it; wasMining tells whether it had got a job.
func (l *link) end() (wasMining bool) {
	l.socket.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.run.shares.lost.Add(int64(len(l.waiting)))
	l.run.shares.undecided.Add(int64(len(l.doubts)))
	l.waiting, l.doubts = nil, nil
	return l.work != nil
}
