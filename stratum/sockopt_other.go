//go:build !linux

package stratum

import "net"

// tune bounds what the kernel keeps for a miner that does not read.
func (l *Limits) tune(tcp *net.TCPConn) {
	if l.SocketBytes > 0 {
		_ = tcp.SetWriteBuffer(l.SocketBytes) // without it the memory is more, and no worse happens
	}
}
