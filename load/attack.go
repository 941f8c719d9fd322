package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"lode/internal/sleep"
)

// Attack is a named way to misbehave. Attackers of one kind do it over and over, each
// on a connection of its own.
type Attack struct {
	Name, Help string

	login  bool // they log in first
	deaf   bool // they read nothing
	crumbs bool // they send each byte in a packet of its own
	secure bool // it needs a pool that speaks TLS
	api    bool // it needs the address of the pool's HTTP API
	// line is what the attacker sends the nth time.
	line func(r *run, i, n int) []byte
	// mine: they are no attackers but by their number.
	mine bool
	// visit is, instead, one misdeed that takes a connection of its own.
	visit func(ctx context.Context, r *run, kind, i int) error
}

// Attacks lists all.
func Attacks() []Attack { return slices.Clone(attacks) }

var attacks = []Attack{
	{Name: "suggest", Help: "log in and wish for another difficulty each time", login: true, line: func(_ *run, i, n int) []byte {
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.suggest_difficulty","params":[%d.%d]}`+"\n", n, i+1, n+1)
	}},
	{Name: "target", Help: "the same by suggest_target, passwords and minimum-difficulty", login: true, line: func(r *run, i, n int) []byte {
		switch {
		case n%3 == 0:
			return fmt.Appendf(nil, `{"id":%d,"method":"mining.suggest_target","params":["00000000%08x%048x"]}`+"\n", n, rand.Uint32()|1, i)
		case n%3 == 1 && r.opts.Password == "x": // else it is a guess
			return fmt.Appendf(nil, `{"id":%d,"method":"mining.authorize","params":[%s,%s]}`+"\n", n, quote(r.opts.User), quote(fmt.Sprintf("%s,d=%d.%d", r.opts.Password, i+1, n)))
		}
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":%d.%d}]}`+"\n", n, i+1, n)
	}},
	{Name: "subscribe", Help: "log in and subscribe again and again, a job each time", login: true, line: func(_ *run, _, n int) []byte {
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.subscribe","params":["x%d"]}`+"\n", n, n)
	}},
	{Name: "names", Help: "log in with names of 255 bytes without end", login: true, line: func(r *run, i, n int) []byte {
		name := fmt.Sprintf("%s.%d-%d-", r.opts.User, i, n)
		name += strings.Repeat("x", max(255-len(name), 0))
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.authorize","params":[%s,%s]}`+"\n", n, quote(name), quote(r.opts.Password))
	}},
	{Name: "configure", Help: "ask for every extension, with another mask each time", login: true, line: func(_ *run, _, n int) []byte {
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.configure","params":[[%s"version-rolling"],{"version-rolling.mask":"%08x"}]}`+"\n",
			n, strings.Repeat(`"subscribe-extranonce",`, 30), rand.Uint32())
	}},
	{Name: "transactions", Help: "ask for the transactions of the job", login: true, line: func(r *run, _, n int) []byte {
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.get_transactions","params":[%s]}`+"\n", n, quote(r.someJob()))
	}},
	{Name: "ping", Help: "ping with an id of 1,000 bytes", login: true, line: func(*run, int, int) []byte {
		return fmt.Appendf(nil, `{"id":%s,"method":"mining.ping","params":[]}`+"\n", quote(strings.Repeat("i", 1000)))
	}},
	{Name: "unknown", Help: "methods that do not exist, with params nested deeply", login: true, line: func(_ *run, _, n int) []byte {
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.x%d","params":%s1%s}`+"\n", n, n, strings.Repeat("[", 25), strings.Repeat("]", 25))
	}},
	{Name: "bad-shares", Help: "submit shares that are too easy, for unknown jobs, of a wrong form, or twice", login: true, line: badShare},
	{Name: "blank", Help: "log in and send empty lines", login: true, line: func(*run, int, int) []byte { return bytes.Repeat([]byte("\r\n"), 2000) }},
	{Name: "tiny", Help: "log in and send the least messages there are, hundreds at once", login: true, line: func(*run, int, int) []byte {
		return bytes.Repeat([]byte("{}\n"), 700)
	}},
	{Name: "pipeline", Help: "log in and subscribe, configure and ask for extranonces, fifty at once", login: true, line: func(_ *run, _, n int) []byte {
		return bytes.Repeat(fmt.Appendf(nil, `{"id":[%d,{"x":[]}],"method":"mining.subscribe","params":[]}
{"id":-%d.5e3,"method":"mining.configure","params":[["version-rolling","subscribe-extranonce"],{}]}
{"id":{},"method":"mining.extranonce.subscribe","params":[]}
`, n, n), 17)
	}},
	{Name: "escapes", Help: "user agents and names that are all escapes", line: func(_ *run, i, n int) []byte {
		escapes := strings.Repeat(`\u00e9`, 2600)
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.subscribe","params":["%s"]}
{"id":%d,"method":"mining.authorize","params":["%d.%.1500s","%.1500s"]}
`, n, escapes, n, i, escapes, escapes)
	}},
	{Name: "crowd", Help: "mine as others do, with shares that cost nothing", mine: true},
	{Name: "strays", Help: "log in and submit shares of names that have not", login: true, line: func(r *run, _, n int) []byte {
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.submit","params":["stray.%d",%s,"%016x","%08x","%08x"]}`+"\n",
			n, n, quote(r.someJob()), rand.Uint64(), time.Now().Unix(), rand.Uint32())
	}},
	{Name: "crumbs", Help: "log in and send messages a byte at a time", login: true, crumbs: true, line: func(_ *run, _, n int) []byte {
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.ping","params":[]}`+"\n", n)
	}},
	{Name: "drip", Help: "log in, begin a line, and send a byte of it each time", login: true, line: func(_ *run, _, n int) []byte {
		if n == 0 {
			return fmt.Appendf(nil, `{"id":%s`, strings.Repeat(" ", 8000))
		}
		return []byte(" ")
	}},
	{Name: "deaf", Help: "log in, ask for much, and read nothing", login: true, deaf: true, line: func(_ *run, _, n int) []byte {
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.subscribe","params":[]}`+"\n"+`{"id":%s,"method":"mining.ping"}`+"\n", n, quote(strings.Repeat("i", 1000)))
	}},
	{Name: "silent", Help: "connect and say nothing", line: func(*run, int, int) []byte { return nil }},
	{Name: "half-login", Help: "subscribe and never authorize", line: func(r *run, _, n int) []byte {
		if n == 0 {
			return r.login.subscribe
		}
		return nil
	}},
	{Name: "garbage", Help: "send what is no Stratum, of several kinds", line: func(_ *run, i, _ int) []byte { return junk[i%len(junk)]() }},
	{Name: "long-line", Help: "lines of 16,000 bytes", line: func(_ *run, _, n int) []byte {
		return fmt.Appendf(nil, `{"id":%d,"method":"mining.ping","x":"%s"}`+"\n", n, bytes.Repeat([]byte("x"), 16_000))
	}},
	{Name: "guess", Help: "guess passwords, on a new connection each", visit: guess},
	{Name: "churn", Help: "connect, log in, leave", visit: churn},
	{Name: "connect", Help: "connect and leave", visit: func(ctx context.Context, r *run, kind, i int) error {
		return r.withConn(ctx, kind, i, func(net.Conn) error { return nil })
	}},
	{Name: "resume", Help: "subscribe with session ids of others, guessed", visit: func(ctx context.Context, r *run, kind, i int) error {
		return r.withConn(ctx, kind, i, func(conn net.Conn) error {
			_, err := fmt.Fprintf(conn, `{"id":1,"method":"mining.subscribe","params":["x","%08x"]}`+"\n", rand.Uint32())
			return errors.Join(err, readSome(conn))
		})
	}},
	{Name: "handshake", Help: "begin TLS and stop after the first message", secure: true, visit: stallHandshake},
	{Name: "api-lists", Help: "ask the HTTP API for lists and metrics, and read slowly", api: true, visit: func(ctx context.Context, r *run, _, i int) error {
		path := []string{"/api/v1/workers", "/api/v1/blocks", "/metrics", "/api/v1/status"}[i%4]
		return r.callAPI(ctx, strings.Repeat("GET "+path+" HTTP/1.1\r\nHost: pool\r\n\r\n", 3), 2*time.Second)
	}},
	{Name: "api-slow", Help: "begin requests to the HTTP API, headers or bodies, and do not go on", api: true, visit: func(ctx context.Context, r *run, _, i int) error {
		requests := []string{"GET /api/v1/status HTTP/1.1\r\nHost: pool\r\nX-", "POST /notify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx"}
		return r.callAPI(ctx, requests[i%2], 9*time.Second)
	}},
	{Name: "api-connect", Help: "connect to the HTTP API and leave", api: true, visit: func(ctx context.Context, r *run, _, _ int) error {
		return r.callAPI(ctx, "", 0)
	}},
	{Name: "api-notify", Help: "POST /notify as often as it goes", api: true, visit: func(ctx context.Context, r *run, _, _ int) error {
		return r.callAPI(ctx, strings.Repeat("POST /notify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n", 20), 200*time.Millisecond)
	}},
}

// parseAttacks finds attacks by their names; "all" are all that the pool and the
// options allow.
func parseAttacks(names []string, secure, api bool) (list []Attack, err error) {
	for _, name := range names {
		if name == "all" {
			for _, a := range attacks {
				if (secure || !a.secure) && (api || !a.api) {
					list = append(list, a)
				}
			}
			continue
		}
		i := slices.IndexFunc(attacks, func(a Attack) bool { return a.Name == name })
		switch {
		case i < 0:
			return nil, fmt.Errorf("unknown attack %q", name)
		case attacks[i].secure && !secure:
			return nil, fmt.Errorf("attack %q needs a pool that speaks TLS", name)
		case attacks[i].api && !api:
			return nil, fmt.Errorf("attack %q needs the address of the pool's API", name)
		}
		list = append(list, attacks[i])
	}
	return list, nil
}

// someJob is the id of a job that some miner has.
func (r *run) someJob() string {
	for range 8 {
		if l := r.slots[rand.N(len(r.slots))].link.Load(); l != nil {
			if t, ok := l.task(); ok {
				return t.work.job.ID
			}
		}
	}
	return "0"
}

func badShare(r *run, _, n int) []byte {
	job, extranonce2, bits := r.someJob(), fmt.Sprintf("%016x", rand.Uint64()), ""
	nonce := rand.Uint32()
	switch n % 5 {
	case 1:
		job = fmt.Sprintf("%x", rand.Uint32())
	case 2:
		extranonce2 = "00"
	case 3:
		bits = `,"ffffffff"`
	case 4:
		extranonce2, nonce = "0000000000000000", 0
	}
	return fmt.Appendf(nil, `{"id":%d,"method":"mining.submit","params":[%s,%s,"%s","%08x","%08x"%s]}`+"\n",
		n, quote(r.opts.User), quote(job), extranonce2, time.Now().Unix(), nonce, bits)
}

func guess(ctx context.Context, r *run, kind, i int) error {
	return r.withConn(ctx, kind, i, func(conn net.Conn) error {
		wrong := fmt.Appendf(slices.Clone(r.login.subscribe), `{"id":9,"method":"mining.authorize","params":[%s,"guess%d"]}`+"\n", quote(r.opts.User), rand.Uint32())
		if _, err := conn.Write(wrong); err != nil {
			return err
		}
		return readSome(conn)
	})
}

func churn(ctx context.Context, r *run, kind, i int) error {
	return r.withConn(ctx, kind, i, func(conn net.Conn) error {
		_, _, err := logIn(ctx, conn, &r.login)
		return err
	})
}

// stalled is a connection that nothing can be read from.
type stalled struct {
	net.Conn
	ctx context.Context
}

func (s stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func stallHandshake(ctx context.Context, r *run, kind, i int) error {
	conn, err := r.dialer.plain(ctx, kind, i)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = r.dialer.handshake(ctx, stalled{conn, ctx}) // it cannot succeed
	return nil
}

// withConn does something on a connection.
func (r *run) withConn(ctx context.Context, kind, i int, do func(net.Conn) error) error {
	conn, err := r.dialer.connect(ctx, kind, i)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	return do(conn)
}

func readSome(conn net.Conn) error {
	var b [512]byte
	_, err := conn.Read(b[:])
	return err
}

// callAPI sends requests to the pool's API, and reads a little of the answers after a
// while.
func (r *run) callAPI(ctx context.Context, requests string, wait time.Duration) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", r.opts.API)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, requests); err != nil || requests == "" {
		return err
	}
	if sleep.For(ctx, wait) != nil {
		return nil
	}
	return readSome(conn)
}

// attackers keeps attackers at work until ctx ends.
func (r *run) attackers(ctx context.Context, a *Attack, h *hostile, kind int) {
	h.wanted = r.opts.Attackers
	if a.mine {
		r.crowd(ctx, h, kind)
		return
	}
	pause := r.opts.pace()
	next := func() time.Duration { return pause/2 + rand.N(pause+1) }
	if a.visit == nil {
		h.run(ctx, r, kind, pause, func(ctx context.Context, conn net.Conn, i int) error { return r.conduct(ctx, conn, a, i, next) })
		return
	}
	h.each(ctx, func(i int) {
		for sleep.For(ctx, next()) == nil {
			h.opened.Add(1)
			if err := a.visit(ctx, r, kind, i); err != nil && ctx.Err() == nil {
				h.refused.Add(1)
			}
		}
	})
}

// conduct is an attacker on one connection, until the pool cuts it or ctx ends.
func (r *run) conduct(ctx context.Context, conn net.Conn, a *Attack, i int, next func() time.Duration) error {
	if a.login {
		if _, _, err := logIn(ctx, conn, &r.login); err != nil {
			return fmt.Errorf("%w: %w", errNoLogin, err)
		}
		if err := conn.SetDeadline(time.Time{}); err != nil {
			return err
		}
	}
	cut := make(chan error, 1)
	if !a.deaf {
		ended := make(chan struct{})
		defer func() { conn.Close(); <-ended }()
		go func() {
			defer close(ended)
			cut <- discard(conn)
		}()
	}
	if tcp, ok := conn.(*net.TCPConn); ok && a.deaf {
		_ = tcp.SetReadBuffer(4096) // the less, the sooner it hurts
	}
	var left []byte // of a line that the pool does not take
	for n := 0; ; n++ {
		if len(left) == 0 {
			left = a.line(r, i, n)
		}
		if len(left) > 0 {
			if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				return err
			}
			part := left
			if a.crumbs {
				part = left[:1]
			}
			done, err := conn.Write(part)
			if left = left[done:]; err == nil && len(left) > 0 {
				continue
			}
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-cut:
			return err
		case <-time.After(next()):
		}
	}
}

// discard reads until the connection ends.
func discard(conn net.Conn) error {
	s := newSocket(conn)
	for {
		_, _, _, err := s.read()
		s.release()
		if err != nil {
			return err
		}
	}
}
