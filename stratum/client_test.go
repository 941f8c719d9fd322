package stratum

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// scriptedPool is a pool of which a script plays each connection.
type scriptedPool struct {
	t     *testing.T
	play  func(p *poolConn)
	mu    sync.Mutex
	addrs []string // that were dialed
	conns []net.Conn
	wg    sync.WaitGroup
}

type poolConn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
	n int // of the connection, from 1
}

func (p *scriptedPool) dial(_ context.Context, _, addr string) (net.Conn, error) {
	p.mu.Lock()
	p.addrs = append(p.addrs, addr)
	n := len(p.addrs)
	p.mu.Unlock()
	ours, theirs := net.Pipe()
	p.mu.Lock()
	p.conns = append(p.conns, theirs)
	p.mu.Unlock()
	p.wg.Go(func() {
		defer theirs.Close()
		p.play(&poolConn{theirs, p.t, bufio.NewReader(theirs), n})
	})
	return ours, nil
}

// read is the next line from the client, without its end; "" at the end.
func (p *poolConn) read() string {
	line, err := p.r.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(line, "\n")
}

func (p *poolConn) expect(want string) {
	p.t.Helper()
	if got := p.read(); got != want {
		p.t.Errorf("client sent %s\nwant %s", got, want)
	}
}

func (p *poolConn) send(lines ...string) {
	io.WriteString(p, strings.Join(lines, "\n")+"\n")
}

// rest reads until the client ends the connection.
func (p *poolConn) rest() (lines []string) {
	for {
		line := p.read()
		if line == "" {
			return lines
		}
		lines = append(lines, line)
	}
}

const (
	wantConfigure = `{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]}`
	wantSubscribe = `{"id":2,"method":"mining.subscribe","params":["lode"]}`
	wantAuthorize = `{"id":3,"method":"mining.authorize","params":["me","x"]}`
	okConfigure   = `{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}`
	okSubscribe   = `{"id":2,"result":[[["mining.set_difficulty","d"],["mining.notify","n1"]],"a1b2c3d4",8],"error":null}`
	okAuthorize   = `{"id":3,"result":true,"error":null}`
)

// notifyLine is a job of now.
func notifyLine(id string, change func(*Job)) string {
	j := simnetJob()
	j.ID, j.Time, j.Clean = id, uint32(time.Now().Unix()), false
	if change != nil {
		change(j)
	}
	return strings.TrimSuffix(string(EncodeJob(j).Line()), "\n")
}

// login plays the usual handshake.
func (p *poolConn) login() {
	p.t.Helper()
	p.expect(wantConfigure)
	p.expect(wantSubscribe)
	p.send(okConfigure, okSubscribe)
	p.expect(wantAuthorize)
	p.send(okAuthorize)
}

// inPool runs f in a synctest bubble with a pool and the options to dial it.
func inPool(t *testing.T, play func(p *poolConn), f func(t *testing.T, o ClientOptions, p *scriptedPool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &scriptedPool{t: t, play: play}
		f(t, ClientOptions{URL: "stratum+tcp://pool.example:3333", User: "me", Password: "x", Dialer: p.dial}, p)
		p.wg.Wait()
	})
}

// dialed is a session with the pool; close it before the test ends.
func dialed(t *testing.T, o ClientOptions) *Session {
	t.Helper()
	s, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// How pools answer the handshake, and what the first assignment is then.
func TestSessionHandshakes(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(p *poolConn)
		mask uint32
		id   string
	}{
		{"usual", func(p *poolConn) {
			p.login()
			p.send(notifyLine("j", nil))
		}, DefaultVersionMask, "n1"},
		{"smaller mask", func(p *poolConn) {
			p.handshake(`{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"ff00c000"},"error":null}`, okSubscribe, okAuthorize)
			p.send(notifyLine("j", nil))
		}, 0x1f00c000, "n1"},
		{"configure refused", func(p *poolConn) {
			p.handshake(`{"id":1,"result":{"version-rolling":false},"error":null}`, okSubscribe, okAuthorize)
			p.send(notifyLine("j", nil))
		}, 0, "n1"},
		{"configure is an error", func(p *poolConn) {
			p.handshake(`{"id":1,"result":null,"error":[-3,"Method not found",null]}`, okSubscribe, okAuthorize)
			p.send(notifyLine("j", nil))
		}, 0, "n1"},
		{"configure ignored", func(p *poolConn) {
			p.expect(wantConfigure)
			p.expect(wantSubscribe)
			p.send(okSubscribe)
			p.expect(wantAuthorize)
			p.send(okAuthorize, notifyLine("j", nil))
			time.Sleep(time.Minute) // past the time for replies: nothing happens
		}, 0, "n1"},
		{"configure answered late", func(p *poolConn) {
			p.expect(wantConfigure)
			p.expect(wantSubscribe)
			p.send(okSubscribe)
			p.expect(wantAuthorize)
			p.send(okAuthorize, okConfigure, notifyLine("j", nil))
		}, DefaultVersionMask, "n1"},
		{"connection dropped at configure", func(p *poolConn) {
			if p.n == 1 {
				p.expect(wantConfigure)
				p.Close()
				return
			}
			p.expect(`{"id":1,"method":"mining.subscribe","params":["lode"]}`)
			p.send(strings.Replace(okSubscribe, `"id":2`, `"id":1`, 1))
			p.expect(`{"id":2,"method":"mining.authorize","params":["me","x"]}`)
			p.send(strings.Replace(okAuthorize, `"id":3`, `"id":2`, 1), notifyLine("j", nil))
		}, 0, "n1"},
		{"silent after configure", func(p *poolConn) {
			if p.n == 1 {
				return
			}
			p.expect(`{"id":1,"method":"mining.subscribe","params":["lode"]}`)
			p.send(strings.Replace(okSubscribe, `"id":2`, `"id":1`, 1))
			p.expect(`{"id":2,"method":"mining.authorize","params":["me","x"]}`)
			p.send(strings.Replace(okAuthorize, `"id":3`, `"id":2`, 1), notifyLine("j", nil))
		}, 0, "n1"},
		{"flat subscription", func(p *poolConn) {
			p.handshake(okConfigure, `{"id":2,"result":[["mining.notify","n2"],"a1b2c3d4",8],"error":null}`, okAuthorize)
			p.send(notifyLine("j", nil))
		}, DefaultVersionMask, "n2"},
		{"no subscription ids", func(p *poolConn) {
			p.handshake(okConfigure, `{"error":null,"result":[null,"a1b2c3d4","8"],"id":"2"}`, okAuthorize)
			p.send(notifyLine("j", nil))
		}, DefaultVersionMask, ""},
		{"notifications first, wild form", func(p *poolConn) {
			p.expect(wantConfigure)
			p.expect(wantSubscribe)
			p.send("\r", `{"id":null,"method":"mining.set_difficulty","params":[3]}`+"\r", notifyLine("early", nil), okConfigure, okSubscribe)
			p.expect(wantAuthorize)
			p.send(`{"id":null,"method":"mining.unheard_of","params":{}}`, notifyLine("j", nil), okAuthorize)
		}, DefaultVersionMask, "n1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inPool(t, func(p *poolConn) {
				c.play(p)
				p.rest()
			}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
				s := dialed(t, o)
				defer s.Close()
				a := <-s.Assignments()
				for a.Job.ID != "j" {
					a = <-s.Assignments()
				}
				if a.VersionMask != c.mask || string(a.Extranonce1) != "\xa1\xb2\xc3\xd4" || a.Extranonce2Size != 8 || a.Generation != 1 || !a.Job.Clean {
					t.Errorf("assignment %+v", a)
				}
				if want := Difficulty(1); !strings.Contains(c.name, "wild") && a.Difficulty != want {
					t.Errorf("difficulty %v without mining.set_difficulty", a.Difficulty)
				}
				if s.SessionID() != c.id {
					t.Errorf("session id %q, want %q", s.SessionID(), c.id)
				}
				time.Sleep(50 * time.Second)
				synctest.Wait()
				if s.Err() != nil {
					t.Errorf("ended: %v", s.Err())
				}
			})
		})
	}
}

// handshake plays a handshake with the given replies; authorize may be "".
func (p *poolConn) handshake(configure, subscribe, authorize string) {
	p.t.Helper()
	p.expect(wantConfigure)
	p.expect(wantSubscribe)
	p.send(configure, subscribe)
	if authorize == "" {
		return
	}
	p.expect(wantAuthorize)
	p.send(authorize)
}

func TestSessionOptions(t *testing.T) {
	inPool(t, func(p *poolConn) {
		p.expect(`{"id":1,"method":"mining.configure","params":[["version-rolling","subscribe-extranonce"],{"version-rolling.mask":"00002000","version-rolling.min-bit-count":1}]}`)
		p.expect(`{"id":2,"method":"mining.subscribe","params":["a\"gent","old"]}`)
		p.send(okSubscribe)
		p.expect(wantAuthorize)
		p.send(okAuthorize)
		p.expect(`{"id":4,"method":"mining.extranonce.subscribe","params":[]}`)
		p.expect(`{"id":5,"method":"mining.suggest_difficulty","params":[0.5]}`)
		p.send(`{"id":4,"result":null,"error":"unknown"}`) // and 5 is never answered
		p.rest()
	}, func(t *testing.T, o ClientOptions, p *scriptedPool) {
		o.VersionMask, o.UserAgent, o.Resume, o.SubscribeExtranonce, o.SuggestDifficulty = 0x2000, `a"gent`, "old", true, 0.5
		s, err := Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Second)
		synctest.Wait()
		if s.Err() != nil {
			t.Errorf("ended: %v", s.Err())
		}
		s.Close()
		if p.addrs[0] != "pool.example:3333" {
			t.Errorf("dialed %q", p.addrs)
		}
	})
}

func TestDialEndsWithContext(t *testing.T) {
	inPool(t, func(p *poolConn) { p.rest() }, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Dial(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// The state that messages between jobs change, and when it counts.
func TestSessionState(t *testing.T) {
	var steps, shown chan string
	inPool(t, func(p *poolConn) {
		p.login()
		for line := range steps {
			p.send(line)
		}
		p.rest()
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		// Channels of the bubble, so that it knows when all wait.
		steps, shown = make(chan string), make(chan string, 1)
		o.OnMessage = func(text string) { shown <- text }
		s, err := Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		next := func(line string) (a Assignment, ok bool) {
			steps <- line
			synctest.Wait()
			select {
			case a = <-s.Assignments():
				return a, true
			default:
				return a, false
			}
		}
		quiet := func(line string) {
			t.Helper()
			if a, ok := next(line); ok {
				t.Errorf("%s: assignment %+v", line, a)
			}
		}
		quiet(`{"id":null,"method":"mining.set_difficulty","params":[8]}`)
		a, _ := next(notifyLine("1", nil))
		if a.Difficulty != 8 || !a.Job.Clean {
			t.Errorf("first job %+v", a)
		}
		quiet(`{"id":null,"method":"mining.set_difficulty","params":[16]}`)
		if s.Current().Difficulty != 8 {
			t.Error("the difficulty of a job has changed")
		}
		if a, _ = next(notifyLine("2", nil)); a.Difficulty != 16 || a.Job.Clean {
			t.Errorf("second job %+v", a)
		}
		quiet(`{"id":null,"method":"mining.set_extranonce","params":["0011",6]}`)
		if a, _ = next(notifyLine("3", nil)); string(a.Extranonce1) != "\x00\x11" || a.Extranonce2Size != 6 || !a.Job.Clean {
			t.Errorf("job after set_extranonce %+v", a)
		}
		if a, _ = next(`{"id":null,"method":"mining.set_version_mask","params":["00c00000"]}`); a.VersionMask != 0x00c00000 || a.Job.ID != "3" {
			t.Errorf("after set_version_mask %+v", a)
		}
		if a, _ = next(notifyLine("4", func(j *Job) { j.PrevBlock[0]++ })); !a.Job.Clean {
			t.Error("job on another block is not clean")
		}
		// btcd's templates have bits 22 and 28 set: what is set is not rolled.
		if a, _ = next(notifyLine("5", func(j *Job) { j.Version = 0x30400000 })); a.VersionMask != 0x00800000 || a.Job.Version != 0x30400000 {
			t.Errorf("job with bits of the mask set %+v", a)
		}
		// Two jobs while nobody looks: the newer one, clean as the older was.
		steps <- notifyLine("6", func(j *Job) { j.Clean = true })
		if a, _ = next(notifyLine("7", func(j *Job) { j.Clean = false })); a.Job.ID != "7" || !a.Job.Clean {
			t.Errorf("missed a clean job: %+v", a)
		}
		quiet(`{"id":null,"method":"client.show_message","params":["hello\u0007 ` + strings.Repeat("x", 1000) + `"]}`)
		if text := <-shown; !strings.HasPrefix(text, "hello x") || len(text) != 512 {
			t.Errorf("shown %q", text)
		}
		close(steps)
		s.Close()
		if !errors.Is(s.Err(), ErrDisconnected) {
			t.Error(s.Err())
		}
	})
}

func TestSessionAnswersQuestions(t *testing.T) {
	inPool(t, func(p *poolConn) {
		p.login()
		p.send(`{"id":7,"method":"mining.ping","params":[]}`)
		p.expect(`{"id":7,"result":"pong","error":null}`)
		p.send(`{"id":"v","method":"client.get_version","params":[]}`)
		p.expect(`{"id":"v","result":"lode","error":null}`)
		p.send(`{"id":8,"method":"mining.riddle","params":[]}`)
		p.expect(`{"id":8,"result":null,"error":[20,"Method not found",null]}`)
		p.send(`{"id":null,"method":"mining.ping","params":[]}`, `{"id":99,"result":true,"error":null}`, `{"id":9,"method":"mining.ping"}`)
		p.expect(`{"id":9,"result":"pong","error":null}`)
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		s, err := Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		<-s.Done()
		s.Close()
		if !errors.Is(s.Err(), io.EOF) {
			t.Error(s.Err())
		}
	})
}

func TestSessionSilence(t *testing.T) {
	inPool(t, func(p *poolConn) {
		p.login()
		time.Sleep(100 * time.Second)
		p.send(notifyLine("j", nil))
		p.rest()
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		start := time.Now()
		s, err := Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		<-s.Done()
		if took := time.Since(start); !errors.Is(s.Err(), ErrSilent) || took != 220*time.Second {
			t.Errorf("%v after %v", s.Err(), took)
		}
		s.Close()
	})
}

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]string{
		"stratum+tcp://pool.example:3333": "pool.example:3333 false", "stratum+tls://[::1]:443/": "[::1]:443 true",
		"stratum+ssl://10.0.0.1:1": "10.0.0.1:1 true", "stratum+tcp://user:secret@h:65535": "h:65535 false",
	} {
		addr, secure, err := ParseURL(raw)
		if got := fmt.Sprint(addr, " ", secure); err != nil || got != want {
			t.Errorf("%s: %s, %v", raw, got, err)
		}
	}
	for _, raw := range []string{
		"", "pool.example:3333", "http://pool:80", "stratum+tcp://pool", "stratum+tcp://pool:0", "stratum+tcp://pool:65536",
		"stratum+tcp://pool:-1", "stratum+tcp://:3333", "stratum+tcp://pool:3333/path", "stratum+tcp://pool:x", "stratum+tcp://me:secret@pool",
	} {
		if _, _, err := ParseURL(raw); err == nil {
			t.Errorf("%q is accepted", raw)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error tells the password: %v", raw, err)
		}
	}
}
