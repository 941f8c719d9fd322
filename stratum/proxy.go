package stratum

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// readProxyHeader takes the PROXY protocol header of connections that come from
// ServerOptions.ProxyFrom, and makes the address in it the miner's.
func (c *Conn) readProxyHeader() error {
	from, ok := c.remote.(*net.TCPAddr)
	if !ok || !contains(c.server.opts.ProxyFrom, from.AddrPort().Addr().Unmap()) {
		return nil
	}
	conn := proxyproto.NewConn(c.base,
		proxyproto.WithPolicy(proxyproto.REQUIRE),
		proxyproto.SetReadHeaderTimeout(min(c.server.opts.HandshakeTimeout, 10*time.Second)))
	// The first access reads the header; a wrong one shows when reading.
	remote := conn.RemoteAddr()
	if _, err := conn.Read(nil); err != nil {
		return fmt.Errorf("read PROXY header from %v: %w", from, err)
	}
	c.conn, c.remote = conn, remote
	return nil
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// handshakeTLS begins TLS on the connection.
func (c *Conn) handshakeTLS(config *tls.Config) error {
	conn := tls.Server(c.conn, config)
	conn.SetDeadline(time.Now().Add(c.server.opts.HandshakeTimeout))
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	conn.SetDeadline(time.Time{})
	c.conn = conn
	return nil
}
