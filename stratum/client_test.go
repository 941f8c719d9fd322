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

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// scriptedPool is a pool of which a script plays each connection.
type scriptedPool struct {
	t     *testing.T
	play  func(p *poolConn)
	mu    sync.Mutex
	addrs []string // that were dialed
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
				s, err := Dial(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
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

func TestSessionDialFails(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(p *poolConn)
		want error
		text string
	}{
		{"authorize false", func(p *poolConn) { p.handshake(okConfigure, okSubscribe, `{"id":3,"result":false,"error":null}`) }, ErrUnauthorized, "refused without a reason"},
		{"authorize error", func(p *poolConn) {
			p.handshake(okConfigure, okSubscribe, `{"id":3,"result":null,"error":[24,"no \u001b[1msuch user",null]}`)
		}, ErrUnauthorized, `"me": no [1msuch user`},
		{"subscribe error object", func(p *poolConn) {
			p.handshake(okConfigure, `{"id":2,"result":null,"error":{"code":-2,"message":"full"}}`, "")
		}, nil, "mining.subscribe: full"},
		{"subscribe error string", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":null,"error":"full"}`, "") }, nil, "mining.subscribe: full"},
		{"long extranonce1", func(p *poolConn) {
			p.handshake(okConfigure, `{"id":2,"result":[[],"`+strings.Repeat("00", 33)+`",8],"error":null}`, "")
		}, ErrProtocol, "at most 32 bytes"},
		{"odd extranonce1", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":[[],"abc",8],"error":null}`, "") }, ErrProtocol, "odd length"},
		{"no extranonce1", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":true,"error":null}`, "") }, ErrProtocol, "extranonce1"},
		{"extranonce2 of 0", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":[[],"00",0],"error":null}`, "") }, ErrProtocol, "want 1 to 16"},
		{"extranonce2 of 17", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":[[],"00",17],"error":null}`, "") }, ErrProtocol, "want 1 to 16"},
		{"extranonce2 of 1e9", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":[[],"00",1e9],"error":null}`, "") }, ErrProtocol, "want 1 to 16"},
		{"extranonce2 of 4.5", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":[[],"00",4.5],"error":null}`, "") }, ErrProtocol, "want 1 to 16"},
		{"garbage", func(p *poolConn) { p.handshake("HTTP/1.1 400 Bad Request", "", "") }, ErrProtocol, `"HTTP/1.1 400`},
		{"silence", func(p *poolConn) {}, ErrSilent, "no reply to mining.subscribe within 30s"},
		{"silent authorize", func(p *poolConn) { p.expect(wantConfigure); p.expect(wantSubscribe); p.send(okSubscribe) }, ErrSilent, "no reply to mining.authorize within 30s"},
		{"endless line", func(p *poolConn) {
			p.expect(wantConfigure)
			p.expect(wantSubscribe)
			for range 1 << 11 {
				io.WriteString(p, strings.Repeat(" ", 1<<10+1))
			}
		}, ErrProtocol, "line of more than 1048576 bytes"},
		{"drop at subscribe", func(p *poolConn) { p.read(); p.Close() }, io.EOF, "EOF"},
		{"no job", func(p *poolConn) { p.login() }, ErrSilent, "no job within 1m0s of authorize"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inPool(t, func(p *poolConn) {
				c.play(p)
				p.rest()
			}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
				o.FirstJobTimeout = time.Minute
				_, err := Dial(t.Context(), o)
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v, want %v with %q", err, c.want, c.text)
				}
				if err != nil && !strings.Contains(err.Error(), "pool stratum+tcp://pool.example:3333: ") {
					t.Errorf("%v does not name the pool", err)
				}
			})
		})
	}
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

// Whatever the pool sends after the handshake that is out of bounds ends the session.
func TestSessionBounds(t *testing.T) {
	notify := func(change func(*Job)) func() string { return func() string { return notifyLine("j", change) } }
	with := func(old, replacement string) func() string {
		return func() string { return strings.Replace(notifyLine("j", nil), old, replacement, 1) }
	}
	set := func(line string) func() string { return func() string { return line } }
	for _, c := range []struct {
		name string
		line func() string
		text string // "": is accepted
	}{
		{"job", notify(nil), ""},
		{"32 branches", notify(func(j *Job) { j.MerkleBranch = append(j.MerkleBranch, make([]chainhash.Hash, 32)...) }), ""},
		{"33 branches", notify(func(j *Job) { j.MerkleBranch = append(j.MerkleBranch, make([]chainhash.Hash, 33)...) }), "more than 32 hashes"},
		{"short branch", with(`",[],"`, `",["00"],"`), "64 hexadecimal digits"},
		{"branch of numbers", with(`",[],"`, `",[1],"`), "64 hexadecimal digits"},
		{"branch that is none", with(`",[],"`, `","","`), "want an array"},
		{"coinbase of 32 KiB", notify(func(j *Job) { j.Coinbase2 = make([]byte, maxCoinbase-len(j.Coinbase1)-2) }), ""},
		{"larger coinbase", notify(func(j *Job) { j.Coinbase2 = make([]byte, maxCoinbase) }), "coinbase of more than"},
		{"odd coinbase", with(`ffffffff18510c"`, `ffffffff18510"`), "coinb1"},
		{"id of 64", notify(func(j *Job) { j.ID = strings.Repeat("j", 64) }), ""},
		{"id of 65", notify(func(j *Job) { j.ID = strings.Repeat("j", 65) }), "job id"},
		{"no id", notify(func(j *Job) { j.ID = "" }), "job id"},
		{"id is a number", with(`["j"`, `[17`), ""},
		{"short prevhash", with(`69d7`, ``), "prevhash"},
		{"prevhash with a sign", with(`69d7`, `-9d7`), "prevhash"},
		{"version of 9 digits", with(`"20000000"`, `"200000000"`), "up to 8"},
		{"version unpadded", with(`"20000000"`, `"1"`), ""},
		{"nbits negative", notify(func(j *Job) { j.Bits = 0x1d80ffff }), "negative"},
		{"nbits zero", notify(func(j *Job) { j.Bits = 0x1d000000 }), "zero"},
		{"nbits tiny exponent", notify(func(j *Job) { j.Bits = 0x0200ffff }), "easier"},
		{"nbits above any limit", notify(func(j *Job) { j.Bits = 0x2100ffff }), "easier"},
		{"nbits with the top bit", notify(func(j *Job) { j.Bits = 0x2100ff00 }), "easier"},
		{"time of long ago", notify(func(j *Job) { j.Time -= 7300 }), "check the clock"},
		{"time to come", notify(func(j *Job) { j.Time += 7300 }), "check the clock"},
		{"time a bit off", notify(func(j *Job) { j.Time += 7000 }), ""},
		{"8 params", with(`,false]`, `]`), "fewer than 9"},
		{"10 params", with(`,false]`, `,false,true]`), ""},
		{"no params", set(`{"method":"mining.notify"}`), "fewer than 9"},
		{"difficulty 0", set(`{"method":"mining.set_difficulty","params":[0]}`), "difficulty"},
		{"difficulty -1", set(`{"method":"mining.set_difficulty","params":[-1]}`), "difficulty"},
		{"difficulty 1e400", set(`{"method":"mining.set_difficulty","params":[1e400]}`), "difficulty"},
		{"difficulty 1e68", set(`{"method":"mining.set_difficulty","params":[1e68]}`), "difficulty"},
		{"difficulty NaN", set(`{"method":"mining.set_difficulty","params":["NaN"]}`), "difficulty"},
		{"difficulty none", set(`{"method":"mining.set_difficulty","params":[]}`), "difficulty"},
		{"difficulty 1e-7", set(`{"method":"mining.set_difficulty","params":[1e-07]}`), ""},
		{"extranonce", set(`{"method":"mining.set_extranonce","params":["ff",4]}`), ""},
		{"extranonce too long", set(`{"method":"mining.set_extranonce","params":["` + strings.Repeat("ff", 33) + `",4]}`), "extranonce1"},
		{"extranonce2 too long", set(`{"method":"mining.set_extranonce","params":["ff",17]}`), "extranonce2"},
		{"mask of 9 digits", set(`{"method":"mining.set_version_mask","params":["11fffe000"]}`), "version mask"},
		{"nested", set(`{"method":"x","params":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`), "nested too deeply"},
		{"message", set(`{"method":"client.show_message","params":[7]}`), ""},
		{"long line", set(`{"method":"x","params":["` + strings.Repeat("x", 1<<20-100) + `"]}`), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inPool(t, func(p *poolConn) {
				p.login()
				p.send(c.line())
				p.rest()
			}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
				s, err := Dial(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				synctest.Wait()
				switch err := s.Err(); {
				case c.text == "" && err != nil:
					t.Error(err)
				case c.text != "" && (!errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), c.text)):
					t.Errorf("%v, want %q", err, c.text)
				}
			})
		})
	}
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

func TestSessionSubmit(t *testing.T) {
	const share = `"method":"mining.submit","params":["me","j","0102030405060708","00000001","00000002","00c0e000"]}`
	inPool(t, func(p *poolConn) {
		p.login()
		p.send(notifyLine("j", nil))
		var ids []string
		for range 9 {
			line := p.read()
			id, rest, _ := strings.Cut(line, ",")
			if rest != share {
				p.t.Errorf("client sent %s", line)
			}
			ids = append(ids, id)
		}
		for i, reply := range []string{
			`,"result":true,"error":null}`,
			`,"result":true,"error":[]}`,
			`,"result":true}`,
			`,"result":false,"error":[23,"too \u001beasy",null]}`,
			`,"result":null,"error":{"code":21,"message":"stale"}}`,
			`,"result":null,"error":"dup"}`,
			`,"result":false,"error":null}`,
			`,"result":null,"error":null}`,
		} {
			p.send(ids[i] + reply)
		}
		p.rest() // the last one is never answered
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		s, err := Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		a := <-s.Assignments()
		verdicts := make([]chan error, 9)
		for i := range verdicts {
			verdicts[i] = make(chan error, 1)
			if err := s.SubmitAsync(a, []byte{1, 2, 3, 4, 5, 6, 7, 8}, 1, 2, 0x20c0e000, func(err error) { verdicts[i] <- err }); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []string{
			"<nil>", "<nil>", "<nil>", "23 too easy", "21 stale", "20 dup", "20 refused without a reason", "20 refused without a reason",
		} {
			err := <-verdicts[i]
			got := fmt.Sprint(err)
			if e := new(Error); errors.As(err, &e) {
				got = fmt.Sprint(e.Code, " ", e.Text)
			}
			if got != want {
				t.Errorf("verdict %d: %s, want %s", i, got, want)
			}
		}
		if err := <-verdicts[8]; !errors.Is(err, ErrDisconnected) || !errors.Is(err, ErrSilent) {
			t.Errorf("unanswered share: %v", err)
		}
		if err := s.Submit(t.Context(), a, make([]byte, 8), 1, 2, 3); !errors.Is(err, ErrDisconnected) {
			t.Errorf("share after the end: %v", err)
		}
	})
}

// The sixth parameter is there exactly if versions are rolled; what the job has
// set of the mask stands in it.
func TestSessionVersionBits(t *testing.T) {
	for _, c := range []struct {
		configure string
		version   uint32
		share     uint32
		want      string
	}{
		{okConfigure, 0x20000000, 0x20000000, `,"00000000"]}`},
		{okConfigure, 0x30400000, 0x30402000, `,"10402000"]}`},
		{`{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"00400000"},"error":null}`, 0x30400000, 0x30400000, `,"00400000"]}`},
		{`{"id":1,"result":null,"error":[-3,"no",null]}`, 0x20000000, 0x20000000, `"00000002"]}`},
	} {
		inPool(t, func(p *poolConn) {
			p.handshake(c.configure, okSubscribe, okAuthorize)
			p.send(notifyLine("j", func(j *Job) { j.Version = c.version }))
			if line := p.read(); !strings.HasSuffix(line, c.want) {
				p.t.Errorf("version %08x of job %08x: %s", c.share, c.version, line)
			}
		}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
			s, err := Dial(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_ = s.Submit(t.Context(), <-s.Assignments(), make([]byte, 8), 1, 2, c.share)
		})
	}
}

func TestSessionBusy(t *testing.T) {
	inPool(t, func(p *poolConn) {
		p.login()
		p.send(notifyLine("j", nil))
		time.Sleep(time.Hour) // reads nothing
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		s, err := Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		a := <-s.Assignments()
		lost := 0
		for n := 0; ; n++ {
			err := s.SubmitAsync(a, make([]byte, 8), 1, 2, 3, func(error) { lost++ })
			if errors.Is(err, ErrBusy) {
				if n < queueSize {
					t.Errorf("busy after %d shares", n)
				}
				s.Close()
				if lost != n {
					t.Errorf("%d of %d shares were given up", lost, n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
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
