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

// door bounds connections and answers, and what single addresses have of the whole.
//
// For a connection too many the oldest that is not being answered is closed, of the address
// that has the most: a health check finds its way in, whoever holds connections open. For an
// answer too many it is one that somebody takes long to read.
type door struct {
	most     int     // connections
	requests int     // that are answered at once
	rate     float64 // requests per second of an address that are not delayed
	socket   int     // bytes of each buffer of a socket
	// patience is how long an answer may take, to compute and to be read, when there are as
	// many as may be.
	patience time.Duration

	mu        sync.Mutex // guards the rest
	answers   int
	order     list.List // *visit, oldest first
	conns     map[net.Conn]*list.Element
	addresses map[netip.Prefix]*visitor
}

// visit is a connection.
type visit struct {
	conn  net.Conn
	from  netip.Prefix
	since time.Time // its request is being answered, if it is no cheap one; zero: there is none
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
		most: l.Connections, patience: time.Second, requests: l.Requests, rate: max(l.Rate/2, 1), socket: l.SocketBytes,
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
	d.answered(v)
	d.visitor(v.from).visits--
}

// makeRoom closes a connection. Those that are being answered are fewer than most: see
// Limits.Requests. The caller holds mu.
func (d *door) makeRoom() {
	var worst *list.Element
	for e := d.order.Front(); e != nil; e = e.Next() {
		v := e.Value.(*visit)
		if v.since.IsZero() && (worst == nil || d.visitor(v.from).visits > d.visitor(worst.Value.(*visit).from).visits) {
			worst = e
		}
	}
	d.cut(worst)
}

// cut closes a connection, if it is one; false: it is none. The caller holds mu.
func (d *door) cut(e *list.Element) bool {
	if e == nil {
		return false
	}
	_ = e.Value.(*visit).conn.Close() // there is nothing to be done about an error
	d.remove(e)
	return true
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
// there may be any number of them. ok: its address has not more than half of all, and there
// are not too many, but for some that can be cut.
func (d *door) answering(r *http.Request, now time.Time) (done func(), ok bool) {
	v, _ := r.Context().Value(visitKey{}).(*visit)
	if v == nil {
		return func() {}, true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	from := d.visitor(v.from)
	switch {
	case from.answers >= max(d.requests/2, 1):
		ok = d.cut(d.slowest(now, from))
	case d.answers >= d.requests:
		ok = d.cut(d.slowest(now, nil))
	default:
		ok = true
	}
	if !ok || d.conns[v.conn] == nil {
		return nil, false
	}
	d.answers++
	from.answers++
	v.since = now
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.answered(v)
	}, true
}

// answered is the end of an answer, or of its connection. The caller holds mu.
func (d *door) answered(v *visit) {
	if !v.since.IsZero() {
		v.since = time.Time{}
		d.answers--
		d.visitor(v.from).answers--
	}
}

// slowest is the connection whose answer takes longest, if it takes too long, of an address;
// nil: of that which has the most answers. The caller holds mu.
func (d *door) slowest(now time.Time, of *visitor) (slowest *list.Element) {
	most, since := 0, now.Add(-d.patience)
	for e := d.order.Front(); e != nil; e = e.Next() {
		v := e.Value.(*visit)
		from := d.visitor(v.from)
		if v.since.IsZero() || now.Sub(v.since) < d.patience || of != nil && from != of {
			continue
		}
		if from.answers > most || from.answers == most && v.since.Before(since) {
			slowest, most, since = e, from.answers, v.since
		}
	}
	return slowest
}
