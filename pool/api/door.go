package api

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"lode/internal/sleep"
)

// door bounds connections, and what single addresses have of the whole.
//
// For a connection too many the oldest that is not being answered is closed, of the address
// that has the most: a health check finds its way in, whoever holds connections open.
type door struct {
	most   int     // connections
	rate   float64 // requests per second of an address that are not delayed
	socket int     // bytes of each buffer of a socket

	mu        sync.Mutex // guards the rest
	order     list.List  // *visit, oldest first
	conns     map[net.Conn]*list.Element
	addresses map[netip.Prefix]*visitor
}

// visit is a connection.
type visit struct {
	conn    net.Conn
	from    netip.Prefix
	answers int // requests that are being answered, but for cheap ones
}

// visitor is an address.
type visitor struct {
	visits, answers int
	pace            bucket
}

// maxVisitors is how many addresses are remembered. Those that are here count less.
const maxVisitors = 4096

// delay is for how long a request waits whose address asks too often.
const delay = 100 * time.Millisecond

type visitKey struct{}

// hastyKey marks requests that were delayed.
type hastyKey struct{}

func isHasty(r *http.Request) bool { return r.Context().Value(hastyKey{}) != nil }

// newDoor makes one for a server's limits.
func newDoor(l *Limits) *door {
	return &door{
		most: l.Connections, rate: max(l.Rate/2, 1), socket: l.SocketBytes,
		conns: map[net.Conn]*list.Element{}, addresses: map[netip.Prefix]*visitor{},
	}
}

// enter is the server's ConnContext, called for each connection first.
func (d *door) enter(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*net.TCPConn); ok {
		// The kernel would let them grow to megabytes for who does not read. Without
		// them it goes on as ever.
		_ = c.SetWriteBuffer(d.socket)
		_ = c.SetReadBuffer(d.socket)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	v := &visit{conn: conn, from: addressOf(conn.RemoteAddr().String())}
	if d.order.Len() >= d.most {
		d.makeRoom()
	}
	d.visitor(v.from).visits++
	d.conns[conn] = d.order.PushBack(v)
	return context.WithValue(ctx, visitKey{}, v)
}

// addressOf is the address of host:port, of an IPv6 one its /64.
func addressOf(hostPort string) netip.Prefix {
	at, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Prefix{}
	}
	ip := at.Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits) // there are as many bits
	return prefix
}

// visitor finds an address. The caller holds mu.
func (d *door) visitor(from netip.Prefix) *visitor {
	v := d.addresses[from]
	if v == nil {
		if len(d.addresses) >= maxVisitors {
			for address, old := range d.addresses {
				if old.visits == 0 {
					delete(d.addresses, address)
				}
			}
		}
		v = &visitor{pace: bucket{rate: d.rate}}
		d.addresses[from] = v
	}
	return v
}

// leave is the server's ConnState.
func (d *door) leave(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.conns[conn]; e != nil {
		d.remove(e)
	}
}

// remove forgets a connection. The caller holds mu.
func (d *door) remove(e *list.Element) {
	v := d.order.Remove(e).(*visit)
	delete(d.conns, v.conn)
	d.visitor(v.from).visits--
}

// makeRoom closes a connection. Those that are being answered are fewer than most: see
// Limits.Requests. The caller holds mu.
func (d *door) makeRoom() {
	var worst *list.Element
	for e := d.order.Front(); e != nil; e = e.Next() {
		v := e.Value.(*visit)
		if v.answers == 0 && (worst == nil || d.visitor(v.from).visits > d.visitor(worst.Value.(*visit).from).visits) {
			worst = e
		}
	}
	if worst != nil {
		_ = worst.Value.(*visit).conn.Close() // it is cut: there is nothing to be done about an error
		d.remove(worst)
	}
}

// paced delays the requests of an address that asks more often than one may: also those that
// cost nothing cost the reading. A health check of another address does not wait for them.
func (d *door) paced(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.take(r, time.Now()) {
			if sleep.For(r.Context(), delay) != nil {
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), hastyKey{}, true))
		}
		h.ServeHTTP(w, r)
	})
}

func (d *door) take(r *http.Request, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.visitor(addressOf(r.RemoteAddr)).pace.take(now)
}

// answering notes that a request is being answered, until done. Cheap answers do not count:
// there may be any number of them. ok: its address has not more than half of all.
func (d *door) answering(r *http.Request, all int) (done func(), ok bool) {
	v, _ := r.Context().Value(visitKey{}).(*visit)
	if v == nil {
		return func() {}, true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	from := d.visitor(v.from)
	if from.answers >= max(all/2, 1) {
		return nil, false
	}
	v.answers++
	from.answers++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		v.answers--
		from.answers--
	}, true
}
