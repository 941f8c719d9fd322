package stratum

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// readProxyHeader takes the PROXY protocol header of connections that come from
// ServerOptions.ProxyFrom, and makes the address in it the miner's.
func (c *Conn) readProxyHeader() error {
	from := c.remote
	conn := proxyproto.NewConn(c.base,
		proxyproto.WithPolicy(proxyproto.REQUIRE),
		proxyproto.SetReadHeaderTimeout(c.server.opts.handshakeTime(10*time.Second)))
	// The first access reads the header; a wrong one shows when reading.
	remote := conn.RemoteAddr()
	if _, err := conn.Read(nil); err != nil {
		return fmt.Errorf("read PROXY header from %v: %w", from, err)
	}
	c.conn, c.remote = conn, remote
	return nil
}

// behindBalancer reports whether the connection comes from one of ProxyFrom.
func (s *Server) behindBalancer(c *Conn) bool {
	from, ok := c.remote.(*net.TCPAddr)
	return ok && contains(s.opts.ProxyFrom, from.AddrPort().Addr().Unmap())
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// handshakeTime is the time for a part of the handshake.
func (l *Limits) handshakeTime(most time.Duration) time.Duration {
	if l.Handshake <= 0 {
		return most
	}
	return min(l.Handshake, most)
}
