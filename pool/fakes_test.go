package pool_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeNode answers like a Bitcoin Core on simnet, as far as a proxy asks.
type fakeNode struct {
	*httptest.Server

	mu        sync.Mutex
	genesis   string
	prev      string
	height    int64
	bits      string
	version   uint32
	submitted []string
	// extra is what templates have besides, options what came beside blocks, raw.
	extra   map[string]any
	options []string
	// tipTime is that of the tip, unix seconds; 0: now. lateBits are those of blocks more
	// than 1200 s after it; "": the same.
	tipTime  int64
	lateBits string
	fail     int // HTTP status to fail with, 0: none
	hang     bool
	// submitDelay is how long submitblock takes.
	submitDelay time.Duration
	// slow holds templates back until it is closed; nil: no.
	slow chan struct{}
}

const (
	simnetGenesis  = "683e86bd5c6d110d91b94b97137ba6bfe02dbbdb8e3dff722a669b5d69d77af6"
	regtestGenesis = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
	regtestAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
)

func startFakeNode(t testing.TB) *fakeNode {
	n := &fakeNode{genesis: simnetGenesis, prev: strings.Repeat("0b", 32), height: 500, bits: "207fffff", version: 0x30400007}
	n.Server = httptest.NewServer(http.HandlerFunc(n.serve))
	t.Cleanup(n.Server.Close)
	return n
}

func (n *fakeNode) do(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

func (n *fakeNode) serve(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Method string
		Params []json.RawMessage
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	longPoll := request.Method == "getblocktemplate" && strings.Contains(string(request.Params[0]), "longpollid")
	n.mu.Lock()
	prev, hang, slow := n.prev, n.hang, n.slow
	n.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return
	}
	if request.Method == "submitblock" {
		time.Sleep(n.submitDelay)
	}
	if slow != nil && request.Method == "getblocktemplate" {
		select {
		case <-slow:
		case <-r.Context().Done():
			return
		}
	}
	for longPoll { // until the tip changes
		time.Sleep(10 * time.Millisecond)
		n.mu.Lock()
		changed := (n.prev != prev || n.fail != 0) && n.slow == nil
		n.mu.Unlock()
		if changed || r.Context().Err() != nil {
			break
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != 0 {
		w.WriteHeader(n.fail)
		return
	}
	tipTime, bits := n.tipTime, n.bits
	if tipTime == 0 {
		tipTime = time.Now().Unix()
	}
	if time.Now().Unix() > tipTime+1200 && n.lateBits != "" {
		bits = n.lateBits
	}
	var result any
	switch request.Method {
	case "getblockhash":
		result = n.genesis
	case "getnetworkinfo":
		result = map[string]any{"subversion": "/Satoshi:28.1.0/"}
	case "getbestblockhash":
		result = n.prev
	case "getblockcount":
		result = n.height - 1
	case "getblockheader":
		var hash string
		if _ = json.Unmarshal(request.Params[0], &hash); hash == n.prev {
			result = map[string]any{
				"confirmations": 1, "height": n.height - 1, "bits": n.bits, "version": n.version,
				"time": tipTime, "mediantime": time.Now().Unix() - 100,
			}
			break
		}
		fmt.Fprint(w, `{"result":null,"error":{"code":-5,"message":"Block not found"},"id":1}`)
		return
	case "submitblock":
		var raw string
		_ = json.Unmarshal(request.Params[0], &raw)
		n.submitted = append(n.submitted, raw)
		beside, _ := json.Marshal(request.Params[1:])
		n.options = append(n.options, string(beside))
	case "getblocktemplate":
		made := map[string]any{
			"version": n.version, "previousblockhash": n.prev, "transactions": []any{}, "coinbasevalue": 5_000_000_000,
			"bits": bits, "height": n.height, "curtime": time.Now().Unix(), "mintime": time.Now().Unix() - 3600,
			"longpollid": n.prev + "1", "rules": []string{"csv", "!segwit"},
		}
		maps.Copy(made, n.extra)
		result = made
	default:
		fmt.Fprint(w, `{"result":null,"error":{"code":-32601,"message":"Method not found"},"id":1}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"result": result, "error": nil, "id": 1})
}

// newBlock is a block that somebody else found.
func (n *fakeNode) newBlock() {
	n.do(func() {
		n.height++
		n.prev = fmt.Sprintf("%064x", n.height)
	})
}

// fakePool is an upstream pool that says what the test wants.
type fakePool struct {
	t        testing.TB
	listener net.Listener
	wg       sync.WaitGroup

	mu         sync.Mutex
	conns      []net.Conn
	e1         string
	e2size     int
	mask       string // "": no version rolling
	difficulty float64
	job        []any // nine parameters; nil: none yet
	answer     string
	submits    [][]any
	// swallow is how many shares are taken without an answer: the connection drops.
	swallow int
	refuse  bool // all users
	// login is the answer to mining.authorize; "": yes. early: job and difficulty come
	// before the answer to mining.subscribe.
	login string
	early bool
	// submitDelay is how long an answer to a share takes; answered counts them.
	submitDelay time.Duration
	answered    int
	// extranonces is set_extranonce before the next job; "": none.
	extranonces string
}

func startFakePool(t testing.TB) *fakePool {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &fakePool{t: t, listener: l, e1: "a1b2c3d4", e2size: 8, mask: "1fffe000", difficulty: 1e-6, answer: `"result":true,"error":null`}
	p.wg.Go(p.accept)
	t.Cleanup(p.stop)
	return p
}

func (p *fakePool) url() string { return "stratum+tcp://" + p.listener.Addr().String() }

func (p *fakePool) stop() {
	_ = p.listener.Close()
	p.drop()
	p.wg.Wait()
}

// drop closes all connections.
func (p *fakePool) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *fakePool) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns = append(p.conns, c)
		p.mu.Unlock()
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *fakePool) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		var request struct {
			ID     json.RawMessage
			Method string
			Params []any
		}
		if json.Unmarshal(lines.Bytes(), &request) != nil {
			return
		}
		p.mu.Lock()
		switch request.Method {
		case "mining.configure":
			if p.mask == "" {
				fmt.Fprintf(c, `{"id":%s,"result":{"version-rolling":false},"error":null}`+"\n", request.ID)
			} else {
				fmt.Fprintf(c, `{"id":%s,"result":{"version-rolling":true,"version-rolling.mask":%q},"error":null}`+"\n", request.ID, p.mask)
			}
		case "mining.subscribe":
			if p.early {
				p.sendJob(c)
			}
			fmt.Fprintf(c, `{"id":%s,"result":[[["mining.notify","s1"]],%q,%d],"error":null}`+"\n", request.ID, p.e1, p.e2size)
		case "mining.authorize":
			if p.refuse {
				fmt.Fprintf(c, `{"id":%s,"result":false,"error":[24,"Unauthorized worker",null]}`+"\n", request.ID)
				break
			}
			if p.login == "" {
				p.login = `"result":true,"error":null`
			}
			fmt.Fprintf(c, "{\"id\":%s,%s}\n", request.ID, p.login)
			if !p.early {
				p.sendJob(c)
			}
		case "mining.submit":
			p.submits = append(p.submits, request.Params)
			if p.swallow > 0 {
				p.swallow--
				_ = c.Close()
				break
			}
			if p.submitDelay > 0 {
				p.mu.Unlock()
				time.Sleep(p.submitDelay)
				p.mu.Lock()
			}
			p.answered++
			fmt.Fprintf(c, `{"id":%s,%s}`+"\n", request.ID, p.answer)
		default:
			fmt.Fprintf(c, `{"id":%s,"result":true,"error":null}`+"\n", request.ID)
		}
		p.mu.Unlock()
	}
}

// sendJob writes difficulty and job to one connection; the caller holds p.mu.
func (p *fakePool) sendJob(c net.Conn) {
	if p.job == nil {
		return
	}
	line, err := json.Marshal(map[string]any{"id": nil, "method": "mining.notify", "params": p.job})
	if err != nil {
		p.t.Error(err)
	}
	fmt.Fprintf(c, `{"id":null,"method":"mining.set_difficulty","params":[%g]}`+"\n%s%s\n", p.difficulty, p.extranonces, line)
}

// notify sends a job to all.
func (p *fakePool) notify(job []any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.job = job
	for _, c := range p.conns {
		p.sendJob(c)
	}
}

func (p *fakePool) submitted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.submits)
}

// poolJob is a job on the tip of a node.
func poolJob(id string, n *fakeNode, change func(job []any)) []any {
	n.mu.Lock()
	defer n.mu.Unlock()
	// The wire form of the hash: its eight words in reverse order.
	var prev strings.Builder
	for i := 56; i >= 0; i -= 8 {
		prev.WriteString(n.prev[i : i+8])
	}
	height := fmt.Sprintf("02%02x%02x", n.height&0xff, n.height>>8)
	job := []any{
		id, prev.String(),
		"01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff10" + height + "0c",
		"ffffffff0100f2052a010000001976a9140102030405060708090a0b0c0d0e0f101112131488ac00000000",
		[]string{},
		"20000000", n.bits, fmt.Sprintf("%08x", time.Now().Unix()), true,
	}
	if change != nil {
		change(job)
	}
	return job
}
