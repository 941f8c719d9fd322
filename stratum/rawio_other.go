//go:build !unix

package stratum

const rawIO = false

func (c *Conn) readSocket(uintptr) bool  { panic("stratum: no raw sockets here") }
func (c *Conn) writeSocket(uintptr) bool { panic("stratum: no raw sockets here") }
