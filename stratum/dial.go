package stratum

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ClientOptions configure a Client or a Session.
type ClientOptions struct {
	// URL is stratum+tcp://host:port or stratum+tls://host:port.
	URL            string
	User, Password string
	UserAgent      string // "": lode
	// VersionMask is asked for with mining.configure; 0: DefaultVersionMask.
	VersionMask uint32
	// NoVersionRolling leaves mining.configure out.
	NoVersionRolling bool
	// SuggestDifficulty is sent after authorize; 0: not.
	SuggestDifficulty Difficulty
	// SubscribeExtranonce asks for mining.set_extranonce instead of a disconnect
	// where the pool must change the search space. It is handled without, too.
	SubscribeExtranonce bool
	// Resume is the SessionID of an earlier Session whose extranonce1 is asked for
	// again. A Client fills it in by itself.
	Resume string
	// CA are PEM certificates to trust for stratum+tls; nil: the system's.
	CA     []byte
	Logger *slog.Logger // nil: no log
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	// Timeout bounds dialing and each reply; 0: 30 s. Silence is how long the pool
	// may send nothing; 0: 120 s.
	Timeout, Silence time.Duration
	// MaxClockSkew is how far a job's time may be from this machine's clock; 0:
	// 2 h, negative: any.
	MaxClockSkew time.Duration
	// FirstJobTimeout is how long the pool may take from authorize to the first
	// job in Dial; 0: Dial does not wait for a job.
	FirstJobTimeout time.Duration
	// OnMessage gets the pool's client.show_message, without control characters and
	// at most 512 bytes, ten a minute at most; nil: it is logged. OnState gets the changes of a
	// Client's connection. Neither may block.
	OnMessage func(text string)
	OnState   func(ConnState)
}

func (o *ClientOptions) setDefaults() {
	set(&o.UserAgent, "lode")
	set(&o.VersionMask, DefaultVersionMask)
	set(&o.Timeout, 30*time.Second)
	set(&o.Silence, 120*time.Second)
	set(&o.MaxClockSkew, 2*time.Hour)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dialer == nil {
		o.Dialer = (&net.Dialer{}).DialContext
	}
}

// Dial connects to a pool once: it asks for version rolling, subscribes and
// authorizes. ctx bounds that only; the session lives until Close or an error.
//
// A pool that drops the connection on mining.configure, or says nothing any more, that
// drops it on a session id, or (if a first job is waited for) on mining.extranonce.subscribe
// or mining.suggest_difficulty is tried once more without.
func Dial(ctx context.Context, opts ClientOptions) (*Session, error) {
	return dial(ctx, opts, owner{latest: newLatest(), generation: 1, enter: func(*Session) {}})
}

// owner is what a session belongs to.
type owner struct {
	latest     *latest
	generation uint64
	enter      func(*Session) // called before the first assignment is handed over
}

func dial(ctx context.Context, opts ClientOptions, o owner) (*Session, error) {
	opts.setDefaults()
	s, at, err := dialOnce(ctx, opts, o)
	if err != nil && at == subscribing && opts.Resume != "" && !errors.Is(err, ErrReconnect) && ctx.Err() == nil {
		// A pool that was restarted may take offence at the id of a session before that.
		opts.Logger.Info("pool does not resume the session; subscribing anew", "pool", opts.URL, "error", err)
		opts.Resume = ""
		s, at, err = dialOnce(ctx, opts, o)
	}
	if err != nil && at == subscribing && !opts.NoVersionRolling && (isDrop(err) || errors.Is(err, ErrSilent)) && ctx.Err() == nil {
		opts.Logger.Info("pool drops the connection at mining.configure, or says nothing; trying without", "pool", opts.URL)
		opts.NoVersionRolling = true
		s, at, err = dialOnce(ctx, opts, o)
	}
	if err != nil && at == authorized && isDrop(err) && ctx.Err() == nil && opts.askNothing() {
		opts.Logger.Info("pool drops the connection before a first job; trying without mining.extranonce.subscribe and mining.suggest_difficulty", "pool", opts.URL)
		s, _, err = dialOnce(ctx, opts, o)
	}
	return s, err
}

// Follow takes the address that a pool has asked to be connected to at, if that is what ended a
// session or Dial, and says how long the pool wishes not to be bothered; ok: it has asked for
// one of the two.
func (o *ClientOptions) Follow(err error) (wait time.Duration, ok bool) {
	wish := new(reconnect)
	if !errors.As(err, &wish) {
		return 0, false
	}
	if scheme, _, found := strings.Cut(o.URL, "://"); found && wish.to != "" {
		o.URL = scheme + "://" + wish.to
	}
	return wish.wait, wish.to != "" || wish.wait > 0
}

// askNothing leaves out what a pool need not know after the login; changed: there was something.
func (o *ClientOptions) askNothing() (changed bool) {
	changed = o.SubscribeExtranonce || o.SuggestDifficulty.Valid()
	o.SubscribeExtranonce, o.SuggestDifficulty = false, 0
	return changed
}

// isDrop reports whether err is what a pool's closing of the connection looks like.
func isDrop(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || errors.As(err, &op) && op.Op != "dial"
}

// ParseURL checks the URL of a pool. The address is host:port, secure whether to
// speak TLS.
func ParseURL(raw string) (addr string, secure bool, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", false, fmt.Errorf("pool URL: %w", err)
	}
	switch u.Scheme {
	case "stratum+tcp", "tcp", "stratum":
	case "stratum+tls", "stratum+ssl", "stratum+tcps", "tls", "ssl":
		secure = true
	default:
		return "", false, fmt.Errorf("pool URL %q: want stratum+tcp://host:port or stratum+tls://host:port", u.Redacted())
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if u.Hostname() == "" || err != nil || port == 0 || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return "", false, fmt.Errorf("pool URL %q: want %s://host:port", u.Redacted(), u.Scheme)
	}
	return net.JoinHostPort(u.Hostname(), u.Port()), secure, nil
}

// stage is how far a handshake went.
type stage int

const (
	connecting  stage = iota
	subscribing       // connected, no reply to mining.subscribe yet
	authorizing
	authorized
)

// dialOnce makes one connection. at tells when an error came.
func dialOnce(ctx context.Context, opts ClientOptions, o owner) (_ *Session, at stage, err error) {
	addr, secure, err := ParseURL(opts.URL)
	if err != nil {
		return nil, connecting, err
	}
	fail := func(err error) error { return fmt.Errorf("pool %s: %w", opts.URL, err) }
	dialCtx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	conn, err := opts.Dialer(dialCtx, "tcp", addr)
	if err != nil {
		return nil, connecting, fail(err)
	}
	if secure {
		if conn, err = startTLS(dialCtx, conn, addr, opts.CA); err != nil {
			return nil, connecting, fail(err)
		}
	}
	s := newSession(conn, opts, o)
	at, err = s.handshake(ctx)
	if err != nil {
		s.end(err)
		s.wg.Wait()
		return nil, at, fail(err)
	}
	return s, at, nil
}

// explainTLS says what to do about a failed handshake.
func explainTLS(err error) error {
	if record := (tls.RecordHeaderError{}); errors.As(err, &record) {
		return fmt.Errorf("it does not speak TLS: write stratum+tcp:// in its address: %w", err)
	}
	if fault, ok := CertificateFault(err, "the pool's CA"); ok {
		return fmt.Errorf("%s: %w", fault, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("it ends the connection in the TLS handshake: if it does not speak TLS, write stratum+tcp:// in its address: %w", err)
	}
	return fmt.Errorf("TLS handshake: %w", err)
}

func startTLS(ctx context.Context, conn net.Conn, addr string, ca []byte) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if ca != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			conn.Close()
			return nil, errors.New("no PEM certificate in the CA file")
		}
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, explainTLS(err)
	}
	return secure, nil
}
