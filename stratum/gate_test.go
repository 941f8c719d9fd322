package stratum

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// visit connects from an address, says something, and tells what came back and for
// what the connection has ended half a second later, if it has.
func visit(l *pipeListener, reasons <-chan error, from, say string) (answer string, reason error) {
	conn := l.dial(from)
	all := readAll(conn)
	go io.WriteString(conn, say)
	time.Sleep(500 * time.Millisecond)
	conn.Close()
	answer = <-all
	synctest.Wait()
	select {
	case reason = <-reasons:
	default:
	}
	return answer, reason
}

func admitted(l *pipeListener, reasons <-chan error, from string) bool {
	answer, _ := visit(l, reasons, from, subscribeLine+authorizeLine)
	return strings.Contains(answer, authorizeReply)
}

// stay logs in and stays.
func stay(t *testing.T, l *pipeListener, from string) net.Conn {
	conn := l.dial(from)
	go io.Copy(io.Discard, conn)
	if _, err := io.WriteString(conn, subscribeLine+authorizeLine); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return conn
}

func TestBans(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, reasons <-chan error, _ *testPool) {
		nonsense := strings.Repeat("{]\n", 12)
		throw := func(from string) {
			if _, err := visit(l, reasons, from, subscribeLine+nonsense); !errors.Is(err, ErrGarbage) && !errors.Is(err, ErrBanned) {
				t.Fatalf("%s: ended for %v", from, err)
			}
		}
		// One broken device, for hours: no ban.
		for range 20 {
			throw("192.0.2.1")
			if !admitted(l, reasons, "192.0.2.1") {
				t.Fatal("refused for little")
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(2 * time.Hour)
		// Nothing but nonsense.
		for range 7 {
			throw("192.0.2.2")
		}
		for _, from := range []string{"192.0.2.2", "::ffff:192.0.2.2"} {
			if admitted(l, reasons, from) {
				t.Errorf("%s is admitted while banned", from)
			}
		}
		if !admitted(l, reasons, "192.0.2.3") {
			t.Error("its neighbour is banned, too")
		}
		time.Sleep(10 * time.Minute)
		if !admitted(l, reasons, "192.0.2.2") {
			t.Error("still banned when the time is over")
		}
		// An IPv6 customer has a whole /64. Loopback is an address as any other.
		for i := range 7 {
			throw(fmt.Sprintf("2001:db8::%d", i))
			throw("127.0.0.2")
		}
		if admitted(l, reasons, "2001:db8::99") || !admitted(l, reasons, "2001:db8:0:1::1") {
			t.Error("the ban is not that of the /64")
		}
		if admitted(l, reasons, "127.0.0.2") || !admitted(l, reasons, "127.0.0.3") {
			t.Error("the ban of 127.0.0.2 is not its own")
		}
		if n := s.Stats().Bans.Load(); n != 3 {
			t.Errorf("%d bans counted", n)
		}
	})
}

// Devices that mine are not shut out by others at the same address.
func TestMinersOutliveBadNeighbours(t *testing.T) {
	const farm = "192.0.2.1"
	for name, bad := range map[string]string{
		"garbage": "{]\n{]\n{]\n{]\n{]\n{]\n{]\n{]\n{]\n{]\n{]\n{]\n", "another protocol": "GET / HTTP/1.1\r\n\r\n",
		"long line": "{" + strings.Repeat("x", 20<<10), "silence": "",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{Limits: Limits{PerAddress: 20}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				miner := stay(t, l, farm)
				defer miner.Close()
				for i := range 300 {
					conn := l.dial(farm)
					go io.Copy(io.Discard, conn)
					go io.WriteString(conn, bad)
					time.Sleep(100 * time.Millisecond)
					if i%50 == 49 && !admitted(l, nil, farm) {
						t.Fatalf("a miner is shut out after %d connections", i+1)
					}
				}
				if s.Stats().Ready.Load() == 0 {
					t.Error("the miner that was there is gone")
				}
			})
		})
	}
}

// Where somebody mines a ban leaves strangers of the same address eight connections at a
// time, and no bad line.
func TestBannedAmongMiners(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, reasons <-chan error, p *testPool) {
		const farm = "192.0.2.1"
		stay(t, l, farm)
		for s.Stats().Bans.Load() == 0 {
			_, _ = visit(l, reasons, farm, strings.Repeat("{]\n", 12))
		}
		for range 100 {
			go io.Copy(io.Discard, l.dial(farm))
		}
		synctest.Wait()
		if n := s.Stats().Connections.Load(); n != 1+narrow {
			t.Errorf("%d connections, want the miner's and %d", n, narrow)
		}
		for len(reasons) > 0 {
			<-reasons
		}
		answer, reason := visit(l, reasons, farm, "{]\n"+subscribeLine)
		if strings.Contains(answer, subscribeReply) || !errors.Is(reason, ErrGarbage) && !errors.Is(reason, ErrCrowded) {
			t.Errorf("after a bad line: %s, %v", answer, reason)
		}
		if !admitted(l, reasons, farm) {
			t.Error("a miner that comes back is shut out")
		}
	})
}

// A miner far away logs in beside a neighbour at its address who is banned and connects all
// the time.
func TestSlowLoginBesideBannedNeighbour(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, reasons <-chan error, p *testPool) {
		p.disconnected = nil
		const farm, roundTrip = "192.0.2.1", 100 * time.Millisecond
		stay(t, l, farm)
		for s.Stats().Bans.Load() == 0 {
			_, _ = visit(l, reasons, farm, strings.Repeat("{]\n", 12))
		}
		done := make(chan struct{})
		var flood sync.WaitGroup
		flood.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(5 * time.Millisecond):
					go io.Copy(io.Discard, l.dial(farm))
				}
			}
		})
		time.Sleep(time.Second)
		conn := l.dial(farm)
		all := readAll(conn)
		for _, line := range []string{subscribeLine, authorizeLine, submitLine} {
			time.Sleep(roundTrip)
			if _, err := io.WriteString(conn, line); err != nil {
				t.Errorf("shut out before %s", line)
				break
			}
		}
		synctest.Wait()
		close(done)
		flood.Wait()
		conn.Close()
		if got := <-all; !strings.Contains(got, submitReply) {
			t.Errorf("the miner got %s", got)
		}
	})
}

// Whoever does not log in cannot fill up an address, or all there is.
func TestPendingGoFirst(t *testing.T) {
	for name, limits := range map[string]Limits{"all": {Connections: 50}, "pending": {Pending: 50}, "address": {PerAddress: 50}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{Limits: limits}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				for i := range 256 {
					conn := l.dial("192.0.2.1")
					go io.Copy(io.Discard, conn)
					if i%2 == 0 {
						go io.WriteString(conn, subscribeLine)
					}
				}
				synctest.Wait()
				for range 49 {
					stay(t, l, "192.0.2.1")
				}
				if n := s.Stats().Ready.Load(); n != 49 {
					t.Errorf("%d of 49 miners are in", n)
				}
				if n := s.Stats().Connections.Load(); n > 99 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// Who is not let in puts nobody out.
func TestRefusedPutNobodyOut(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		full   bool
	}{"all": {limits: Limits{Connections: 20, PerAddress: 10}}, "pending": {limits: Limits{Pending: 1, PerAddress: 10}}, "memory": {Limits{PerAddress: 10}, true}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{Limits: c.limits}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				for range 8 { // one is banned, another is too quick
					visit(l, nil, "192.0.2.1", "GET / HTTP/1.1\r\n\r\n"+strings.Repeat("{]\n", 20))
				}
				for !s.gate.visitors[addressOf(&net.TCPAddr{IP: net.ParseIP("192.0.2.1")})].bannedUntil.After(time.Now()) {
					visit(l, nil, "192.0.2.1", subscribeLine+strings.Repeat("{]\n", 20))
				}
				var miners []net.Conn
				for i := range 19 {
					miners = append(miners, stay(t, l, fmt.Sprintf("192.0.2.%d", 10+i)))
					_, _ = io.WriteString(miners[i], submitLine)
				}
				for range 100 {
					l.dial("192.0.2.2").Close()
				}
				late := l.dial("192.0.2.200")
				go io.Copy(io.Discard, late)
				synctest.Wait()
				before := s.Stats().CrowdedOut.Load()
				s.SetFull(c.full)
				for range 20 {
					l.dial("192.0.2.1").Close()
				}
				for range 5 {
					l.dial("192.0.2.2").Close()
				}
				synctest.Wait()
				if n := s.Stats().CrowdedOut.Load() - before; n > 0 {
					t.Errorf("%d were put out", n)
				}
				if _, err := io.WriteString(late, subscribeLine+authorizeLine); err != nil {
					t.Error("who is about to log in was put out: ", err)
				}
			})
		})
	}
}

// Whoever logs in and does nothing cannot fill up an address, or all there is, or what
// memory there is; who has shares is not put out for a newcomer.
func TestIdlersGo(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		full   bool
		many   bool // addresses, an IPv6 /64 each
		wait   time.Duration
	}{
		"all":                 {limits: Limits{Connections: 50}, many: true, wait: proofTime},
		"address":             {limits: Limits{PerAddress: 50}, wait: proofTime},
		"memory":              {full: true, many: true, wait: proofTime},
		"all, with one share": {limits: Limits{Connections: 50}, many: true, wait: workTime},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{Limits: c.limits}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				from := func(i int) string {
					if c.many {
						return fmt.Sprintf("2001:db8:0:%x::1", i)
					}
					return "2001:db8::1"
				}
				miner := stay(t, l, from(0))
				for i := range 49 {
					conn := stay(t, l, from(i+1))
					if c.wait == workTime {
						_, _ = io.WriteString(conn, submitLine)
					}
				}
				s.SetFull(c.full)
				if admitted(l, nil, from(100)) {
					t.Error("a newcomer takes the place of one who has just come")
				}
				for end := time.Now().Add(c.wait); time.Now().Before(end); time.Sleep(time.Second) {
					if _, err := io.WriteString(miner, submitLine); err != nil {
						t.Fatal("a miner that works was put out: ", err)
					}
				}
				for i := range 49 {
					stay(t, l, from(200+i))
				}
				if n := s.Stats().CrowdedOut.Load(); n != 49 {
					t.Errorf("%d were put out for 49 newcomers", n)
				}
				if admitted(l, nil, from(300)) {
					t.Error("there is more room than there is")
				}
				if _, err := io.WriteString(miner, submitLine); err != nil {
					t.Error("the miner that works was put out: ", err)
				}
			})
		})
	}
}

// Devices that come at the same time, and have not logged in for that, do not take the room of
// each other while others are of no use; nor does who connects over and over take it from one
// that is slow.
func TestLoginsBesideEachOther(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		full   bool
		wait   time.Duration // that those who are there have no share
	}{
		"all":                 {limits: Limits{Connections: 100}, wait: proofTime},
		"all, with one share": {limits: Limits{Connections: 100}, wait: workTime},
		"address":             {limits: Limits{PerAddress: 100}, wait: proofTime},
		"memory":              {full: true, wait: proofTime},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{Limits: c.limits}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				const farm = "192.0.2.1"
				for range 100 {
					conn := stay(t, l, farm)
					if c.wait == workTime {
						_, _ = io.WriteString(conn, submitLine)
					}
				}
				time.Sleep(c.wait)
				s.SetFull(c.full)
				ended := make(chan struct{})
				defer func() { <-ended }()
				go func() {
					defer close(ended)
					for range 40 {
						l.dial(farm)
						time.Sleep(50 * time.Millisecond)
					}
				}()
				var devices []net.Conn
				for range 20 {
					conn := l.dial(farm)
					go io.Copy(io.Discard, conn)
					devices = append(devices, conn)
				}
				for _, line := range []string{subscribeLine, authorizeLine, submitLine} {
					time.Sleep(500 * time.Millisecond)
					for i, conn := range devices {
						if _, err := io.WriteString(conn, line); err != nil {
							t.Errorf("device %d of %d was put out: %v", i, len(devices), err)
							return
						}
					}
				}
			})
		})
	}
}

// A farm behind one address needs one limit raised, whatever its devices' manners.
func TestFarmBehindOneAddress(t *testing.T) {
	const devices = 5000
	inBubble(t, ServerOptions{Limits: Limits{PerAddress: devices}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		p.authorize = func(_ *Conn, user, _ string) error {
			if user == "typo" {
				return errUnauthorized
			}
			return nil
		}
		for i := range devices { // all at once, after a power cut
			conn := l.dial("192.0.2.1")
			go io.Copy(io.Discard, conn)
			say := subscribeLine + authorizeLine
			if i%100 == 99 {
				say = subscribeLine + strings.Replace(authorizeLine, `"me"`, `"typo"`, 1)
			}
			go io.WriteString(conn, say)
		}
		time.Sleep(10 * time.Second)
		if n := s.Stats().Ready.Load(); n != devices*99/100 {
			t.Errorf("%d of %d devices mine", n, devices*99/100)
		}
	})
}

// Guesses of one address are slow, however many connections make them.
func TestGuessing(t *testing.T) {
	for _, patient := range []bool{true, false} {
		inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
			p.disconnected = nil
			var guesses atomic.Int64
			p.authorize = func(_ *Conn, _, password string) error {
				if password == "right" {
					return nil
				}
				guesses.Add(1)
				return errUnauthorized
			}
			first := time.Now()
			for time.Since(first) < time.Minute {
				conn := l.dial("192.0.2.1")
				go io.Copy(io.Discard, conn)
				go io.WriteString(conn, subscribeLine+strings.Repeat(authorizeLine, 3))
				time.Sleep(20 * time.Millisecond)
				if !patient {
					conn.Close()
				}
			}
			if n := guesses.Load(); n < 5 || n > 90 {
				t.Errorf("%d guesses in a minute (patient: %v)", n, patient)
			}
			if !admittedWith(l, "192.0.2.2", "right") {
				t.Error("another address has to wait")
			}
		})
	}
}

// The more mine at an address, the more of them may mistype at once, and all the time.
func TestGuessesOfFarm(t *testing.T) {
	var limits Limits
	limits.setDefaults()
	for miners, each := range map[int]time.Duration{0: time.Second, 100: time.Second / 2, 500: time.Second / 6} {
		var g gate
		g.init(&limits)
		now := time.Unix(1e9, 0)
		farm := netip.MustParseAddr("192.0.2.1")
		var c *Conn
		for i := range miners + 1 {
			c = &Conn{address: farm}
			if _, _, err := g.arrive(c, false, now); err != nil {
				t.Fatal(err)
			}
			if i < miners {
				g.loggedIn(c, now)
			}
		}
		for range freeGuesses + miners {
			if wait, ok := g.guess(c, now); wait > 0 || !ok {
				t.Fatalf("%d miners: a free guess waits for %v", miners, wait)
			}
		}
		for i := range 3 {
			if wait, _ := g.guess(c, now); (wait - time.Duration(i+1)*each).Abs() > time.Millisecond {
				t.Errorf("%d miners: guess %d beyond waits for %v, want %v each", miners, i+1, wait, each)
			}
		}
	}
}

// Where an address has used up its free guesses the next answer is waited for, whether the
// password is right or wrong, on whatever connection.
func TestAnswerWaits(t *testing.T) {
	for _, password := range []string{"right", "wrong"} {
		inBubble(t, ServerOptions{Limits: Limits{BanScore: -1}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
			p.disconnected = nil
			login := func(password string) (asked time.Duration) {
				answered := make(chan time.Duration, 1)
				start := time.Now()
				p.authorize = func(_ *Conn, _, given string) error {
					answered <- time.Since(start)
					if given == "right" {
						return nil
					}
					return errUnauthorized
				}
				conn := l.dial("192.0.2.1")
				defer conn.Close()
				go io.Copy(io.Discard, conn)
				go io.WriteString(conn, subscribeLine+strings.Replace(authorizeLine, `"x"`, `"`+password+`"`, 1))
				return <-answered
			}
			for i := range freeGuesses {
				if took := login("wrong"); took > 0 {
					t.Errorf("guess %d had to wait for %v", i+1, took)
				}
			}
			if took := login(password); took < 900*time.Millisecond || took > 2*time.Second {
				t.Errorf("the next one, %s, was looked at after %v, want a second", password, took)
			}
		})
	}
}

func admittedWith(l *pipeListener, from, password string) bool {
	answer, _ := visit(l, nil, from, subscribeLine+strings.Replace(authorizeLine, `"x"`, `"`+password+`"`, 1))
	return strings.Contains(answer, authorizeReply)
}

func TestNamesAreBounded(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		for length, most := range map[int]int{8: 256, 250: 65} {
			conn := l.dial("192.0.2.1")
			all := readAll(conn)
			go func() {
				for i := range 300 {
					name := fmt.Sprintf("%0*d", length, i)
					io.WriteString(conn, strings.Replace(authorizeLine, `"me"`, `"`+name+`"`, 1))
				}
			}()
			time.Sleep(10 * time.Second)
			conn.Close()
			if n := strings.Count(<-all, authorizeReply); n == 0 || n > most {
				t.Errorf("%d names of %d bytes", n, length)
			}
		}
	})
}

// Names of an address are bounded over all its connections, but for the first of each, and
// none is added where memory is short.
func TestNamesOfAddress(t *testing.T) {
	inBubble(t, ServerOptions{Limits: Limits{AddressNames: 5, GuessTime: -1}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		p.authorize = func(_ *Conn, _, password string) error {
			if password != "x" {
				return errors.New("no")
			}
			return nil
		}
		// names logs in with n of them, and tells how many were taken.
		names := func(conn net.Conn, n int, password string) (taken int) {
			lines := bufio.NewReader(conn)
			for i := range n {
				go io.WriteString(conn, strings.NewReplacer(`"me"`, fmt.Sprintf(`"w%d"`, i), `"x"`, `"`+password+`"`).Replace(authorizeLine))
				reply, err := lines.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if strings.TrimSpace(reply) == authorizeReply {
					taken++
				}
			}
			return taken
		}
		for i, c := range []struct {
			from     string
			n, taken int
			password string
		}{
			{"192.0.2.1", 4, 0, "wrong"},
			{"192.0.2.1", 4, 4, "x"},
			{"192.0.2.1", 4, 3, "x"},
			{"192.0.2.1", 4, 1, "x"},
			{"192.0.2.1", 1, 1, "x"},
			{"192.0.2.2", 4, 4, "x"},
		} {
			if taken := names(l.dial(c.from), c.n, c.password); taken != c.taken {
				t.Errorf("connection %d: %d names were taken, want %d", i, taken, c.taken)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		conn := l.dial("192.0.2.1")
		if taken := names(conn, 3, "x"); taken != 3 {
			t.Errorf("after the others have left: %d of 3 names", taken)
		}
		s.SetFull(true)
		if taken := names(conn, 4, "x"); taken != 3 {
			t.Errorf("without memory: %d names, want the 3 that were there", taken)
		}
	})
}

// Of messages that come on one line none is heard after one that closes the connection: it would
// be a login that waits for no turn.
func TestNothingAfterTheEnd(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, _ *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		logins := 0
		p.authorize = func(c *Conn, _, _ string) error {
			logins++
			c.Close(nil)
			return errors.New("no")
		}
		conn := l.dial("192.0.2.1")
		go io.Copy(io.Discard, conn)
		_, _ = io.WriteString(conn, strings.Repeat(strings.TrimSpace(authorizeLine), 3)+"\n")
		time.Sleep(time.Minute)
		synctest.Wait()
		if logins != 1 {
			t.Errorf("%d logins", logins)
		}
	})
}

// Memory for lines that do not end, and for what nobody reads, is bounded for all
// connections together.
func TestMemoryOfStrangers(t *testing.T) {
	t.Run("lines", func(t *testing.T) {
		inBubble(t, ServerOptions{Limits: Limits{PartialBytes: 1 << 20, SharedRate: -1}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
			p.disconnected = nil
			var most int64
			for range 500 {
				conn := stay(t, l, "192.0.2.1")
				go io.WriteString(conn, `{"id":"`+strings.Repeat("x", 5000))
				synctest.Wait()
				most = max(most, s.partial.Load())
			}
			if most > 1<<20+1<<16 || most < 1<<19 {
				t.Errorf("%d bytes of incomplete lines", most)
			}
			time.Sleep(time.Minute)
			if n := s.partial.Load(); n != 0 {
				t.Errorf("%d bytes are left", n)
			}
		})
	})
	// Guesses whose answers wait keep their lines meanwhile.
	t.Run("guesses", func(t *testing.T) {
		inBubble(t, ServerOptions{Limits: Limits{PartialBytes: 1 << 20}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
			p.disconnected = nil
			p.authorize = func(*Conn, string, string) error { return errUnauthorized }
			for i := range 500 {
				conn := l.dial(fmt.Sprintf("2001:db8:0:%x::1", i))
				go io.Copy(io.Discard, conn)
				go io.WriteString(conn, subscribeLine+authorizeLine)
			}
			synctest.Wait()
			if n := s.partial.Load(); n > 1<<20 || n < 1<<19 {
				t.Errorf("%d bytes wait", n)
			}
			time.Sleep(time.Minute)
			if n := s.partial.Load(); n != 0 {
				t.Errorf("%d bytes are left", n)
			}
		})
	})
	// Who begins lines and does not end them is closed for it, and not the miner whose line
	// comes in two packets.
	for name, share := range map[string]string{"lines of strangers": "", "lines of who has a share": submitLine} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{Limits: Limits{PartialBytes: 1 << 20}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				p.submit = func(*Conn, *Share) error { return nil }
				time.Sleep(time.Second)
				miner := l.dial("192.0.2.2")
				lines := bufio.NewScanner(miner)
				say := func(text string) {
					if _, err := io.WriteString(miner, text); err != nil {
						t.Error(err)
					}
				}
				answered := func() {
					for lines.Scan() {
						if strings.Contains(lines.Text(), `"id":4`) {
							return
						}
					}
					t.Fatal("the miner was closed")
				}
				go say(subscribeLine + authorizeLine + submitLine)
				answered()
				for i := range 1000 {
					conn := stay(t, l, fmt.Sprintf("192.0.2.%d", 10+i%100))
					go io.WriteString(conn, share+`{"id":"`+strings.Repeat("x", 100))
					time.Sleep(10 * time.Millisecond)
					if i%100 == 99 {
						half := len(submitLine) / 2
						say(submitLine[:half])
						time.Sleep(50 * time.Millisecond)
						conn := stay(t, l, "192.0.2.9")
						go io.WriteString(conn, share+`{"id":"`)
						time.Sleep(50 * time.Millisecond)
						go say(submitLine[half:])
						answered()
					}
				}
				if n := s.partial.Load(); n > 1<<20 || n < 1<<19 {
					t.Errorf("%d bytes of incomplete lines", n)
				}
			})
		})
	}
	t.Run("lines that grow", func(t *testing.T) {
		const limit = 1 << 20
		s := NewServer(ServerOptions{Limits: Limits{PartialBytes: limit}}, &testPool{})
		var conns []*Conn
		for range limit / (lineBufferSize + lineBufferOverhead) {
			base, far := net.Pipe()
			defer far.Close()
			c := newConn(s, base)
			c.needInput()
			conns = append(conns, c)
			if err := c.hold(); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range conns {
			c.unhold()
			c.lines.grow()
			if err := c.hold(); err != nil {
				t.Fatal(err)
			}
			if n := s.partial.Load(); n > limit {
				t.Fatalf("%d bytes of incomplete lines", n)
			}
		}
		for _, c := range conns {
			c.unhold()
		}
		if n := s.partial.Load(); n != 0 || s.partial.strangers != (queue{}) {
			t.Errorf("%d bytes are left", n)
		}
		c := conns[0]
		if n := testing.AllocsPerRun(100, func() { _ = c.hold(); c.unhold() }); n != 0 {
			t.Errorf("%v allocations for a line that is waited for", n)
		}
	})
	t.Run("output", func(t *testing.T) {
		inBubble(t, ServerOptions{Limits: Limits{UnreadTotal: 1 << 20}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
			p.disconnected = nil
			for range 100 {
				conn := l.dial("192.0.2.1")
				go io.CopyN(io.Discard, conn, int64(len(subscribeReply+authorizeReply)+2))
				io.WriteString(conn, subscribeLine+authorizeLine)
			}
			synctest.Wait()
			job := simnetJob()
			job.Coinbase2 = make([]byte, 30<<10)
			for range 2 {
				s.Broadcast(EncodeJob(job), nil)
				synctest.Wait()
				if n := s.unread.Load(); n > 1<<20+1<<17 {
					t.Errorf("%d bytes wait", n)
				}
			}
			time.Sleep(time.Minute)
			if n := s.unread.Load(); n != 0 || s.Stats().SlowCut.Load() != 100 {
				t.Errorf("%d bytes are left, %d were cut", n, s.Stats().SlowCut.Load())
			}
		})
	})
}

// A job that is longer than sockets take is no reason to close anybody who reads it soon, and
// those who read nothing are closed before a miner that is slow for a moment.
func TestUnreadOutputOfOthers(t *testing.T) {
	job := simnetJob()
	job.Coinbase2 = make([]byte, 70<<10) // as p2pool's
	long := EncodeJob(job)
	for name, deaf := range map[string]int{"a long job": 0, "strangers who read nothing": 30} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{Limits: Limits{UnreadTotal: 1 << 20, Unread: time.Minute}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				cut := make(chan *Conn, 1000)
				why := make(chan error, 1000)
				p.disconnected = func(c *Conn, err error) { cut <- c; why <- err }
				logIn := func(address string, n int) (conns []net.Conn) {
					for range n {
						conn := l.dial(address)
						go io.WriteString(conn, subscribeLine+authorizeLine)
						_, _ = io.CopyN(io.Discard, conn, int64(len(subscribeReply+authorizeReply)+2))
						conns = append(conns, conn)
					}
					synctest.Wait()
					return conns
				}
				logIn("192.0.2.1", deaf)
				s.Broadcast(long, nil)
				synctest.Wait()
				time.Sleep(5 * time.Second)

				miners := logIn("192.0.2.2", 50)
				for range 3 {
					s.Broadcast(long, nil)
					s.Broadcast(EncodeJob(simnetJob()), nil) // waits behind it
					time.Sleep(100 * time.Millisecond)
					for _, conn := range miners {
						_, _ = io.CopyN(io.Discard, conn, int64(len(long.line)+len(EncodeJob(simnetJob()).line)))
					}
					synctest.Wait()
				}
				if n := s.unread.Load(); n > 1<<20 {
					t.Errorf("%d bytes wait", n)
				}
				for len(cut) > 0 {
					if c := <-cut; c.Address().String() == "192.0.2.2" {
						t.Errorf("a miner was closed: %v", <-why)
					}
				}
				if n := s.Stats().SlowCut.Load(); deaf > 0 && n == 0 {
					t.Error("nobody was closed")
				}
				if n := s.Stats().Ready.Load(); n < int64(len(miners)) {
					t.Errorf("%d miners are left", n)
				}
			})
		})
	}
}

func TestGateForgets(t *testing.T) {
	var limits Limits
	limits.setDefaults()
	var g gate
	g.init(&limits)
	now := time.Unix(1e9, 0)
	visit := func(ip netip.Addr) {
		c := &Conn{address: ip}
		if _, _, err := g.arrive(c, false, now); err != nil {
			t.Fatal(err)
		}
		g.penalize(c, 10, now)
		g.leave(c, now)
	}
	for i := range maxIdleVisitors + 1000 {
		visit(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if len(g.visitors) > maxIdleVisitors+1 || len(g.visitors) != g.idle || g.open != 0 {
		t.Fatalf("%d addresses are remembered, %d said to be idle, %d open", len(g.visitors), g.idle, g.open)
	}
	now = now.Add(2 * time.Hour)
	visit(netip.MustParseAddr("192.0.2.1"))
	if len(g.visitors) > 1 {
		t.Errorf("%d addresses are remembered two hours later", len(g.visitors))
	}
}

// An address whose miners have left is a stranger's after an hour: it is closed out by a ban.
func TestMinersOfBefore(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		const farm = "192.0.2.1"
		offend := func() {
			for before := s.Stats().Bans.Load(); s.Stats().Bans.Load() == before; {
				_, _ = visit(l, nil, farm, strings.Repeat("{]\n", 12))
			}
		}
		for range 3 {
			stay(t, l, farm).Close()
		}
		synctest.Wait()
		offend()
		if !admitted(l, nil, farm) {
			t.Error("where somebody has mined just now all are closed out")
		}
		time.Sleep(2 * time.Hour)
		offend()
		if admitted(l, nil, farm) {
			t.Error("nobody mines there, and a ban closes nobody out")
		}
	})
}

func TestLimits(t *testing.T) {
	var l Limits
	l.setDefaults()
	for i := range reflect.TypeFor[Limits]().NumField() {
		f := reflect.TypeFor[Limits]().Field(i)
		if f.Tag.Get("name") == "" || f.Tag.Get("help") == "" || f.Name != "Exempt" && reflect.ValueOf(l).Field(i).IsZero() {
			t.Errorf("%s has no name, help or default", f.Name)
		}
	}
	reference, err := os.ReadFile("../docs/stratum.md")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.each(func(name, standard string, _ reflect.Value) error {
		if !regexp.MustCompile("(?m)^\\|.*`" + name + "`.*\\b" + standard + "\\b").Match(reference) {
			t.Errorf("docs/stratum.md does not list %s with its default %s", name, standard)
		}
		return nil
	})
	got, err := ParseLimits(map[string]string{"connections-per-address": "5000", "idle-time": "0", "message-rate": "0.5", "exempt": "10.0.0.0/8;192.0.2.0/24"})
	want := l
	want.PerAddress, want.Idle, want.MessageRate = 5000, -1, 0.5
	want.Exempt = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("limits %+v, %v", got, err)
	}
	for _, bad := range []map[string]string{
		{"connection": "5"},
		{"connections": "many"},
		{"connections": "-1"},
		{"idle-time": "5"},
		{"message-rate": "NaN"},
		{"line-length": "100"},
		{"line-length": "0"},
		{"exempt": "10.0.0.0"},
	} {
		if l, err := ParseLimits(bad); err == nil {
			t.Errorf("%v is taken: %+v", bad, l)
		}
	}
	if _, err := ParseLimits(map[string]string{"pending": "5", "pendign": "6", "tarpit": "7"}); err == nil || !strings.Contains(err.Error(), `"pendign"`) {
		t.Errorf("of an unknown limit is said %v", err)
	}
}

func TestExempt(t *testing.T) {
	inBubble(t, ServerOptions{Limits: Limits{PerAddress: 1, Exempt: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
		func(t *testing.T, s *Server, l *pipeListener, reasons <-chan error, _ *testPool) {
			for range 20 {
				stay(t, l, "10.1.2.3")
				_, _ = visit(l, reasons, "10.1.2.3", "GET / HTTP/1.1\r\n")
			}
			if n := s.Stats().Ready.Load(); n != 20 {
				t.Errorf("%d of 20 are in", n)
			}
			stay(t, l, "11.1.2.3")
			if admitted(l, reasons, "11.1.2.3") {
				t.Error("another network is exempt, too")
			}
		})
}

// An address where nobody mines cannot connect without end.
func TestConnectRate(t *testing.T) {
	inBubble(t, ServerOptions{Limits: Limits{PerAddress: 10}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		flood := func(from string, d time.Duration) uint64 {
			before := s.Stats().Accepted.Load()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
				l.dial(from).Close()
			}
			synctest.Wait()
			return s.Stats().Accepted.Load() - before
		}
		if n := flood("192.0.2.1", 10*time.Second); n < 190 || n > 210 {
			t.Errorf("%d connections in 10 s", n)
		}
		stay(t, l, "192.0.2.2")
		if n := flood("192.0.2.2", time.Second); n < 900 {
			t.Errorf("%d of 1,000 connections where somebody mines", n)
		}
	})
}
