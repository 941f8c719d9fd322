package load

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lode/stratum"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testPool is a pool that judges shares as a pool must.
type testPool struct {
	t          testing.TB
	difficulty stratum.Difficulty
	server     *stratum.Server
	url        string
	// lie, if set, may refuse a valid share.
	lie func(*stratum.Share) error
	// late: a clean job is known to the pool this long before it is sent.
	late time.Duration
	// cut: connections from there are closed 300 ms after their login.
	cut netip.Prefix

	accepted, invalid, suggested atomic.Int64
	nextConn                     atomic.Uint32

	mu      sync.Mutex // guards what follows
	current *stratum.Job
	origins map[string]time.Time
	number  int
	seen    map[string]bool
}

// miner is what the pool keeps with a connection.
type testMiner struct {
	extranonce1 []byte
}

func startPool(t testing.TB, difficulty stratum.Difficulty, opts stratum.ServerOptions) *testPool {
	t.Helper()
	p := &testPool{t: t, difficulty: difficulty, origins: map[string]time.Time{}, seen: map[string]bool{}}
	p.newJob()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opts.MessageRate = -1
	p.server = stratum.NewServer(opts, p)
	p.url = "stratum+tcp://" + l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.server.Serve(context.Background(), l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		p.server.Close()
		wg.Wait()
	})
	return p
}

// newJob makes a job on another block the current one.
func (p *testPool) newJob() *stratum.Job {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number++
	j := &stratum.Job{
		ID: fmt.Sprintf("%x", p.number), Coinbase1: []byte{1, 2, 3}, Coinbase2: make([]byte, 100),
		Version: 0x20000000, Bits: 0x1d00ffff, Time: uint32(time.Now().Unix()), Clean: true,
	}
	binary.LittleEndian.PutUint32(j.PrevBlock[:], uint32(p.number))
	j.MerkleBranch = append(j.MerkleBranch, j.PrevBlock, j.PrevBlock)
	p.current = j
	p.origins[j.ID] = time.Now()
	return j
}

// block is a new block: a clean job for all.
func (p *testPool) block() {
	j := p.newJob()
	time.Sleep(p.late)
	p.server.Broadcast(stratum.EncodeJob(j), nil)
}

// blocks makes a block at every interval until the test ends or stop is called.
func (p *testPool) blocks(interval time.Duration) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				p.block()
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func (p *testPool) origin(j *stratum.Job) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.origins[j.ID]
	return t, ok
}

func (p *testPool) Connected(c *stratum.Conn) error {
	c.SetData(&testMiner{extranonce1: binary.BigEndian.AppendUint32(nil, p.nextConn.Add(1))})
	return nil
}

func (p *testPool) Subscribe(c *stratum.Conn, _ string) (stratum.Subscription, error) {
	return stratum.Subscription{SessionID: "s", Extranonce1: c.Data().(*testMiner).extranonce1, Extranonce2Size: 8}, nil
}

func (p *testPool) Authorize(_ *stratum.Conn, user, _ string) error {
	if user == "nobody" {
		return &stratum.Error{Code: stratum.CodeUnauthorized, Text: "no such user"}
	}
	return nil
}

func (p *testPool) Authorized(c *stratum.Conn) {
	p.mu.Lock()
	j := *p.current
	p.mu.Unlock()
	c.SetDifficulty(p.difficulty)
	c.Notify(stratum.EncodeJob(&j))
	if from, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil && p.cut.Contains(from.Addr().Unmap()) {
		time.AfterFunc(300*time.Millisecond, func() { c.Close(stratum.ErrSlowReader) })
	}
}

func (p *testPool) Submit(c *stratum.Conn, s *stratum.Share) error {
	p.mu.Lock()
	j := p.current
	p.mu.Unlock()
	if s.JobID != j.ID {
		return &stratum.Error{Code: stratum.CodeStale, Text: "Stale share"}
	}
	m := c.Data().(*testMiner)
	version, err := j.ShareVersion(c.VersionMask(), s)
	if err != nil {
		p.invalid.Add(1)
		return err
	}
	header := j.Header(m.extranonce1, s.Extranonce2, version, s.Time, s.Nonce)
	hash, target := header.BlockHash(), p.difficulty.Target()
	if !target.MetBy(&hash) {
		p.invalid.Add(1)
		return &stratum.Error{Code: stratum.CodeLowDifficulty, Text: "Low difficulty share"}
	}
	p.mu.Lock()
	again := p.seen[hash.String()]
	p.seen[hash.String()] = true
	p.mu.Unlock()
	if again {
		p.invalid.Add(1)
		return &stratum.Error{Code: stratum.CodeDuplicate, Text: "Duplicate share"}
	}
	if p.lie != nil {
		if err := p.lie(s); err != nil {
			return err
		}
	}
	p.accepted.Add(1)
	return nil
}

func (p *testPool) SuggestDifficulty(*stratum.Conn, stratum.Difficulty, bool) { p.suggested.Add(1) }

func (p *testPool) Transactions(*stratum.Conn, string) ([][]byte, error) {
	return nil, &stratum.Error{Code: stratum.CodeOther, Text: "none"}
}

func (p *testPool) Disconnected(*stratum.Conn, error) {}
