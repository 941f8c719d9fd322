package pool_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum"
)

// miner is a small Stratum miner of the tests' own: raw lines over TCP, so that what
// it proves does not lean on the client of this project.
type miner struct {
	t    testing.TB
	conn net.Conn
	user string

	mu      sync.Mutex
	cond    *sync.Cond
	nextID  int
	replies map[int]minerReply
	jobs    []*minerJob // all, oldest first
	pending float64     // difficulty for the next job
	e1      []byte
	e2size  int
	session string
	mask    uint32
	err     error
	e2      uint64
}

type minerReply struct {
	Result json.RawMessage `json:"result"`
	Error  []any           `json:"error"`
}

// refusal is an error in a reply.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.code, r.text) }

func codeOf(err error) int {
	var r *refusal
	if errors.As(err, &r) {
		return r.code
	}
	return 0
}

type minerJob struct {
	stratum.Job
	difficulty float64
	e1         []byte
	e2size     int
	mask       uint32
}

const minerTimeout = time.Minute

func dial(t testing.TB, address string) *miner {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return newMiner(t, conn)
}

func newMiner(t testing.TB, conn net.Conn) *miner {
	m := &miner{t: t, conn: conn, replies: make(map[int]minerReply)}
	m.cond = sync.NewCond(&m.mu)
	done := make(chan struct{})
	go func() { defer close(done); m.read() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return m
}

// login does the handshake, with version rolling and set_extranonce.
func (m *miner) login(user, session string) error {
	var configured map[string]any
	if err := m.call(&configured, "mining.configure", []string{"version-rolling", "subscribe-extranonce"},
		map[string]any{"version-rolling.mask": "ffffffff", "version-rolling.min-bit-count": 2}); err != nil {
		return err
	}
	if mask, ok := configured["version-rolling.mask"].(string); ok {
		n, err := strconv.ParseUint(mask, 16, 32)
		if err != nil {
			return err
		}
		m.mu.Lock()
		m.mask = uint32(n)
		m.mu.Unlock()
	}
	return m.join(user, session)
}

// join subscribes and authorizes.
func (m *miner) join(user, session string) error {
	params := []any{"lode-test/1"}
	if session != "" {
		params = append(params, session)
	}
	var subscription []json.RawMessage
	if err := m.call(&subscription, "mining.subscribe", params...); err != nil {
		return err
	}
	if len(subscription) != 3 {
		return fmt.Errorf("subscription has %d members", len(subscription))
	}
	var list [][]string
	m.mu.Lock()
	if json.Unmarshal(subscription[0], &list) == nil && len(list) > 0 {
		m.session = list[0][1]
	}
	err := m.setExtranonce(subscription[1], subscription[2])
	m.user = user
	m.mu.Unlock()
	if err != nil {
		return err
	}
	var ok bool
	return m.call(&ok, "mining.authorize", user, "x")
}

func (m *miner) setExtranonce(e1, size json.RawMessage) error {
	var text string
	if err := json.Unmarshal(e1, &text); err != nil {
		return err
	}
	raw, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	m.e1 = raw
	return json.Unmarshal(size, &m.e2size)
}

// send writes a request and returns its id.
func (m *miner) send(method string, params ...any) (int, error) {
	if params == nil {
		params = []any{}
	}
	m.mu.Lock()
	m.nextID++
	id := m.nextID
	m.mu.Unlock()
	line, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	if err != nil {
		return 0, err
	}
	_, err = m.conn.Write(append(line, '\n'))
	return id, err
}

func (m *miner) call(result any, method string, params ...any) error {
	id, err := m.send(method, params...)
	if err != nil {
		return err
	}
	return m.await(id, result)
}

func (m *miner) await(id int, result any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.wait(func() bool { _, ok := m.replies[id]; return ok }); err != nil {
		return err
	}
	r := m.replies[id]
	delete(m.replies, id)
	if r.Error != nil {
		code, _ := r.Error[0].(float64)
		text, _ := r.Error[1].(string)
		return &refusal{int(code), text}
	}
	return json.Unmarshal(r.Result, result)
}

// wait waits for the condition; the caller holds m.mu.
func (m *miner) wait(met func() bool) error {
	late := false
	timer := time.AfterFunc(minerTimeout, func() {
		m.mu.Lock()
		late = true
		m.cond.Broadcast()
		m.mu.Unlock()
	})
	defer timer.Stop()
	for !met() {
		if m.err != nil {
			return m.err
		}
		if late {
			return errors.New("miner waited in vain")
		}
		m.cond.Wait()
	}
	return nil
}

func (m *miner) read() {
	lines := bufio.NewScanner(m.conn)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var message struct {
			ID     *int              `json:"id"`
			Method string            `json:"method"`
			Params []json.RawMessage `json:"params"`
			minerReply
		}
		err := json.Unmarshal(lines.Bytes(), &message)
		m.mu.Lock()
		switch {
		case err != nil:
		case message.Method == "" && message.ID != nil:
			m.replies[*message.ID] = message.minerReply
		default:
			err = m.notification(message.Method, message.Params)
		}
		if err != nil {
			m.err = fmt.Errorf("line %q: %w", lines.Bytes(), err)
		}
		m.cond.Broadcast()
		m.mu.Unlock()
	}
	m.mu.Lock()
	m.err = fmt.Errorf("connection closed: %v", lines.Err())
	m.cond.Broadcast()
	m.mu.Unlock()
}

func (m *miner) notification(method string, params []json.RawMessage) error {
	switch method {
	case "mining.set_difficulty":
		return json.Unmarshal(params[0], &m.pending)
	case "mining.set_extranonce":
		return m.setExtranonce(params[0], params[1])
	case "mining.set_version_mask":
		var text string
		if err := json.Unmarshal(params[0], &text); err != nil {
			return err
		}
		n, err := strconv.ParseUint(text, 16, 32)
		m.mask = uint32(n)
		return err
	case "mining.notify":
		return m.notify(params)
	}
	return nil
}

func (m *miner) notify(params []json.RawMessage) error {
	if len(params) != 9 {
		return fmt.Errorf("%d parameters", len(params))
	}
	var text [8]string
	var branch []string
	j := &minerJob{difficulty: m.pending, e1: m.e1, e2size: m.e2size, mask: m.mask}
	for i := range text {
		if i == 4 {
			if err := json.Unmarshal(params[i], &branch); err != nil {
				return err
			}
			continue
		}
		if err := json.Unmarshal(params[i], &text[i]); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(params[8], &j.Clean); err != nil {
		return err
	}
	j.ID = text[0]
	prev, err := hex.DecodeString(text[1])
	if err != nil || len(prev) != 32 {
		return fmt.Errorf("prevhash: %v", err)
	}
	for i := range prev {
		j.PrevBlock[i] = prev[i^3] // each word's bytes reversed
	}
	if j.Coinbase1, err = hex.DecodeString(text[2]); err != nil {
		return err
	}
	if j.Coinbase2, err = hex.DecodeString(text[3]); err != nil {
		return err
	}
	for _, b := range branch {
		raw, err := hex.DecodeString(b)
		if err != nil {
			return err
		}
		j.MerkleBranch = append(j.MerkleBranch, chainhash.Hash(raw))
	}
	for i, field := range map[int]*uint32{5: &j.Version, 6: &j.Bits, 7: &j.Time} {
		n, err := strconv.ParseUint(text[i], 16, 32)
		if err != nil {
			return err
		}
		*field = uint32(n)
	}
	m.jobs = append(m.jobs, j)
	return nil
}

// job waits for a job that want accepts, looking at the newest.
func (m *miner) job(want func(*minerJob) bool) (*minerJob, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found *minerJob
	err := m.wait(func() bool {
		if len(m.jobs) == 0 {
			return false
		}
		found = m.jobs[len(m.jobs)-1]
		return want(found)
	})
	return found, err
}

// checkClean looks at every job: the first one on each block must be clean. (Later ones
// on the same block, with more transactions or a later time, need not be.)
func (m *miner) checkClean() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, j := range m.jobs {
		if i > 0 && j.PrevBlock != m.jobs[i-1].PrevBlock && !j.Clean {
			m.t.Errorf("job %s is the first on block %s and not clean", j.ID, j.PrevBlock)
		}
	}
}

func anyJob(*minerJob) bool { return true }

// solution is a solved share.
type solution struct {
	job         *minerJob
	extranonce2 []byte
	ntime       uint32
	nonce       uint32
	bits        uint32
	hash        chainhash.Hash
}

// solve finds a share: a hash that meets the job's difficulty, or below it where
// easier asks for a hash that does not.
func (m *miner) solve(j *minerJob, versionBits uint32) solution {
	m.mu.Lock()
	m.e2++
	e2 := m.e2
	m.mu.Unlock()
	s := solution{job: j, extranonce2: make([]byte, j.e2size), ntime: j.Time, bits: versionBits}
	for i := range s.extranonce2 {
		s.extranonce2[i] = byte(e2 >> (8 * (i % 8)))
	}
	target := stratum.Difficulty(j.difficulty).Target()
	header, _ := j.HeaderBytes(nil, j.e1, s.extranonce2, j.Version|versionBits, s.ntime, 0)
	for ; ; s.nonce++ {
		header[76], header[77], header[78], header[79] = byte(s.nonce), byte(s.nonce>>8), byte(s.nonce>>16), byte(s.nonce>>24)
		s.hash = chainhash.DoubleHashH(header[:])
		if target.MetBy(&s.hash) {
			return s
		}
	}
}

func (s solution) params(user string) []any {
	p := []any{user, s.job.ID, hex.EncodeToString(s.extranonce2), fmt.Sprintf("%08x", s.ntime), fmt.Sprintf("%08x", s.nonce)}
	if s.bits != 0 {
		p = append(p, fmt.Sprintf("%08x", s.bits))
	}
	return p
}

// share solves the newest job, once there is one, and has its share accepted.
func (m *miner) share() {
	m.t.Helper()
	j, err := m.job(anyJob)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.submit(m.solve(j, 0)); err != nil {
		m.t.Fatal(err)
	}
}

// submit hands in a share; nil: accepted.
func (m *miner) submit(s solution) error {
	var ok bool
	if err := m.call(&ok, "mining.submit", s.params(m.user)...); err != nil {
		return err
	}
	if !ok {
		return errors.New("result false without an error")
	}
	return nil
}
