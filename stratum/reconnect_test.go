package stratum

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// runClient runs a Client in a synctest bubble until f returns.
func runClient(t *testing.T, play func(p *poolConn), change func(o *ClientOptions), f func(t *testing.T, c *Client, p *scriptedPool)) {
	t.Helper()
	inPool(t, play, func(t *testing.T, o ClientOptions, p *scriptedPool) {
		if change != nil {
			change(&o)
		}
		c, err := NewClient(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
		})
		f(t, c, p)
		cancel()
		wg.Wait()
	})
}

func TestClientReconnects(t *testing.T) {
	// Connections end at once, but the fifth lasts.
	var at []time.Duration
	var start time.Time
	runClient(t, func(p *poolConn) {
		at = append(at, time.Since(start))
		if p.n != 9 && p.n != 10 {
			p.Close()
			return
		}
		p.expect(wantConfigure)
		if line := p.read(); p.n == 9 && line != wantSubscribe || p.n == 10 && !strings.HasSuffix(line, `["lode","n1"]}`) {
			t.Errorf("client sent %s", line)
		}
		p.send(okConfigure, okSubscribe)
		p.read()
		p.send(okAuthorize, notifyLine("j", nil))
		if p.n == 9 {
			time.Sleep(stable)
			return // and close
		}
		p.rest()
	}, func(*ClientOptions) { start = time.Now() }, func(t *testing.T, c *Client, _ *scriptedPool) {
		a := <-c.Assignments()
		for a.Job == nil {
			a = <-c.Assignments()
		}
		if s := c.State(); !s.Connected || s.Err != nil || s.URL != "stratum+tcp://pool.example:3333" {
			t.Errorf("state %+v", s)
		}
		if lost := <-c.Assignments(); lost.Job != nil {
			t.Errorf("still work after the connection: %+v", lost)
		}
		synctest.Wait()
		if s := c.State(); s.Connected || s.Err == nil || s.Retry.IsZero() {
			t.Errorf("state %+v", s)
		}
		if err := c.Submit(t.Context(), a, make([]byte, 8), 1, 2, 3); !errors.Is(err, ErrDisconnected) {
			t.Errorf("share without a connection: %v", err)
		}
		b := <-c.Assignments()
		if b.Job == nil || b.Generation <= a.Generation {
			t.Errorf("assignment %+v", b)
		}
		// Each failed attempt dials twice: with mining.configure and without.
		for i, least := range map[int]time.Duration{2: 500 * time.Millisecond, 4: time.Second, 6: 2 * time.Second, 8: 4 * time.Second, 9: 500*time.Millisecond + stable} {
			if wait := at[i] - at[i-1]; wait < least || wait > 2*least {
				t.Errorf("attempt %d came %v after the one before, want %v to %v", i, wait, least, 2*least)
			}
		}
	})
}

func TestClientResume(t *testing.T) {
	for _, c := range []struct {
		name   string
		second string // extranonce1 of the second connection
		id     string // of the session, in the first reply
		lost   bool
	}{
		{"same space", "a1b2c3d4", "n1", false},
		{"another space", "a1b2c3d5", "n1", true},
		// Without an id nothing was resumed: it is the same number by chance, or by habit.
		{"same number, no session", "a1b2c3d4", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			runClient(t, func(p *poolConn) {
				p.read()
				p.read()
				subscribed := strings.Replace(okSubscribe, "a1b2c3d4", map[int]string{1: "a1b2c3d4", 2: c.second}[p.n], 1)
				p.send(okConfigure, strings.Replace(subscribed, `"n1"`, `"`+c.id+`"`, 1))
				p.read()
				p.send(okAuthorize, notifyLine("j", nil))
				if p.n == 1 {
					return
				}
				for _, line := range p.rest() {
					if c.lost {
						t.Errorf("client sent %s", line)
					}
				}
			}, nil, func(t *testing.T, client *Client, _ *scriptedPool) {
				a := <-client.Assignments()
				for b := a; b.Generation == a.Generation; {
					b = <-client.Assignments()
				}
				err := client.SubmitAsync(a, make([]byte, 8), 1, 2, 3, func(error) {})
				if c.lost != errors.Is(err, ErrDisconnected) {
					t.Errorf("share of the first connection: %v", err)
				}
				synctest.Wait()
			})
		})
	}
}

// client.reconnect never takes the miner to another host.
func TestClientIsNotHijacked(t *testing.T) {
	for _, params := range []string{`["evil.example",3333,0]`, `["evil.example","3333"]`, `["pool.example.evil.example",4444]`, `["pool.example",70000,-5]`, `["pool.example",44.5]`, `[]`, `null`, `[null,99999,1e300]`} {
		var start time.Time
		var second time.Duration
		runClient(t, func(p *poolConn) {
			if p.n > 1 {
				second = time.Since(start)
			}
			p.login2()
			p.send(notifyLine("j", nil))
			if p.n == 1 {
				p.send(`{"id":null,"method":"client.reconnect","params":` + params + `}`)
			}
			p.rest()
		}, func(*ClientOptions) { start = time.Now() }, func(t *testing.T, c *Client, p *scriptedPool) {
			for a := range c.Assignments() {
				if a.Generation == 2 {
					break
				}
			}
			for _, addr := range p.addrs {
				if addr != "pool.example:3333" {
					t.Errorf("%s: dialed %s", params, addr)
				}
			}
			if second > time.Minute {
				t.Errorf("%s: reconnected after %v", params, second)
			}
		})
	}
}

// TestReconnectPort: another port of the same host is followed, and the configured one
// tried again if nobody answers there.
func TestReconnectPort(t *testing.T) {
	for _, params := range []string{`["pool.example",4444,1]`, `["POOL.example","4444"]`, `["",4444]`, `[null,4444,0]`} {
		runClient(t, func(p *poolConn) {
			switch p.n {
			case 1: // sends it on
				p.login2()
				p.send(notifyLine("j", nil), `{"id":null,"method":"client.reconnect","params":`+params+`}`)
			case 2: // a moment there, which ends
				p.login2()
				p.send(notifyLine("j", nil))
			case 3, 4, 5: // nothing is there any more, and three ways to say hello are tried
				return
			default:
				p.login2()
				p.send(notifyLine("j", nil))
			}
			p.rest()
		}, nil, func(t *testing.T, c *Client, p *scriptedPool) {
			for a := range c.Assignments() {
				if a.Job != nil && a.Generation == 2 {
					p.mu.Lock()
					p.conns[1].Close()
					p.mu.Unlock()
				}
				if a.Job != nil && a.Generation == 4 {
					break
				}
			}
			want := "[pool.example:3333 pool.example:4444 pool.example:4444 pool.example:4444 pool.example:4444 pool.example:3333]"
			if got := fmt.Sprint(p.addrs); got != want {
				t.Errorf("%s: dialed %s, want %s", params, got, want)
			}
		})
	}
}

// TestReconnectInHandshake: a pool may send the client on before it is logged in, as those
// that share out their miners do.
func TestReconnectInHandshake(t *testing.T) {
	const reconnect = `{"id":null,"method":"client.reconnect","params":["pool.example",4444,20]}`
	for name, hello := range map[string]func(p *poolConn){
		"before the reply to subscribe": func(p *poolConn) { p.send(reconnect) },
		"before the login":              func(p *poolConn) { p.send(okConfigure, okSubscribe, reconnect) },
		"instead of the login": func(p *poolConn) {
			p.send(okConfigure, okSubscribe)
			p.read()
			p.send(reconnect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			runClient(t, func(p *poolConn) {
				if p.n > 1 {
					p.login2()
					p.send(notifyLine("j", nil))
				} else {
					p.read()
					p.read()
					hello(p)
				}
				p.rest()
			}, func(*ClientOptions) { start = time.Now() }, func(t *testing.T, c *Client, p *scriptedPool) {
				for a := range c.Assignments() {
					if a.Job != nil {
						break
					}
				}
				if got := fmt.Sprint(p.addrs); got != "[pool.example:3333 pool.example:4444]" {
					t.Errorf("dialed %s", got)
				}
				if took := time.Since(start); took != 20*time.Second {
					t.Errorf("it came after %v", took)
				}
			})
		})
	}
}

// TestReconnectForEver: a pool that has the client come again and again, as soon as it is
// there, is dialed no more often than one that is down.
func TestReconnectForEver(t *testing.T) {
	for _, params := range []string{`["","",0.001]`, `["","","1e-9"]`, `["",4444,1e-6]`, `["","","nan"]`, `["","",-1]`, `[]`, `["",4444] before the login`} {
		params, early := strings.CutSuffix(params, " before the login")
		runClient(t, func(p *poolConn) {
			if !early {
				p.login2()
				p.send(notifyLine("j", nil))
			}
			p.send(`{"id":null,"method":"client.reconnect","params":` + params + `}`)
			p.rest()
		}, nil, func(t *testing.T, _ *Client, p *scriptedPool) {
			time.Sleep(10 * time.Minute)
			p.mu.Lock()
			defer p.mu.Unlock()
			if n := len(p.conns); n < 10 || n > 60 {
				t.Errorf("%s: %d connections in ten minutes", params, n)
			}
		})
	}
}

// login2 plays the handshake, resumed or not.
func (p *poolConn) login2() {
	p.read()
	p.read()
	p.send(okConfigure, okSubscribe)
	p.read()
	p.send(okAuthorize)
}

func TestClientSetURL(t *testing.T) {
	var states []ConnState
	runClient(t, func(p *poolConn) {
		if p.n == 2 { // does not answer: the client moves on while it waits
			p.rest()
			return
		}
		p.login2()
		p.send(notifyLine("j", nil))
		p.rest()
	}, func(o *ClientOptions) {
		o.OnState = func(s ConnState) { states = append(states, s) }
	}, func(t *testing.T, c *Client, p *scriptedPool) {
		start := time.Now()
		<-c.Assignments()
		if err := c.SetURL("nonsense"); err == nil {
			t.Error("a wrong URL was accepted")
		}
		if err := c.SetURL("stratum+tcp://pool.example:3333"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(p.addrs) != 1 {
			t.Errorf("the same URL was dialed again: %q", p.addrs)
		}
		for _, url := range []string{"stratum+tcp://second:1", "stratum+tcp://third:1"} {
			if err := c.SetURL(url); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for a := range c.Assignments() {
			if a.Generation == 3 && a.Job != nil {
				break
			}
		}
		if strings.Join(p.addrs, " ") != "pool.example:3333 second:1 third:1" || time.Since(start) != 0 {
			t.Errorf("dialed %q in %v", p.addrs, time.Since(start))
		}
		synctest.Wait()
		if last := states[len(states)-1]; !last.Connected || last.URL != "stratum+tcp://third:1" {
			t.Errorf("states %+v", states)
		}
	})
}

func TestNewClientChecksURL(t *testing.T) {
	if _, err := NewClient(ClientOptions{URL: "http://pool"}); err == nil {
		t.Error("a wrong URL was accepted")
	}
}

// A pool that was restarted and refuses the session of its former life gets a fresh
// subscription at once.
func TestClientResumeRefused(t *testing.T) {
	for name, refuse := range map[string]string{
		"error": `{"id":2,"result":null,"error":[20,"Unknown session",null]}`,
		"drop":  "",
	} {
		t.Run(name, func(t *testing.T) {
			runClient(t, func(p *poolConn) {
				p.read()
				resumes := strings.HasSuffix(p.read(), `["lode","n1"]}`)
				if resumes != (p.n == 2) {
					t.Errorf("connection %d: resumes %v", p.n, resumes)
				}
				if resumes {
					if refuse != "" {
						p.send(refuse)
						p.rest()
					}
					return
				}
				p.send(okConfigure, okSubscribe)
				p.read()
				p.send(okAuthorize, notifyLine("j", nil))
				if p.n == 3 {
					p.rest()
				}
			}, nil, func(t *testing.T, c *Client, _ *scriptedPool) {
				start := time.Now()
				for a := range c.Assignments() {
					if a.Generation == 2 && a.Job != nil {
						break
					}
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("back after %v", took)
				}
			})
		})
	}
}

// A pool that knows no mining.extranonce.subscribe and drops whoever sends it is mined
// at without.
func TestExtranonceSubscribeDropped(t *testing.T) {
	play := func(p *poolConn) {
		p.read()
		p.read()
		p.send(okConfigure, okSubscribe)
		p.read()
		p.send(okAuthorize)
		if p.n == 1 {
			p.expect(`{"id":4,"method":"mining.extranonce.subscribe","params":[]}`)
			return
		}
		p.send(notifyLine("j", nil))
		for _, line := range p.rest() {
			t.Errorf("client sent %s", line)
		}
	}
	t.Run("client", func(t *testing.T) {
		runClient(t, play, func(o *ClientOptions) { o.SubscribeExtranonce = true }, func(t *testing.T, c *Client, _ *scriptedPool) {
			for a := range c.Assignments() {
				if a.Job != nil {
					break
				}
			}
		})
	})
	t.Run("session", func(t *testing.T) {
		inPool(t, play, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
			o.SubscribeExtranonce, o.FirstJobTimeout = true, time.Minute
			s, err := Dial(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
		})
	})
}
