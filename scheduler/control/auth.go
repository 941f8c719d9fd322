package control

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// Role is what a caller may do.
type Role int

// Roles; each may what the ones before it may.
const (
	Nobody Role = iota
	Read
	Operate
)

func (r Role) String() string { return [...]string{"nobody", "read", "operate"}[r] }

// Tokens are the bearer tokens of a file, a line each: a role (read or operate), a
// name for the log, and the token, at least 16 characters without spaces. Lines that
// begin with # are comments. The file is read again when it changes.
type Tokens struct {
	file  string
	fault func(error)

	mu      sync.Mutex // guards the rest
	list    []token
	info    os.FileInfo // of the file as it was read, or tried to be; nil: it was gone
	checked time.Time
}

type token struct {
	sum  [sha256.Size]byte
	role Role
	name string
}

const leastToken = 16

// OpenTokens reads the file; fault is told when a later version of it cannot be used.
func OpenTokens(file string, fault func(error)) (*Tokens, error) {
	t := &Tokens{file: file, fault: fault}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if t.list, err = readTokens(file, info); err != nil {
		return nil, err
	}
	t.info = info
	return t, nil
}

func readTokens(file string, info os.FileInfo) ([]token, error) {
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it", file, info.Mode().Perm())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []token
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s, line %d: want a role, a name and a token", file, n)
		}
		t := token{name: fields[1], sum: sha256.Sum256([]byte(fields[2]))}
		switch fields[0] {
		case "read":
			t.role = Read
		case "operate":
			t.role = Operate
		default:
			return nil, fmt.Errorf("%s, line %d: the role is %q, want read or operate", file, n, fields[0])
		}
		if len(fields[2]) < leastToken {
			return nil, fmt.Errorf("%s, line %d: the token of %s has %d characters, want %d or more", file, n, t.name, len(fields[2]), leastToken)
		}
		list = append(list, t)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s holds no token", file)
	}
	return list, nil
}

// lookup returns role and name of who has the token.
func (t *Tokens) lookup(text string) (Role, string) {
	sum := sha256.Sum256([]byte(text))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reload()
	role, name := Nobody, ""
	for _, k := range t.list { // all of them, in whatever order
		if subtle.ConstantTimeCompare(sum[:], k.sum[:]) == 1 {
			role, name = k.role, k.name
		}
	}
	return role, name
}

// reload takes over a file that has changed, if it is a good one.
func (t *Tokens) reload() {
	if time.Since(t.checked) < time.Second {
		return
	}
	t.checked = time.Now()
	info, err := os.Stat(t.file)
	if err != nil {
		info = nil
	}
	if sameFile(info, t.info) {
		return
	}
	t.info = info
	var list []token
	if err == nil {
		list, err = readTokens(t.file, info)
	}
	if err != nil {
		t.fault(fmt.Errorf("the former tokens stay in force: %w", err))
		return
	}
	t.list = list
}

// sameFile says that nothing was done to a file; nil: there is none.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}

// Auth decides who may do what.
type Auth struct {
	// Tokens, if there are any, are asked of everybody who is not on this machine.
	// nil: others may read.
	Tokens *Tokens
	// ClientCertificates are asked of everybody who is not on this machine; the
	// connection has verified them.
	ClientCertificates bool
}

var (
	errNoToken     = errors.New("a token is needed: Authorization: Bearer …")
	errBadToken    = errors.New("the token is not known")
	errCertificate = errors.New("a client certificate is needed")
)

// identify returns the role and the name of who sent a request. An error says why he
// is nobody.
func (a *Auth) identify(r *http.Request) (Role, string, error) {
	here := fromThisMachine(r)
	text, hasToken := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if a.ClientCertificates && !here && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return Nobody, "", errCertificate
	}
	subject := ""
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		subject = r.TLS.VerifiedChains[0][0].Subject.CommonName
	}
	switch {
	case hasToken && a.Tokens != nil:
		role, name := a.Tokens.lookup(strings.TrimSpace(text))
		if role == Nobody {
			return Nobody, "", errBadToken
		}
		return role, name, nil
	case here:
		return Operate, "somebody on this machine", nil
	case a.Tokens != nil:
		return Nobody, "", errNoToken
	case a.ClientCertificates:
		return Operate, subject, nil
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return Read, host, nil
}

// fromThisMachine says that a request comes from a program on this machine, and from
// no browser that shows somebody else's page: that one would send the page's origin,
// or ask for this machine under another name (DNS rebinding), and a proxy says for
// whom it asks.
func fromThisMachine(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() {
		return false
	}
	if r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" || r.Header.Get("Via") != "" {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" {
		return true
	}
	_, err = netip.ParseAddr(host)
	return err == nil
}
