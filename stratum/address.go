package stratum

import (
	"math"
	"net"
	"net/netip"
	"sync"
	"time"
)

// addresses counts connections and garbage of each address. IPv6 addresses are
// counted by their /64, the smallest part that a customer gets.
type addresses struct {
	maxConns int
	banScore float64
	halfLife time.Duration
	banTime  time.Duration

	mu    sync.Mutex
	conns map[netip.Addr]int
	score map[netip.Addr]score
	swept time.Time
}

// score is a ban score at a time; it halves every halfLife.
type score struct {
	points      float64
	at          time.Time
	bannedUntil time.Time
}

// maxScores bounds the memory that an attacker with many addresses can fill.
const maxScores = 1 << 16

func (a *addresses) init(o *ServerOptions) {
	a.maxConns, a.banScore, a.halfLife, a.banTime = o.MaxConnsPerAddress, o.BanScore, o.BanHalfLife, o.BanTime
	a.conns = map[netip.Addr]int{}
	a.score = map[netip.Addr]score{}
}

// addressOf is the address that limits and bans go by; the zero Addr, to which
// none applies, for connections that are no IP connections.
func addressOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		prefix, _ := ip.Prefix(64)
		return prefix.Addr()
	}
	return ip
}

func exempt(ip netip.Addr) bool { return !ip.IsValid() || ip.IsLoopback() }

// enter counts a connection; leave must follow if there is no error.
func (a *addresses) enter(ip netip.Addr, now time.Time) error {
	if exempt(ip) {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Before(a.score[ip].bannedUntil) {
		return ErrBanned
	}
	if over(int64(a.conns[ip]), a.maxConns) {
		return ErrTooManyConns
	}
	a.conns[ip]++
	return nil
}

func (a *addresses) leave(ip netip.Addr) {
	if exempt(ip) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns[ip]--; a.conns[ip] <= 0 {
		delete(a.conns, ip)
	}
}

// penalize adds points and reports whether the address is banned from now on.
func (a *addresses) penalize(ip netip.Addr, points float64, now time.Time) bool {
	if exempt(ip) || a.banScore < 0 {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.score) >= maxScores && now.Sub(a.swept) > time.Second {
		a.sweep(now)
	}
	s, known := a.score[ip]
	if !known && len(a.score) >= maxScores {
		return false
	}
	s.points, s.at = a.decayed(s, now)+points, now
	banned := s.points >= a.banScore && !now.Before(s.bannedUntil)
	if banned {
		s.points, s.bannedUntil = 0, now.Add(a.banTime)
	}
	a.score[ip] = s
	return banned
}

func (a *addresses) decayed(s score, now time.Time) float64 {
	return s.points * math.Exp2(-float64(now.Sub(s.at))/float64(a.halfLife))
}

// sweep forgets addresses that have nothing left against them.
func (a *addresses) sweep(now time.Time) {
	a.swept = now
	for ip, s := range a.score {
		if a.decayed(s, now) < 1 && !now.Before(s.bannedUntil) {
			delete(a.score, ip)
		}
	}
}
