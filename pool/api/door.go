package api

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// door bounds connections. For one too many the oldest that is not being answered is
// closed: a health check finds its way in, whoever holds connections open.
type door struct {
	most int

	mu    sync.Mutex // guards the rest
	order list.List  // *visit, oldest first
	conns map[net.Conn]*list.Element
}

// visit is a connection.
type visit struct {
	conn    net.Conn
	answers int // requests that are being answered, but for cheap ones
}

type visitKey struct{}

// enter is the server's ConnContext, called for each connection first.
func (d *door) enter(ctx context.Context, conn net.Conn) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil {
		d.conns = map[net.Conn]*list.Element{}
	}
	if d.order.Len() >= d.most {
		d.makeRoom()
	}
	v := &visit{conn: conn}
	d.conns[conn] = d.order.PushBack(v)
	return context.WithValue(ctx, visitKey{}, v)
}

// leave is the server's ConnState.
func (d *door) leave(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.conns[conn]; e != nil {
		d.order.Remove(e)
		delete(d.conns, conn)
	}
}

// makeRoom closes a connection. Those that are being answered are fewer than most: see
// Limits.Requests.
func (d *door) makeRoom() {
	for e := d.order.Front(); e != nil; e = e.Next() {
		if v := e.Value.(*visit); v.answers == 0 {
			d.order.Remove(e)
			delete(d.conns, v.conn)
			_ = v.conn.Close() // it is cut: there is nothing to be done about an error
			return
		}
	}
}

// answering notes that a request is being answered, until done. Cheap answers do not count:
// there may be any number of them.
func (d *door) answering(r *http.Request) (done func()) {
	v, _ := r.Context().Value(visitKey{}).(*visit)
	if v == nil {
		return func() {}
	}
	d.count(v, 1)
	return func() { d.count(v, -1) }
}

func (d *door) count(v *visit, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v.answers += n
}
