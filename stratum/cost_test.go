package stratum

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// messages are what a miner that has logged in may send as often as it likes, one of each
// kind, the dearest that is known.
var messages = map[string]string{
	"submit":         string(shareLine),
	"submit refused": `{"id":4,"method":"mining.submit","params":["you","4f1a","0102030405060708","6553f100","10015793"]}`,
	"subscribe":      `{"id":1,"method":"mining.subscribe"}`,
	"authorize":      `{"id":2,"method":"mining.authorize","params":["me"]}`,
	"authorize bad":  `{"id":2,"method":"mining.authorize","params":[""]}`,
	"configure":      `{"id":3,"method":"mining.configure","params":[["version-rolling","minimum-difficulty","info","x"],{"minimum-difficulty.value":"x"}]}`,
	"suggest":        `{"id":5,"method":"mining.suggest_difficulty","params":[7]}`,
	"transactions":   `{"id":6,"method":"mining.get_transactions","params":["4f1a"]}`,
	"ping":           `{"id":7,"method":"mining.ping"}`,
	"xnsub":          `{"id":8,"method":"mining.extranonce.subscribe"}`,
	"unknown":        `{"id":9,"method":"x"}`,
	"no method":      `{"id":0}`,
	"long id":        `{"id":"` + strings.Repeat("i", 1000) + `","method":"x"}`,
	"nested":         `{"id":1,"method":"x","params":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`,
}

// strangerOf is a connection that has logged in, whose repeated subscribe brings about a
// job as on a chain with full blocks.
func strangerOf(t testing.TB) *Conn {
	job := simnetJob()
	job.Coinbase2 = make([]byte, 200)
	job.MerkleBranch = append(job.MerkleBranch, make([]chainhash.Hash, 12)...)
	encoded := EncodeJob(job)
	return loggedIn(t, &testPool{authorized: func(c *Conn) { c.SetDifficulty(1); c.Notify(encoded) }}, ServerOptions{})
}

// A login costs its messages, and not the job that it brings, which is a pool's to choose: where
// others use up what all have together, the first share waits for nothing.
func TestFirstJobIsFree(t *testing.T) {
	for _, size := range []int{200, 2000, 6000} {
		job := simnetJob()
		job.Coinbase2 = make([]byte, size)
		encoded := EncodeJob(job)
		c := loggedIn(t, &testPool{authorized: func(c *Conn) { c.SetDifficulty(1); c.Notify(encoded) }}, ServerOptions{})
		most := lightBurst * c.server.opts.LightRate
		if cost := most - c.light; cost < 2*(otherTokens-1) || cost > 2*(otherTokens+1) {
			t.Errorf("a login with a coinbase of %d bytes costs %.1f tokens of %.0f", size, cost, most)
		}
	}
}

// For every message its tokens bound what can be had for them: bytes sent, and bytes read.
func TestTokensBoundWhatIsSent(t *testing.T) {
	for name, line := range messages {
		c := strangerOf(t)
		c.buffer.b = c.buffer.b[:0]
		tokens, queued := c.tokens, c.queued
		const n = 100
		for range n {
			c.tokens-- // as throttle does
			submitOnce(t, c, []byte(line))
		}
		spent, out := (tokens-c.tokens)/n, float64(c.queued-queued)/n
		if spent < 1 || out > bytesPerToken*spent || float64(len(line)) > 2*bytesPerToken*spent {
			t.Errorf("%s: %.1f tokens for %d bytes in and %.0f out", name, spent, len(line), out)
		}
	}
}

// BenchmarkMessages tells what each message costs, without the socket.
func BenchmarkMessages(b *testing.B) {
	for name, line := range messages {
		b.Run(name, func(b *testing.B) {
			c := strangerOf(b)
			queued, raw := c.queued, []byte(line)
			b.ReportAllocs()
			for b.Loop() {
				submitOnce(b, c, raw)
			}
			b.ReportMetric(float64(c.queued-queued)/float64(b.N)/float64(len(line)), "out/in")
			b.ReportMetric((float64(c.server.opts.MessageBurst)-c.tokens)/float64(b.N)+1, "tokens")
		})
	}
}

// Whatever a client repeats, it gets little out of the server for it.
func TestRepeatedMessages(t *testing.T) {
	big := simnetJob()
	big.Coinbase2 = make([]byte, 70<<10) // as p2pool's
	names := strings.Repeat("n", 240)
	for _, c := range []struct {
		name string
		line func(i int) string
		most float64 // bytes out in a minute
	}{
		{"subscribe", func(int) string { return subscribeLine }, 6 << 20},
		{"ping", func(int) string { return `{"id":1,"method":"mining.ping"}` + "\n" }, 2 << 20},
		{"long ids", func(int) string { return `{"id":"` + strings.Repeat("i", 1000) + `","method":"x"}` + "\n" }, 3 << 20},
		{"authorize", func(int) string { return authorizeLine }, 2 << 20},
		{"names", func(i int) string { return strings.Replace(authorizeLine, `"me"`, fmt.Sprintf(`"%s%d"`, names, i), 1) }, 2 << 20},
		{"configure", func(int) string {
			return `{"id":1,"method":"mining.configure","params":[[` + strings.Repeat(`"minimum-difficulty",`, 400) + `"info"],{"minimum-difficulty.value":"x"}]}` + "\n"
		}, 1 << 20},
		{"transactions", func(int) string { return `{"id":1,"method":"mining.get_transactions","params":["4f1a"]}` + "\n" }, 2 << 20},
		{"blank lines", func(int) string { return "\n" }, 1 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				encoded := EncodeJob(big)
				p.authorized = func(c *Conn) { c.Notify(encoded) }
				conn := stay(t, l, "192.0.2.1")
				time.Sleep(time.Minute)
				out, in := s.Stats().BytesOut.Load(), s.Stats().BytesIn.Load()
				end := time.Now().Add(time.Minute)
				_ = conn.SetWriteDeadline(end)
				for i := 0; time.Now().Before(end); i++ {
					if _, err := io.WriteString(conn, c.line(i)); err != nil {
						break
					}
				}
				if got := float64(s.Stats().BytesOut.Load() - out); got > c.most {
					t.Errorf("%.0f bytes in a minute", got)
				}
				if got := s.Stats().BytesIn.Load() - in; got > 8<<20 {
					t.Errorf("%d bytes were read in a minute", got)
				}
			})
		})
	}
}

// Who sends much waits when all together send much, also shares from before a raise that are
// next to nothing; who sends little, or shares that are accepted, does not.
func TestSharedRate(t *testing.T) {
	for name, nonce := range map[string]string{"bad shares": "00000000", "shares that are too easy by now": "00000001"} {
		t.Run(name, func(t *testing.T) { testSharedRate(t, nonce) })
	}
}

func testSharedRate(t *testing.T, nonce string) {
	inBubble(t, ServerOptions{Limits: Limits{SharedRate: 100, MessageBurst: 1 << 20, MessageRate: 1 << 20}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		p.submit = func(_ *Conn, s *Share) error {
			switch s.Nonce {
			case 0:
				return errJobNotFound
			case 1:
				s.Worth = 1e-6
			}
			return nil
		}
		p.authorized = func(c *Conn) { c.SetDifficulty(1) }
		bad := strings.Replace(submitLine, "10015793", nonce, 1)
		for range 100 {
			conn := stay(t, l, "192.0.2.1")
			go func() {
				for {
					if _, err := io.WriteString(conn, bad); err != nil {
						return
					}
				}
			}()
		}
		conn := l.dial("192.0.2.2")
		r := bufio.NewReader(conn)
		answer := func(line, want string) (took time.Duration) {
			sent := time.Now()
			io.WriteString(conn, line)
			if got, err := r.ReadString('\n'); err != nil || strings.TrimSpace(got) != want {
				t.Fatalf("%s, %v", got, err)
			}
			return time.Since(sent)
		}
		answer(subscribeLine, subscribeReply)
		answer(authorizeLine, authorizeReply)
		_, _ = r.ReadString('\n') // the difficulty
		time.Sleep(time.Minute)
		before, waited := s.Stats().Lines.Load(), s.Stats().Throttled.Load()
		const shares = 1000
		for range shares {
			if took := answer(submitLine, submitReply); took > 0 {
				t.Fatalf("a share took %v", took)
			}
			time.Sleep(10 * time.Millisecond)
		}
		others := float64(s.Stats().Lines.Load()-before) - shares
		if others < 5000 || others > 7000 { // in 10 s 5 a second each, 100 of all
			t.Errorf("%.0f messages of the others", others)
		}
		if waits := float64(s.Stats().Throttled.Load() - waited); waits > others/8 {
			t.Errorf("%.0f waits for %.0f messages", waits, others)
		}
		conn.Close()
	})
}

// Lines that are longer than any miner's are read from strangers only as far as others have
// no use for the tokens: each costs them, and who is not worth them is closed, having sent a
// buffer's worth, while miners are served on.
func TestLongLinesOfStrangers(t *testing.T) {
	const rate = 1000
	line := `{"id":1,"method":"mining.subscribe","params":["` + strings.Repeat("x", 16000) + `"]}` + "\n"
	inBubble(t, ServerOptions{Limits: Limits{SharedRate: rate, BanScore: -1}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		ends := make(chan error, 10000)
		p.disconnected = func(_ *Conn, err error) { ends <- err }
		p.submit = func(*Conn, *Share) error { return nil }
		send := func(conn net.Conn, times int) {
			for range times {
				_, _ = io.WriteString(conn, line)
			}
		}
		miner := stay(t, l, "192.0.2.2")
		_, _ = io.WriteString(miner, submitLine)
		time.Sleep(2 * time.Second)

		stranger := stay(t, l, "192.0.2.3")
		send(stranger, 2) // the pool has nothing else to do
		synctest.Wait()
		if n := s.Stats().Ready.Load(); n != 2 {
			t.Fatalf("%d miners", n)
		}
		time.Sleep(2 * time.Second)

		before, lines := s.Stats().BytesIn.Load(), s.Stats().Lines.Load()
		const strangers = 500
		for range strangers {
			conn := l.dial("192.0.2.1")
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			go send(conn, 1)
		}
		synctest.Wait()
		read := float64(s.Stats().Lines.Load() - lines)
		if dear := float64(len(line)) / bytesPerToken; read < 10 || read*(dear-lightBurst*5) > rate {
			t.Errorf("%.0f long lines were read for %d tokens", read, rate)
		}
		if n := float64(s.Stats().BytesIn.Load() - before); n > strangers*lineBufferSize+read*float64(len(line)) {
			t.Errorf("%.0f bytes were read", n)
		}
		time.Sleep(lingerTime)
		cut := 0
		for len(ends) > 0 {
			if err := <-ends; errors.Is(err, ErrInputFull) {
				cut++
			}
		}
		if cut != strangers-int(read) {
			t.Errorf("%d of %d were closed, %.0f were served", cut, strangers, read)
		}
		send(miner, 3)
		time.Sleep(time.Minute)
		if n := s.Stats().Lines.Load(); n < lines+uint64(read)+3 {
			t.Errorf("the miner's long lines are not read, if slowly: %d", n)
		}
	})
}

// Where messages are not limited in their rate, long lines of strangers are not either.
func TestLongLinesWithoutLimit(t *testing.T) {
	line := `{"id":1,"method":"mining.ping","x":"` + strings.Repeat("x", 16000) + `"}` + "\n"
	for name, limits := range map[string]Limits{"no rate": {MessageRate: -1}, "no burst": {MessageBurst: -1}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{Limits: limits}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				const lines = 300
				answered := 0
				for range lines {
					conn := l.dial("192.0.2.1")
					all := readAll(conn)
					_, _ = io.WriteString(conn, line)
					synctest.Wait()
					conn.Close()
					answered += strings.Count(<-all, `"pong"`)
				}
				if answered != lines {
					t.Errorf("%d of %d lines were answered", answered, lines)
				}
			})
		})
	}
}

// Who rests is woken when the connection ends, and not before.
func TestRestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerOptions{}, &testPool{})
		for name, end := range map[string]func(c *Conn){
			"closed": func(c *Conn) { c.Close(nil) }, "failed": func(c *Conn) { c.fail(ErrCrowded) }, "before": nil,
		} {
			base, far := net.Pipe()
			defer far.Close()
			c := newConn(s, base)
			want := 7 * time.Millisecond
			if end == nil {
				c.Close(nil)
				want = 0
			} else {
				time.AfterFunc(want, func() { end(c) })
			}
			began := time.Now()
			if c.rest(time.Minute); time.Since(began) != want {
				t.Errorf("%s: rested for %v", name, time.Since(began))
			}
		}
		base, far := net.Pipe()
		defer far.Close()
		c := newConn(s, base)
		began := time.Now()
		if c.rest(time.Minute); time.Since(began) != time.Minute {
			t.Errorf("rested for %v", time.Since(began))
		}
	})
}

// Who sends its messages byte by byte wakes the server no more often than who sends shares;
// a small device that does it is not slower for it.
func TestCrumbs(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		crumbs := func(conn net.Conn, line string) (err error) {
			for i := 0; i < len(line) && err == nil; i++ {
				_, err = io.WriteString(conn, line[i:i+1])
			}
			return err
		}
		conn := stay(t, l, "192.0.2.1")
		before := s.Stats().BytesIn.Load()
		go func() {
			for crumbs(conn, `{"id":1,"method":"mining.ping","params":[]}`+"\n") == nil {
			}
		}()
		time.Sleep(10 * time.Second)
		if n := s.Stats().BytesIn.Load() - before; n > 6000 {
			t.Errorf("%d reads in 10 s", n)
		}
		conn.Close()

		conn = l.dial("192.0.2.2")
		r := bufio.NewReader(conn)
		for _, line := range append([]string{subscribeLine, authorizeLine}, slices.Repeat([]string{submitLine}, 100)...) {
			sent := time.Now()
			if err := crumbs(conn, line); err != nil {
				t.Fatal(err)
			}
			if _, err := r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(sent); took > 0 {
				t.Fatalf("%q was answered after %v", line, took)
			}
			time.Sleep(4 * time.Second)
		}
		conn.Close()
	})
}

// A buffer that had to grow keeps what is in it, and gives the space back.
func TestGreatLines(t *testing.T) {
	for _, size := range []int{lineBufferSize + 1, 16<<10 + 2, len(greatLine{}), len(greatLine{}) + 1, 100 << 10} {
		l := lineBuffers.New().(*lineBuffer)
		for range 3 {
			for n := 0; n < size; n += l.end - n {
				free := l.free()
				for i := range free {
					free[i] = byte((n + i) % 251)
				}
				l.end += len(free)
			}
			for i, b := range l.b[:size] {
				if b != byte(i%251) {
					t.Fatalf("%d bytes: byte %d is %d", size, i, b)
				}
			}
			c := &Conn{input: input{lines: l}}
			c.releaseInput()
			if c.lines != nil || len(l.b) != lineBufferSize || l.small != nil || l.end != 0 {
				t.Fatalf("%d bytes: a buffer of %d comes back", size, len(l.b))
			}
			l = lineBuffers.New().(*lineBuffer)
		}
	}
}
