package stratum

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ends tells after what time a connection of an address that says something is closed.
func ends(l *pipeListener, from, say string) time.Duration {
	begin := time.Now()
	conn := l.dial(from)
	defer conn.Close()
	go io.WriteString(conn, say)
	_, _ = io.Copy(io.Discard, conn)
	return time.Since(begin)
}

// Who sends garbage again and again waits for the end of each connection, longer and
// longer.
func TestTarpit(t *testing.T) {
	const most = 30 * time.Second
	for name, say := range map[string]string{
		"another protocol": "GET / HTTP/1.1\r\n\r\n",
		"no messages":      subscribeLine + strings.Repeat("{]\n", 12),
		"empty lines":      subscribeLine + authorizeLine + strings.Repeat("\r\n", 200),
		"long line":        "{" + strings.Repeat("x", 20<<10),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, reasons <-chan error, p *testPool) {
				if took := ends(l, "192.0.2.1", say); took >= lingerTime {
					t.Errorf("the first was closed after %v", took)
				}
				<-reasons
				for range 3 { // they may be
					if took := ends(l, "192.0.2.1", say); took > 2*lingerTime {
						t.Errorf("one of the first was closed after %v", took)
					}
					<-reasons
				}
				visitor := s.gate.visitors[netip.MustParseAddr("192.0.2.1")]
				visitor.held, visitor.heldAt = heldForMost, time.Now()
				ended := make(chan time.Duration, 1)
				go func() { ended <- ends(l, "192.0.2.1", say) }()
				if reason := <-reasons; !errors.Is(reason, ErrGarbage) && !errors.Is(reason, ErrNotStratum) && !errors.Is(reason, ErrLineTooLong) {
					t.Errorf("ended for %v", reason)
				}
				synctest.Wait()
				if n := s.Stats().Connections.Load(); n != 0 || s.Stats().Held.Load() == 0 {
					t.Errorf("%d connections are counted, %d held", n, s.Stats().Held.Load())
				}
				if took := ends(l, "192.0.2.2", say); took >= lingerTime {
					t.Errorf("the first of another address was closed after %v", took)
				}
				<-reasons
				if took := <-ended; took < most*9/10 || took > most*5/4 {
					t.Errorf("a further one was closed after %v, want %v", took, most)
				}
			})
		})
	}
}

// Who needs more memory for input than there is waits for the end, but for miners.
func TestTarpitForInput(t *testing.T) {
	for name, c := range map[string]struct {
		share       string
		least, most time.Duration
	}{
		"stranger": {"", 30 * time.Second, 31 * time.Second},
		"miner":    {submitLine, 0, lingerTime},
	} {
		t.Run(name, func(t *testing.T) {
			o := ServerOptions{Limits: Limits{PartialBytes: 1, TarpitTime: heldForMost * 30 * time.Second}}
			inBubble(t, o, func(t *testing.T, s *Server, l *pipeListener, reasons <-chan error, _ *testPool) {
				time.Sleep(time.Second) // the server's clock is not at 0, which means never
				conn := l.dial("192.0.2.1")
				ended := make(chan time.Duration, 1)
				begin := time.Now()
				go func() {
					_, _ = io.Copy(io.Discard, conn)
					ended <- time.Since(begin)
				}()
				_, _ = io.WriteString(conn, subscribeLine+authorizeLine+c.share)
				time.Sleep(time.Second) // in which the share is judged
				wrote := time.Since(begin)
				_, _ = io.WriteString(conn, `{"id":`)
				if took := <-ended - wrote; took < c.least || took > c.most {
					t.Errorf("closed after %v", took)
				}
				if reason := <-reasons; !errors.Is(reason, ErrInputFull) {
					t.Errorf("ended for %v", reason)
				}
			})
		})
	}
}

// The longer, the more of an address' connections were held lately.
func TestHoldTimes(t *testing.T) {
	var l Limits
	l.setDefaults()
	var g gate
	g.init(&l)
	ip, now := netip.MustParseAddr("192.0.2.1"), time.Unix(1e9, 0)
	if d := g.hold(ip, now); d != 0 {
		t.Errorf("an exempt address is held for %v", d)
	}
	v := &visitor{guesses: freeGuesses}
	g.visitors[ip] = v
	for n := 1; n <= 3*heldForMost; n++ {
		if d, want := g.hold(ip, now).Round(time.Millisecond), min(30*time.Second, time.Duration(n)*300*time.Millisecond); d != want {
			t.Fatalf("connection %d is held for %v, want %v", n, d, want)
		}
	}
	now = now.Add(4 * g.limits.BanHalfLife)
	if d := g.hold(ip, now); d > 6*time.Second || d < 5*time.Second {
		t.Errorf("when 300 are 19: %v", d)
	}
	if g.forgettable(v, now) || !g.forgettable(v, now.Add(10*g.limits.BanHalfLife)) {
		t.Error("what is counted is forgotten at a wrong time")
	}
}

// Attackers who come again when they are cut off cost little, also where somebody mines.
func TestTarpitSlowsDown(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		miner  bool
		most   uint64
	}{
		"nobody mines":   {most: 1200},
		"somebody mines": {miner: true, most: 1200},
		"no tarpit":      {limits: Limits{Tarpit: -1}, miner: true, most: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{Limits: c.limits}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				const farm, attackers, duration = "192.0.2.1", 50, 5 * time.Minute
				if c.miner {
					_, _ = io.WriteString(stay(t, l, farm), submitLine)
				}
				var wg sync.WaitGroup
				for end, i := time.Now().Add(duration), 0; i < attackers; i++ {
					wg.Go(func() {
						for time.Now().Before(end) {
							ends(l, farm, subscribeLine+authorizeLine+strings.Repeat("\n", 200))
							time.Sleep(time.Second)
						}
					})
				}
				wg.Wait()
				made := s.Stats().Accepted.Load() + s.Stats().Refused.Load()
				if made > c.most || c.limits.Tarpit < 0 && made < 10_000 {
					t.Errorf("%d connections in %v, want at most %d", made, duration, c.most)
				}
				if c.miner && s.Stats().Ready.Load() != 1 {
					t.Error("the miner is gone")
				}
			})
		})
	}
}

// Addresses that are banned are held at the door; the newest have the room, and give it up
// where it is needed.
func TestTarpitIsBounded(t *testing.T) {
	inBubble(t, ServerOptions{Limits: Limits{Tarpit: 10}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		for s.Stats().Bans.Load() == 0 {
			l.dial("192.0.2.1").Close()
			_, _ = visit(l, nil, "192.0.2.1", "GET /\r\n")
		}
		time.Sleep(time.Minute)
		dial := func() (closed chan struct{}) {
			conn := l.dial("192.0.2.1")
			closed = make(chan struct{})
			go func() {
				defer close(closed)
				_, _ = io.Copy(io.Discard, conn)
			}()
			return closed
		}
		var all []chan struct{}
		for range 25 {
			all = append(all, dial())
		}
		open := func() (n int) {
			synctest.Wait()
			for _, closed := range all {
				select {
				case <-closed:
				default:
					n++
				}
			}
			return n
		}
		if n := open(); n != 10 || s.Stats().Held.Load() != 10 {
			t.Errorf("%d of 25 are open, %d said to be, want 10", n, s.Stats().Held.Load())
		}
		select {
		case <-all[24]:
			t.Error("the newest was closed")
		default:
		}
		s.SetFull(true)
		all = append(all, dial())
		if n := open(); n != 0 {
			t.Errorf("%d are open where there is no memory", n)
		}
		s.SetFull(false)
		all = append(all, dial())
		if n := open(); n != 1 {
			t.Errorf("%d are open, want 1", n)
		}
		s.Close()
		if n := open(); n != 0 {
			t.Errorf("%d are open after the end", n)
		}
		ours, theirs := net.Pipe()
		s.tarpit.hold(theirs, time.Second)
		if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("one that comes after the end: %v", err)
		}
	})
}
