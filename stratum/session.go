package stratum

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Assignment is a job together with what is needed to search it.
type Assignment struct {
	Job             *Job  // nil: there is nothing to search
	Why             error // there is nothing
	Extranonce1     []byte
	Extranonce2Size int
	Difficulty      Difficulty
	// VersionMask is the version bits that may be set in a share; they are zero in
	// the job's version. 0: no version rolling.
	VersionMask uint32
	// Generation counts connections; Client.Submit refuses shares of an older one
	// unless the pool has given the same search space again.
	Generation uint64
	// fixed are the granted version bits that the job has set itself: see freeBits.
	fixed uint32
}

// What Submit and Dial fail with, beside a refusal (*Error) and network errors.
var (
	// ErrUnauthorized wraps the pool's refusal of user and password.
	ErrUnauthorized = errors.New("pool refuses user and password")
	// ErrProtocol wraps whatever the pool sent that no honest pool sends.
	ErrProtocol = errors.New("pool breaks the protocol")
	// ErrSilent: the pool has sent nothing, or not replied, for too long.
	ErrSilent = errors.New("pool is silent")
	// ErrDisconnected: there is no connection, or not any more the one that the
	// share belongs to.
	ErrDisconnected = errors.New("not connected to the pool")
	// ErrOtherSpace: the pool has given another search space since the share was
	// found, in which it is none.
	ErrOtherSpace = fmt.Errorf("%w that the share was found for", ErrDisconnected)
	// ErrBusy: more shares wait for the pool than are kept.
	ErrBusy = errors.New("too many shares wait for the pool")
	// ErrUnanswered: the pool has said nothing to a share, but has to later ones.
	ErrUnanswered = errors.New("the pool has not answered the share")
	// ErrReconnect: the pool asked to be connected to again (client.reconnect): see
	// ClientOptions.Follow.
	ErrReconnect = errors.New("pool asks to reconnect")
)

// reconnect is ErrReconnect with what the pool wishes.
type reconnect struct {
	to   string // host:port, of the same host; "": the same
	wait time.Duration
}

func (*reconnect) Error() string { return ErrReconnect.Error() }
func (*reconnect) Unwrap() error { return ErrReconnect }

// Session is one connection to a pool, subscribed and authorized.
type Session struct {
	owner

	opts   ClientOptions
	conn   net.Conn
	log    *slog.Logger
	out    chan []byte
	ctx    context.Context // ends with the session
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	since  time.Time
	heard  atomic.Int64 // time from since to the last line that makes sense, or is empty

	mu      sync.Mutex // guards what follows
	nextID  uint64
	pending []*pending // in the order sent
	// lastAnswered is the id of the last share that has its answer.
	lastAnswered uint64
	sessionID    string
	dialed       bool // subscribed and authorized: assignments are published
	published    *Job // handed over last; nil: nothing, or it was withdrawn

	current Assignment // Job nil: none yet
	// What the next job comes with.
	extranonce1     []byte
	extranonce2Size int
	difficulty      Difficulty // 0: none that can be mined at
	told            bool       // the pool has said it
	granted         uint32     // version bits that the pool lets roll
	mask            uint32     // those of them that were asked for
	// fixedBits are the granted bits that a recent job's version has set. They are
	// not rolled, but stand in a share's version bits: that is what BIP 310 says.
	fixedBits map[string]uint32
	bareIDs   bool // the pool's job ids are numbers: it wants them back as such

	trouble error     // why the last job or difficulty cannot be used; nil: it can
	unused  time.Time // since when there was no job that can be used; zero: there was
	// withdrawn is when people were told last that there is nothing to mine.
	withdrawn time.Time

	// Of the writer alone:
	unanswered int       // shares that were given up since
	warned     time.Time // when people were told of such last

	// Of the reader alone:
	nonsense   int       // lines in a row that make no sense
	garbled    error     // what is wrong with the last of them
	complained time.Time // when people were warned last
	flow       *rate.Limiter
	answered   bool // the last line was a reply that was waited for
	// messages is how many for people came since messagesFrom.
	messages     int
	messagesFrom time.Time
}

// pending is a request without its reply.
type pending struct {
	id     uint64
	method string
	sent   time.Time
	done   func(result []byte, err error)
}

const (
	// queueSize is how many shares may wait to be written.
	queueSize = 1024
	// maxPending is how many requests may wait for their replies.
	maxPending = 4096
)

func newSession(conn net.Conn, opts ClientOptions, o owner) *Session {
	s := &Session{
		opts: opts, conn: conn, log: opts.Logger.With("pool", opts.URL), owner: o,
		out: make(chan []byte, queueSize), difficulty: 1, since: time.Now(), fixedBits: map[string]uint32{},
		flow: rate.NewLimiter(flowRate, flowBurst),
	}
	s.current.Generation = o.generation
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.wg.Go(s.read)
	s.wg.Go(s.write)
	return s
}

// Assignments is the newest work. A slow reader misses older work; a Clean that
// it missed is set in the job that it gets. The channel is not closed: see Done.
func (s *Session) Assignments() <-chan Assignment { return s.latest.c }

// Current is the newest assignment; its Job is nil before the first.
func (s *Session) Current() Assignment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Done is closed when the session has ended; Err is then why.
func (s *Session) Done() <-chan struct{} { return s.ctx.Done() }

// Err is why the session has ended; nil while it lives.
func (s *Session) Err() error { return context.Cause(s.ctx) }

// SessionID can be resumed with ClientOptions.Resume.
func (s *Session) SessionID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessionID
}

// Quiet is for how long the pool has sent nothing.
func (s *Session) Quiet() time.Duration { return time.Since(s.since) - time.Duration(s.heard.Load()) }

// Ping asks the pool for a sign of life (mining.ping). Not all pools know that.
func (s *Session) Ping() { _ = s.request("mining.ping", []byte("[]"), func([]byte, error) {}) }

// Close ends the session and waits for its goroutines. Shares that are under way
// fail with ErrDisconnected.
func (s *Session) Close() {
	s.end(ErrDisconnected)
	s.wg.Wait()
}

// end is called with the first reason that the session has to end.
func (s *Session) end(err error) {
	s.mu.Lock()
	if s.ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	s.cancel(err)
	lost := s.pending
	s.pending = nil
	s.mu.Unlock()
	s.conn.Close()
	for _, p := range lost {
		p.done(nil, fmt.Errorf("%w: %w", ErrDisconnected, err))
	}
}

// handshake subscribes and authorizes. mining.configure goes ahead without
// waiting: pools that ignore it answer the rest, and a late answer still counts.
// at tells when an error came.
func (s *Session) handshake(ctx context.Context) (at stage, err error) {
	if !s.opts.NoVersionRolling {
		if err := s.request("mining.configure", s.configureParams(), s.configured); err != nil {
			return subscribing, err
		}
	}
	params := appendString([]byte{'['}, s.opts.UserAgent)
	if s.opts.Resume != "" {
		params = appendString(append(params, ','), s.opts.Resume)
	}
	if err := s.call(ctx, "mining.subscribe", append(params, ']'), s.subscribed); err != nil {
		return subscribing, fmt.Errorf("mining.subscribe: %w", err)
	}
	params = appendString([]byte{'['}, s.opts.User)
	params = append(appendString(append(params, ','), s.opts.Password), ']')
	if err := s.call(ctx, "mining.authorize", params, notFalse); err != nil {
		if e := new(Error); errors.As(err, &e) {
			return authorizing, fmt.Errorf("%w %q: %w", ErrUnauthorized, s.opts.User, err)
		}
		return authorizing, fmt.Errorf("mining.authorize: %w", err)
	}
	ignore := func([]byte, error) {}
	if s.opts.SubscribeExtranonce {
		_ = s.request("mining.extranonce.subscribe", []byte("[]"), ignore)
	}
	if s.opts.SuggestDifficulty.Valid() {
		params := append(appendDifficulty([]byte{'['}, s.opts.SuggestDifficulty), ']')
		_ = s.request("mining.suggest_difficulty", params, ignore)
	}
	s.enter(s)
	s.mu.Lock()
	s.dialed = true
	if s.current.Job != nil && !s.current.Difficulty.Valid() {
		s.withdraw() // what came before cannot be mined on
	}
	s.publish()
	s.mu.Unlock()
	return authorized, s.awaitJob(ctx)
}

// awaitJob waits for a first job if that is asked for.
func (s *Session) awaitJob(ctx context.Context) error {
	if s.opts.FirstJobTimeout <= 0 {
		return nil
	}
	timeout := time.NewTimer(s.opts.FirstJobTimeout)
	defer timeout.Stop()
	select {
	case a := <-s.latest.c:
		s.latest.restore(a)
		return nil
	case <-timeout.C:
		s.mu.Lock()
		trouble := s.trouble
		s.mu.Unlock()
		if trouble != nil {
			return fmt.Errorf("%w: no job that can be used within %v of authorize: %w", ErrSilent, s.opts.FirstJobTimeout, trouble)
		}
		return fmt.Errorf("%w: no job within %v of authorize", ErrSilent, s.opts.FirstJobTimeout)
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return s.Err()
	}
}

func (s *Session) configureParams() []byte {
	b := []byte(`[["version-rolling"`)
	if s.opts.SubscribeExtranonce {
		b = append(b, `,"subscribe-extranonce"`...)
	}
	b = append(b, `],{"version-rolling.mask":"`...)
	b = appendHex32(b, s.opts.VersionMask)
	b = append(b, `","version-rolling.min-bit-count":`...)
	b = strconv.AppendInt(b, int64(min(2, bits.OnesCount32(s.opts.VersionMask))), 10)
	return append(b, "}]"...)
}

// call sends a request and waits for its reply.
func (s *Session) call(ctx context.Context, method string, params []byte, take func(result []byte) error) error {
	reply := make(chan error, 1)
	err := s.request(method, params, func(result []byte, err error) {
		if err == nil {
			err = take(result)
		}
		reply <- err
	})
	if err != nil {
		return err
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// request queues a request. done is called once, by the session's reader or by
// whoever ends the session, and must not block.
func (s *Session) request(method string, params []byte, done func(result []byte, err error)) error {
	b := make([]byte, 0, 64+len(method)+len(params))
	b = append(b, `{"id":`...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrDisconnected, s.Err())
	}
	if len(s.pending) >= maxPending {
		return ErrBusy
	}
	s.nextID++
	b = strconv.AppendUint(b, s.nextID, 10)
	b = append(b, `,"method":"`...)
	b = append(b, method...)
	b = append(b, `","params":`...)
	b = append(b, params...)
	b = append(b, "}\n"...)
	select {
	case s.out <- b:
	default:
		return ErrBusy
	}
	s.pending = append(s.pending, &pending{s.nextID, method, time.Now(), done})
	return nil
}

// write is the goroutine that writes, several lines at once where they wait, and
// watches over the replies.
func (s *Session) write() {
	tick := time.NewTicker(min(time.Second, s.opts.Timeout))
	defer tick.Stop()
	var batch []byte
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			s.checkReplies()
			continue
		case line := <-s.out:
			batch = append(batch[:0], line...)
		}
		for more := true; more && len(batch) < 1<<14; {
			select {
			case line := <-s.out:
				batch = append(batch, line...)
			default:
				more = false
			}
		}
		s.conn.SetWriteDeadline(time.Now().Add(s.opts.Timeout))
		if _, err := s.conn.Write(batch); err != nil {
			s.end(fmt.Errorf("write: %w", err))
			return
		}
	}
}

// checkReplies gives up requests that have no reply for too long. That is the end of the
// session, but for what pools may ignore, and for a share if later ones had their replies:
// some say nothing to those that they do not want.
func (s *Session) checkReplies() {
	s.mu.Lock()
	s.waitOut()
	var late string
	var given []func() // up
	for late == "" && len(s.pending) > 0 && time.Since(s.pending[0].sent) > s.opts.Timeout {
		switch p := s.pending[0]; {
		case p.method == "mining.configure", p.method == "mining.suggest_difficulty", p.method == "mining.extranonce.subscribe", p.method == "mining.ping":
			// Many pools ignore these.
		case p.method == "mining.authorize" && s.current.Job != nil:
			given = append(given, func() {
				s.log.Warn("the pool gives work without a word to the login: it is taken for a yes")
				p.done(nil, nil)
			})
		case p.method == "mining.submit" && s.lastAnswered > p.id:
			s.unanswered++
			given = append(given, func() { p.done(nil, ErrUnanswered) })
		default:
			late = p.method
			continue
		}
		s.pending = s.pending[1:]
	}
	s.mu.Unlock()
	for _, done := range given {
		done()
	}
	if now := time.Now(); s.unanswered > 0 && now.Sub(s.warned) >= complaintPause {
		s.log.Warn("the pool has not answered shares, but later ones: they are given up", "shares", s.unanswered, "after", s.opts.Timeout)
		s.unanswered, s.warned = 0, now
	}
	if late != "" {
		s.end(fmt.Errorf("%w: no reply to %s within %v", ErrSilent, late, s.opts.Timeout))
	}
}

// A pool that floods is read more slowly than it may send: flowRate lines a second, after
// flowBurst at once, where replies to what it was asked do not count, and long lines do as
// many. What it sends then waits in its own socket.
const (
	flowRate     = 500
	flowBurst    = 4000
	bytesPerFlow = 4096
)

// maxClientLine bounds the lines that a pool may send.
const maxClientLine = 1 << 20

// isCut reports whether a line without its line feed is the beginning of a message: mended, it
// might say what nobody meant.
func isCut(line []byte) bool {
	line = trim(line)
	return len(line) > 0 && line[0] == '{' && line[len(line)-1] != '}'
}

// read is the goroutine that reads.
func (s *Session) read() {
	r := bufio.NewReaderSize(s.conn, 4096)
	var line []byte
	for {
		s.conn.SetReadDeadline(s.since.Add(time.Duration(s.heard.Load()) + s.opts.Silence))
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxClientLine {
			s.end(fmt.Errorf("%w: line of more than %d bytes", ErrProtocol, maxClientLine))
			return
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && len(bytes.TrimSpace(line)) > 0 && !isCut(line) {
			// Last words may lack their line feed: they say why it closes, perhaps.
			if err := s.handle(line); err != nil {
				s.end(err)
				return
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && s.nonsense == 0:
			s.end(fmt.Errorf("%w for %v", ErrSilent, s.opts.Silence))
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.end(fmt.Errorf("%w for %v, but for %d lines that make no sense: %w", ErrSilent, s.opts.Silence, s.nonsense, s.garbled))
			return
		case err != nil && s.nonsense > 0:
			s.end(fmt.Errorf("read: %w, after %d lines that make no sense (is this the address of a Stratum pool?)", err, s.nonsense))
			return
		case err != nil:
			s.end(fmt.Errorf("read: %w", err))
			return
		}
		s.answered = false
		nonsense := s.nonsense
		if len(trim(line)) > 0 {
			if err := s.handle(line); err != nil {
				s.end(err)
				return
			}
		}
		if s.nonsense <= nonsense { // an empty line is a sign of life, too
			s.heard.Store(int64(time.Since(s.since)))
		}
		if !s.answered {
			// It ends with the session alone, which the next read tells.
			_ = s.flow.WaitN(s.ctx, min(1+len(line)/bytesPerFlow, flowBurst))
		}
		line = line[:0]
	}
}
