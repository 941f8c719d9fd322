// Package zookeeper is what Lode asks ZooKeeper: which Mesos master leads, which of
// several schedulers leads, and to keep the state of the one that does.
//
//	u, err := zookeeper.Parse("zk://user:password@h1:2181,h2:2181/mesos")
//	m := zookeeper.NewMasters(u, log)
//	defer m.Close()
//	urls, changed, err := m.Find(ctx)
//
// Masters finds out what Mesos' own detector does. Election makes one of several
// processes the leader for a Term, and a Log takes records of the leader only: each
// write is conditional on the number of the term being the newest one, so that a
// process that was stopped, or cut off, and believes that it leads can change nothing.
//
// The library waits for a connection for ever; here every wait has a bound.
package zookeeper

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// Scheme begins the URLs of ZooKeeper.
const Scheme = "zk://"

// URL names a place in ZooKeeper.
type URL struct {
	Servers        []string // host:port
	User, Password string   // of ZooKeeper's digest authentication; User "": none
	Path           string   // begins with a slash and does not end with one
}

// Parse reads zk://[user:password@]host[:port][,host[:port]…]/path, as Mesos has it.
// Its errors do not tell the password.
func Parse(s string) (URL, error) {
	bad := func(why string) (URL, error) {
		return URL{}, fmt.Errorf("%q %s; expected zk://[user:password@]host:port,host:port/path", redact(s), why)
	}
	rest, ok := strings.CutPrefix(s, Scheme)
	if !ok {
		return bad("does not begin with zk://")
	}
	var u URL
	hosts, path, ok := strings.Cut(rest, "/")
	if i := strings.LastIndex(rest, "@"); i >= 0 { // a password may hold slashes
		var credentials string
		credentials, rest = rest[:i], rest[i+1:]
		if u.User, u.Password, ok = strings.Cut(credentials, ":"); !ok || u.User == "" {
			return bad("has credentials that are not user:password")
		}
		hosts, path, ok = strings.Cut(rest, "/")
	}
	path = strings.TrimRight(path, "/")
	if !ok || path == "" {
		return bad("has no path")
	}
	if strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.ContainsAny(path, " \t\r\n?#\x00") {
		return bad("has a path that ZooKeeper does not take")
	}
	u.Path = "/" + path
	for _, server := range strings.Split(hosts, ",") {
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			host, port = strings.Trim(server, "[]"), "2181"
		}
		if host == "" || port == "" || strings.ContainsAny(host, " \t@[]") {
			return bad(fmt.Sprintf("has the server %q", server))
		}
		u.Servers = append(u.Servers, net.JoinHostPort(host, port))
	}
	return u, nil
}

func redact(s string) string {
	if i := strings.LastIndex(s, "@"); i >= 0 {
		return Scheme + "…" + s[i:]
	}
	return s
}

// String is the URL without its password.
func (u URL) String() string {
	user := ""
	if u.User != "" {
		user = u.User + ":…@"
	}
	return Scheme + user + strings.Join(u.Servers, ",") + u.Path
}

const (
	// sessionTimeout is what Mesos uses, too: after it ZooKeeper counts a silent client
	// as dead.
	sessionTimeout = 10 * time.Second
	// answerTimeout is how long an answer may take, connection included.
	answerTimeout = 10 * time.Second
	// maxAnswer bounds an answer of a server, in bytes.
	maxAnswer = 16 << 20
)

// session is a connection that renews itself. One that has failed for long is replaced
// as a whole, for the library looks names up only once.
type session struct {
	url URL
	log *slog.Logger

	mu    sync.Mutex
	conn  *zk.Conn // nil: there is none
	known *zk.Conn // that knows the password
	bad   int      // questions in a row without an answer
}

// get returns the connection, which may not be up yet.
func (s *session) get() (*zk.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return s.conn, nil
	}
	conn, err := connect(s.url, sessionTimeout, s.log, func(zk.Event) {})
	if err != nil {
		return nil, err
	}
	s.conn = conn
	return conn, nil
}

// authenticate tells the password, once: the library remembers it.
func (s *session) authenticate(conn *zk.Conn) error {
	s.mu.Lock()
	known := s.known == conn
	s.mu.Unlock()
	if s.url.User == "" || known {
		return nil
	}
	if err := conn.AddAuth("digest", []byte(s.url.User+":"+s.url.Password)); err != nil {
		return err
	}
	s.mu.Lock()
	s.known = conn
	s.mu.Unlock()
	return nil
}

// drop ends a connection that is of no use.
func (s *session) drop(conn *zk.Conn) {
	s.mu.Lock()
	if s.conn == conn {
		s.conn = nil
	}
	s.mu.Unlock()
	conn.Close()
}

func (s *session) close() {
	s.mu.Lock()
	conn := s.conn
	s.conn = nil
	s.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}

// explain makes an error of the library one that helps.
func (u URL) explain(err error) error {
	if errors.Is(err, zk.ErrNoAuth) || errors.Is(err, zk.ErrAuthFailed) {
		return fmt.Errorf("ZooKeeper %s refuses: %w; user and password belong into the URL, zk://user:password@…", u, err)
	}
	return fmt.Errorf("ZooKeeper %s: %w", u, err)
}

// logger hands what the library says to slog.
type logger struct{ log *slog.Logger }

// Printf implements zk.Logger.
func (l logger) Printf(format string, args ...any) {
	l.log.Debug("ZooKeeper client", "message", fmt.Sprintf(format, args...))
}
