package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// perAddress is how many connections one source address has: a pool bounds them.
	perAddress = 500
	// attackersPerAddress is the same for attackers: they come from many.
	attackersPerAddress = 50
	// loginTimeout bounds the way from the first packet to the first job.
	loginTimeout = 30 * time.Second
)

// What the connections of a run are, to keep their source addresses apart: a pool
// that bans an address for garbage must not meet the miners.
const (
	miners = iota
	slowReaders
	garbage
	firstAttack // and so on, one for each
)

// source is the address that connection i of a kind comes from. Where the pool is
// on this machine the whole of 127.0.0.0/8 is; else it is the system's choice.
func source(target netip.Addr, kind, i int) net.Addr {
	if !target.Is4() || !target.IsLoopback() || runtime.GOOS != "linux" {
		return nil
	}
	group := i / perAddress
	if kind >= firstAttack {
		group = i / attackersPerAddress
	}
	return &net.TCPAddr{IP: net.IPv4(127, byte(kind), byte(group/254), byte(group%254+1))}
}

// dialer connects to the pool.
type dialer struct {
	target netip.AddrPort
	tls    *tls.Config // nil: plain
}

func newDialer(target netip.AddrPort, host string, secure bool, ca []byte) (*dialer, error) {
	d := &dialer{target: target}
	if !secure {
		return d, nil
	}
	d.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if ca != nil {
		d.tls.RootCAs = x509.NewCertPool()
		if !d.tls.RootCAs.AppendCertsFromPEM(ca) {
			return nil, &OptionError{"CA", "there is no PEM certificate in the CA file"}
		}
	}
	return d, nil
}

// connect makes a connection, with TLS if that is spoken.
func (d *dialer) connect(ctx context.Context, kind, i int) (net.Conn, error) {
	conn, err := d.plain(ctx, kind, i)
	if err != nil || d.tls == nil {
		return conn, err
	}
	secure := tls.Client(conn, d.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secure, nil
}

// handshake begins TLS on a connection.
func (d *dialer) handshake(ctx context.Context, conn net.Conn) error {
	return tls.Client(conn, d.tls).HandshakeContext(ctx)
}

// plain makes a TCP connection that is cut, not closed in order, at its end: thousands
// of ports would otherwise stay taken for a minute.
func (d *dialer) plain(ctx context.Context, kind, i int) (net.Conn, error) {
	dialer := net.Dialer{Timeout: loginTimeout, LocalAddr: source(d.target.Addr(), kind, i)}
	conn, err := dialer.DialContext(ctx, "tcp", d.target.String())
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
		if kind == slowReaders {
			_ = tcp.SetReadBuffer(4096)
		}
	}
	return conn, nil
}

// reason is an error of the network as a table of errors lists it: without addresses.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, io.EOF):
		return "closed by the pool"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &errno):
		return errno.Error()
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Sprintf("%.120s", text)
}
