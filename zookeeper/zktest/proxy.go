package zktest

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Way is another way to an ensemble: through proxies that can be slow, cut, or silent.
type Way struct {
	proxies []*proxy
}

type proxy struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	delay time.Duration
	cut   bool
	hung  bool
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// Through makes a way that ends with the test.
func (e *Ensemble) Through(t testing.TB) *Way {
	t.Helper()
	w := new(Way)
	for _, s := range e.Servers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p := &proxy{listener: l, server: s.Address, conns: make(map[net.Conn]bool)}
		p.wg.Go(p.run)
		t.Cleanup(func() {
			p.listener.Close()
			p.set(func() { p.cut = true })
			p.wg.Wait()
		})
		w.proxies = append(w.proxies, p)
	}
	return w
}

// Hosts is what stands between zk:// and the path.
func (w *Way) Hosts() string {
	var addresses []string
	for _, p := range w.proxies {
		addresses = append(addresses, p.listener.Addr().String())
	}
	return strings.Join(addresses, ",")
}

// Delay makes everything that servers say come that much later.
func (w *Way) Delay(d time.Duration) {
	for _, p := range w.proxies {
		p.set(func() { p.delay = d })
	}
}

// Cut ends all connections and takes no others, or takes them again.
func (w *Way) Cut(on bool) {
	for _, p := range w.proxies {
		p.set(func() { p.cut = on })
	}
}

// Hang makes a server silent, on old connections and on new ones.
func (w *Way) Hang(server int, on bool) {
	w.proxies[server].set(func() { w.proxies[server].hung = on })
}

func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	if p.cut {
		for c := range p.conns {
			c.Close()
		}
	}
}

func (p *proxy) run() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	if p.cut {
		p.mu.Unlock()
		return
	}
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, client)
		delete(p.conns, server)
		p.mu.Unlock()
	}()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer server.Close()
		_, _ = io.Copy(server, client)
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			break
		}
		p.mu.Lock()
		delay := p.delay
		p.mu.Unlock()
		time.Sleep(delay)
		for p.silent() {
			time.Sleep(10 * time.Millisecond)
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			break
		}
	}
	client.Close()
	server.Close()
	wg.Wait()
}

func (p *proxy) silent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hung && !p.cut
}
