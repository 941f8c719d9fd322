package stratum

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// tune bounds what the kernel keeps for a miner that does not read, and for how long.
// Left alone it keeps 4 MB, for a quarter of an hour.
func (l *Limits) tune(tcp *net.TCPConn) {
	if l.SocketBytes > 0 {
		_ = tcp.SetWriteBuffer(l.SocketBytes) // without it the memory is more, and no worse happens
	}
	if l.Unread > 0 {
		// The time for unread data holds for probes of a silent connection, too: within it
		// there are to be many, so that some may be lost.
		patience := socketPatience * l.Unread
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: patience / 2, Interval: max(patience/20, time.Second), Count: 10})
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = raw.Control(func(fd uintptr) {
		if l.SocketBytes > 0 {
			// What is not on its way yet is better kept here, where it counts.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, l.SocketBytes)
		}
		if l.Unread > 0 {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(socketPatience*l.Unread.Milliseconds()))
		}
	})
}

// socketPatience is how many times Unread what fits into the socket's buffer may stay
// there: that may be on its way over a line that is gone for a moment.
const socketPatience = 6
