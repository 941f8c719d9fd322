package stratum

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

func TestSessionDialFails(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(p *poolConn)
		want error
		text string
	}{
		{"authorize false", func(p *poolConn) { p.handshake(okConfigure, okSubscribe, `{"id":3,"result":false,"error":null}`) }, ErrUnauthorized, "refused without a reason"},
		{"authorize refused in words", func(p *poolConn) {
			p.handshake(okConfigure, okSubscribe, `{"id":3,"result":"Invalid worker name","error":null}`)
		}, ErrUnauthorized, "Invalid worker name"},
		{"authorize refused by a status", func(p *poolConn) {
			p.handshake(okConfigure, okSubscribe, `{"id":3,"result":{"status":"denied"},"error":null}`)
		}, ErrUnauthorized, "denied"},
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
		{"extranonce2 below 0", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":[[],"00",-1],"error":null}`, "") }, ErrProtocol, "want 0 to 16"},
		{"last words without a line feed", func(p *poolConn) {
			p.handshake(okConfigure, okSubscribe, okSubscribe)
			io.WriteString(p, `{"id":3,"result":false,"error":[24,"banned",null]}`)
			p.Close()
		}, ErrUnauthorized, "banned"},
		{"last words that are cut", func(p *poolConn) {
			p.handshake(okConfigure, okSubscribe, okSubscribe)
			io.WriteString(p, `{"id":3,"result":false`)
			p.Close()
		}, io.EOF, "read: EOF"},
		{"an alert of TLS", func(p *poolConn) { p.read(); io.WriteString(p, "\x15\x03\x01\x00\x02\x02\x46"); p.Close() }, ErrProtocol, "it speaks TLS"},
		{"extranonce2 of 17", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":[[],"00",17],"error":null}`, "") }, ErrProtocol, "want 0 to 16"},
		{"extranonce2 of 1e9", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":[[],"00",1e9],"error":null}`, "") }, ErrProtocol, "want 0 to 16"},
		{"extranonce2 of 4.5", func(p *poolConn) { p.handshake(okConfigure, `{"id":2,"result":[[],"00",4.5],"error":null}`, "") }, ErrProtocol, "want 0 to 16"},
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

// What the pool sends after the handshake that is out of bounds is left out, with a
// warning: the session goes on, and the next job is mined on.
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
		{"branch that is none", with(`",[],"`, `","x","`), "64 hexadecimal digits"},
		{"branch with a hole", with(`",[],"`, `",["`+strings.Repeat("00", 32)+`",null],"`), "64 hexadecimal digits"},
		{"coinbase of 160 KiB", notify(func(j *Job) { j.Coinbase2 = make([]byte, maxCoinbase-len(j.Coinbase1)-2) }), ""},
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
		{"8 params", with(`,false]`, `]`), ""},
		{"7 params", set(`{"method":"mining.notify","params":["j","00","00","00",[],"20000000","207fffff"]}`), "fewer than 9"},
		{"clean is a number", with(`,false]`, `,1]`), ""},
		{"branch is null", with(`",[],"`, `",null,"`), ""},
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
				time.Sleep(time.Second)
				p.send(`{"method":"mining.set_difficulty","params":[2]}`, notifyLine("next", nil))
				p.rest()
			}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
				var log strings.Builder
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				s, err := Dial(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				isJob := strings.Contains(c.line(), "mining.notify")
				select {
				case a := <-s.Assignments():
					if c.text != "" || !isJob {
						t.Errorf("assignment %+v", a)
					}
				default:
					if c.text == "" && isJob {
						t.Error("no assignment")
					}
				}
				time.Sleep(2 * time.Second)
				if a := <-s.Assignments(); a.Job.ID != "next" || a.Difficulty != 2 {
					t.Errorf("the next assignment is %+v", a)
				}
				if s.Err() != nil {
					t.Errorf("ended: %v", s.Err())
				}
				s.Close()
				if warned := strings.Contains(log.String(), "WARN"); warned != (c.text != "") || !strings.Contains(log.String(), c.text) {
					t.Errorf("the log has %q, want a warning with %q", log.String(), c.text)
				}
			})
		})
	}
}

// TestWaitingForWork: what cannot be mined on is waited out on the connection; the work
// is withdrawn, and the state says why.
func TestWaitingForWork(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string // after a good job
		after time.Duration
		why   string
		good  string // that ends it
	}{
		"difficulty 0": {
			[]string{`{"method":"mining.set_difficulty","params":[0]}`, "job"},
			0, "difficulty \"0\"",
			`{"method":"mining.set_difficulty","params":[4]}`,
		},
		"jobs that cannot be read": {[]string{`{"method":"mining.notify","params":["j","00"]}`}, unusedTime, "fewer than 9 params", "job"},
		"a clock far off":          {[]string{"far"}, unusedTime, "check the clock", "job"},
		"one empty job":            {[]string{`{"method":"mining.notify","params":[]}`}, -1, "", "job"},
	} {
		t.Run(name, func(t *testing.T) {
			var send chan string
			line := func(l string) string {
				switch l {
				case "job":
					return notifyLine("again", nil)
				case "far":
					return notifyLine("far", func(j *Job) { j.Time += 1e6 })
				}
				return l
			}
			runClient(t, func(p *poolConn) {
				p.login()
				p.send(notifyLine("first", nil))
				for l := range send {
					p.send(line(l))
				}
				p.rest()
				if p.n > 1 {
					t.Error("connected again")
				}
			}, func(*ClientOptions) { send = make(chan string) }, func(t *testing.T, client *Client, _ *scriptedPool) {
				if a := <-client.Assignments(); a.Job == nil || a.Job.ID != "first" {
					t.Fatalf("first assignment %+v", a)
				}
				for _, l := range c.lines {
					send <- l
				}
				synctest.Wait()
				if c.after > 0 && len(client.Assignments()) > 0 {
					t.Error("the work was withdrawn at once")
				}
				time.Sleep(c.after + 3*time.Second)
				synctest.Wait()
				if c.after < 0 {
					if len(client.Assignments()) > 0 {
						t.Error("the work was withdrawn")
					}
				} else {
					if a := <-client.Assignments(); a.Job != nil || a.Why == nil || !strings.Contains(a.Why.Error(), c.why) {
						t.Errorf("assignment %+v", a)
					}
					if s := client.State(); !s.Connected || s.Err == nil || !strings.Contains(s.Err.Error(), c.why) {
						t.Errorf("state %+v, want %q", s, c.why)
					}
				}
				send <- c.good
				if a := <-client.Assignments(); a.Job == nil || a.Job.ID != "again" || !a.Difficulty.Valid() || a.Job.Clean != (c.after >= 0) {
					t.Errorf("after that: %+v", a)
				}
				if s := client.State(); !s.Connected || s.Err != nil {
					t.Errorf("state %+v", s)
				}
				close(send)
			})
		})
	}
}

// TestSameJobAgain: another mask, or the first difficulty, comes with the same job, and what was
// found of it is worth as much as before.
func TestSameJobAgain(t *testing.T) {
	for i, line := range []string{
		`{"method":"mining.set_version_mask","params":["1fffe000"]}`, `{"method":"mining.set_difficulty","params":[8]}`,
		`{"method":"mining.set_version_mask","params":["1fffe000"]}`, `{"method":"mining.set_difficulty","params":[8]}`,
	} {
		read := i < 2
		inPool(t, func(p *poolConn) {
			p.handshake(strings.Replace(okConfigure, "1fffe000", "00c00000", 1), okSubscribe, okAuthorize)
			p.send(notifyLine("j", func(j *Job) { j.Clean = true }))
			time.Sleep(time.Second)
			p.send(line)
			p.rest()
		}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
			s := dialed(t, o)
			defer s.Close()
			if read {
				<-s.Assignments()
			}
			time.Sleep(2 * time.Second)
			a := <-s.Assignments()
			if news := a.VersionMask == 0x1fffe000 || a.Difficulty == 8; !news || a.Job.ID != "j" || a.Job.Clean == read {
				t.Errorf("job taken: %v, %s: assignment %+v of %+v", read, line, a, a.Job)
			}
		})
	}
}

// TestWaitingFromTheStart: so is what comes first, with the reply to the login or later.
func TestWaitingFromTheStart(t *testing.T) {
	const zero = `{"method":"mining.set_difficulty","params":[0]}`
	for name, c := range map[string]struct {
		with, later string
		why         string
	}{
		"difficulty 0 with the login":  {with: zero + "\njob", why: `difficulty "0"`},
		"difficulty 0 after the login": {later: zero + "\njob", why: `difficulty "0"`},
		"an empty job":                 {later: `{"method":"mining.notify","params":[]}`, why: "fewer than 9 params"},
		"a job of nothing":             {later: `{"method":"mining.notify","params":["","","","",[],"","","",true]}`, why: "job id"},
		"a job of nothing, early":      {with: `{"method":"mining.notify","params":null}`, why: "fewer than 9 params"},
	} {
		t.Run(name, func(t *testing.T) {
			var group sync.WaitGroup
			inPool(t, func(p *poolConn) {
				p.expect(wantConfigure)
				p.expect(wantSubscribe)
				p.send(okConfigure, okSubscribe)
				p.expect(wantAuthorize)
				fill := func(lines string) string { return strings.Replace(lines, "job", notifyLine("j", nil), 1) }
				p.send(okAuthorize + "\n" + fill(c.with))
				group.Go(func() { p.rest() })
				for range 10 {
					time.Sleep(20 * time.Second)
					p.send(fill(c.later))
				}
				p.send(`{"method":"mining.set_difficulty","params":[4]}`, notifyLine("good", nil))
				group.Wait()
			}, func(t *testing.T, o ClientOptions, p *scriptedPool) {
				o.FirstJobTimeout = time.Minute
				s, err := Dial(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				a := <-s.Assignments()
				if a.Job != nil || a.Why == nil || !strings.Contains(a.Why.Error(), c.why) {
					t.Errorf("assignment %+v, want %q", a, c.why)
				}
				for (a.Job == nil || a.Job.ID != "good") && s.Err() == nil {
					select {
					case a = <-s.Assignments():
					case <-s.Done():
					}
				}
				if len(p.addrs) != 1 || s.Err() != nil {
					t.Errorf("%d connections, assignment %+v: %v", len(p.addrs), a, s.Err())
				}
				s.Close()
			})
		})
	}
}

// TestNonsense: lines that can be left out cost the connection nothing, however many there are;
// they are no sign of life either, but for empty ones.
func TestNonsense(t *testing.T) {
	for name, line := range map[string]string{
		"zero bytes": "\x00", "more of them": "\x00\x00\r", "byte order marks": "\ufeff", "spaces": " ",
		"words": "# keep alive", "commas": ",", "half a message": `{"id":`,
	} {
		t.Run(name, func(t *testing.T) {
			lines := strings.Split(strings.Repeat(line+"\n", 50), "\n")
			inPool(t, func(p *poolConn) {
				p.expect(wantConfigure)
				p.send(lines...)
				p.expect(wantSubscribe)
				p.send(append(lines, okConfigure, okSubscribe)...)
				p.expect(wantAuthorize)
				p.send(append(lines, okAuthorize, notifyLine("first", nil))...)
				for range 100 { // a job in 100 s
					time.Sleep(time.Second)
					p.send(line)
				}
				p.send(notifyLine("second", nil))
				for range 1000 {
					time.Sleep(time.Second)
					p.send(line)
				}
			}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
				s := dialed(t, o)
				defer s.Close()
				begun := time.Now()
				<-s.Done()
				if id := s.Current().Job.ID; id != "second" {
					t.Errorf("the last job is %s: %v", id, s.Err())
				}
				lasted, why := 220*time.Second, ErrSilent
				if len(trim([]byte(line))) == 0 {
					lasted, why = 1100*time.Second, io.EOF
				}
				if took := time.Since(begun); !errors.Is(s.Err(), why) || took.Round(5*time.Second) != lasted {
					t.Errorf("it ended after %v: %v", took, s.Err())
				}
			})
		})
	}
}
