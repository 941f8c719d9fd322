package mining

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lode/miner"
	"lode/stratum"
)

// pool is a stratum.Handler that judges shares by assembling their headers.
type pool struct {
	job *stratum.Job

	mu     sync.Mutex
	seen   map[[32]byte]bool
	good   int
	wrong  []string
	enough chan struct{}
}

const easy = stratum.Difficulty(1e-4)

func (p *pool) Connected(*stratum.Conn) error { return nil }
func (p *pool) Subscribe(c *stratum.Conn, _ string) (stratum.Subscription, error) {
	return stratum.Subscription{SessionID: "s", Extranonce1: []byte{0xe1, 1, 2, 3}, Extranonce2Size: 8}, nil
}

func (p *pool) Authorize(_ *stratum.Conn, user, password string) error {
	if user != "user" || password != "secret" {
		return errors.New("who?")
	}
	return nil
}

func (p *pool) Authorized(c *stratum.Conn) {
	c.SetDifficulty(easy)
	c.Notify(stratum.EncodeJob(p.job))
}

func (p *pool) Submit(c *stratum.Conn, s *stratum.Share) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	version, err := p.job.ShareVersion(c.VersionMask(), s)
	if err != nil {
		p.wrong = append(p.wrong, err.Error())
		return err
	}
	header := p.job.Header([]byte{0xe1, 1, 2, 3}, s.Extranonce2, version, s.Time, s.Nonce)
	hash := header.BlockHash()
	target := easy.Target()
	switch {
	case !target.MetBy(&hash):
		p.wrong = append(p.wrong, "low difficulty")
		return &stratum.Error{Code: stratum.CodeLowDifficulty, Text: "low"}
	case p.seen[hash]:
		p.wrong = append(p.wrong, "duplicate")
		return &stratum.Error{Code: stratum.CodeDuplicate, Text: "again"}
	}
	p.seen[hash] = true
	if p.good++; p.good == 8 {
		close(p.enough)
	}
	return nil
}

func (p *pool) SuggestDifficulty(*stratum.Conn, stratum.Difficulty, bool)  {}
func (p *pool) Transactions(*stratum.Conn, string) (txs [][]byte, _ error) { return nil, nil }
func (p *pool) Disconnected(*stratum.Conn, error)                          {}
func (p *pool) result() (good int, wrong []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.good, p.wrong
}

func (p *pool) serve(t *testing.T, options stratum.ServerOptions) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := stratum.NewServer(options, p)
	var group sync.WaitGroup
	group.Go(func() {
		if err := server.Serve(context.Background(), l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		server.Close()
		group.Wait()
	})
	return l.Addr().String()
}

// The real engine at a real Stratum server: every share is right, with and
// without version rolling, whatever version bits the job has.
func TestRealSharesAreRight(t *testing.T) {
	tests := []struct {
		name    string
		options stratum.ServerOptions
		version uint32
	}{
		{"version rolling", stratum.ServerOptions{}, 0x20000000},
		{"version rolling with set bits", stratum.ServerOptions{}, 0x20000000 | 0x00a02000},
		{"narrow mask", stratum.ServerOptions{VersionMask: 0x00006000}, 0x20000000},
		{"no version rolling", stratum.ServerOptions{NoVersionRolling: true}, 0x20c0e000},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &pool{seen: map[[32]byte]bool{}, enough: make(chan struct{})}
			p.job = &stratum.Job{
				ID: "1", Coinbase1: []byte("coinbase one"), Coinbase2: []byte("coinbase two"),
				Version: test.version, Bits: 0x1d00ffff, Time: uint32(time.Now().Unix()), Clean: true,
			}
			addr := p.serve(t, test.options)
			e, err := miner.New(miner.Options{Threads: 2, Nice: 19})
			if err != nil {
				t.Fatal(err)
			}
			m := New(Config{Engine: e, User: "user", Password: "secret"})
			m.SetPools([]string{addr})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- m.Run(ctx) }()
			<-p.enough
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if good, wrong := p.result(); len(wrong) != 0 || good < 8 {
				t.Errorf("%d good shares, wrong: %v", good, wrong)
			}
		})
	}
}

func TestWrongPasswordIsTold(t *testing.T) {
	p := &pool{job: &stratum.Job{ID: "1"}}
	addr := p.serve(t, stratum.ServerOptions{Limits: stratum.Limits{GuessTime: time.Millisecond}})
	m := New(Config{Engine: newEngine(), User: "user", Password: "wrong"})
	m.SetPools([]string{addr})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	for m.Status().LastErr == "" && t.Context().Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-done
	if s := m.Status(); s.Accepted != 0 {
		t.Errorf("%+v", s)
	}
}

// TestReconnect: client.reconnect to another port of the same host is followed, when the pool
// wishes that, also before the login.
func TestReconnect(t *testing.T) {
	const sendOn = `{"id":null,"method":"client.reconnect","params":["pool.example",4444,20]}`
	for name, login := range map[string]bool{"after the login": true, "before the login": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var group sync.WaitGroup
				var mu sync.Mutex
				var dialed []string
				begun := time.Now()
				dial := func(_ context.Context, _, addr string) (net.Conn, error) {
					mu.Lock()
					defer mu.Unlock()
					dialed = append(dialed, fmt.Sprint(addr, " ", time.Since(begun)))
					n := len(dialed)
					ours, theirs := net.Pipe()
					group.Go(func() {
						defer theirs.Close()
						lines := bufio.NewScanner(theirs)
						for lines.Scan() {
							var request struct {
								ID     json.RawMessage
								Method string
							}
							if err := json.Unmarshal(lines.Bytes(), &request); err != nil {
								t.Error(err)
							}
							switch reply := `{"result":true,"id":` + string(request.ID) + "}\n"; {
							case n == 1 && !login:
								fmt.Fprintln(theirs, sendOn)
							case request.Method == "mining.subscribe":
								fmt.Fprintln(theirs, `{"result":[[],"a1b2c3d4",8],"id":`+string(request.ID)+"}")
							case request.Method == "mining.authorize":
								job := &stratum.Job{ID: "1", Coinbase1: []byte("one"), Coinbase2: []byte("two"), Bits: 0x1d00ffff, Time: uint32(time.Now().Unix())}
								fmt.Fprint(theirs, reply, string(stratum.EncodeJob(job).Line()))
								if n == 1 {
									fmt.Fprintln(theirs, sendOn)
								}
								if n == 2 { // a moment there
									time.Sleep(time.Second)
									return
								}
							default:
								fmt.Fprint(theirs, reply)
							}
						}
					})
					return ours, nil
				}
				c := NewSession(stratum.ClientOptions{URL: "stratum+tcp://pool.example:3333", User: "user", Dialer: dial})
				jobs := 0
				err := c.Run(t.Context(), func(a stratum.Assignment) {
					if a.Job != nil {
						jobs++
					}
				})
				if err == nil || errors.Is(err, stratum.ErrReconnect) {
					t.Errorf("ended: %v", err)
				}
				group.Wait()
				if fmt.Sprint(dialed) != "[pool.example:3333 0s pool.example:4444 20s]" || jobs < 1 {
					t.Errorf("dialed %v, %d jobs", dialed, jobs)
				}
			})
		})
	}
}
