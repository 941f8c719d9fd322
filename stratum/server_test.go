package stratum

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(crowdEnv); task != "" { // the other process of BenchmarkCrowd
		var addr string
		var n int
		if _, err := fmt.Sscan(task, &addr, &n); err != nil {
			panic(err)
		}
		if err := crowd(addr, n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

// What a client sends on a connection of its own, and all that it is answered.
func TestServerDialogues(t *testing.T) {
	const notFound = `"error":[20,"Method not found",null]}`
	type step struct {
		send string
		want []string
	}
	login := step{subscribeLine + authorizeLine, []string{subscribeReply, authorizeReply}}
	// After each step a ping shows that nothing else was answered.
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"minerd", []step{
			{`{"id": 1, "method": "mining.subscribe", "params": ["cpuminer/2.5.1"]}` + "\n", []string{subscribeReply}},
			{`{"id": 2, "method": "mining.authorize", "params": ["me", "x"]}` + "\n", []string{authorizeReply}},
			{`{"method": "mining.submit", "params": ["me", "4f1a", "0102030405060708", "6553f100", "10015793"], "id":4}` + "\n", []string{submitReply}},
		}},
		{"configure, subscribe, authorize", []step{
			{configureLine, []string{configureReply}},
			{subscribeLine, []string{subscribeReply}},
			{authorizeLine, []string{authorizeReply, maskLine}},
		}},
		{"subscribe, configure, authorize", []step{
			{subscribeLine, []string{subscribeReply}},
			{configureLine, []string{configureReply}},
			{authorizeLine, []string{authorizeReply, maskLine}},
		}},
		{"all in one segment", []step{
			{configureLine + subscribeLine + authorizeLine + submitLine, []string{configureReply, subscribeReply, authorizeReply, maskLine, submitReply}},
		}},
		{"zero bytes that end texts", []step{
			{strings.ReplaceAll(subscribeLine+authorizeLine, "\n", "\x00\n"), []string{subscribeReply, authorizeReply}},
			{"\x00" + submitLine + "\x00", []string{submitReply}},
			{"\r\n\x00\r\n" + submitLine, []string{submitReply}},
		}},
		{"byte order marks", []step{
			{"\ufeff" + subscribeLine + "\ufeff" + authorizeLine, []string{subscribeReply, authorizeReply}},
			{"\ufeff\r\n" + submitLine, []string{submitReply}},
		}},
		{"JSON-RPC 2.0", []step{
			login,
			{strings.ReplaceAll(submitLine, "{", `{"jsonrpc":"2.0",`), []string{submitReply}},
		}},
		{"configure twice", []step{
			{configureLine + configureLine, []string{configureReply, configureReply}},
		}},
		{"configure after authorize", []step{login, {configureLine, []string{configureReply}}}},
		{"authorize first", []step{
			{authorizeLine, []string{authorizeReply}},
			{submitLine, []string{`{"id":4,"result":false,"error":[25,"Not subscribed",null]}`}},
			{subscribeLine, []string{subscribeReply}},
			{submitLine, []string{submitReply}},
		}},
		{"submit before all", []step{{submitLine, []string{`{"id":4,"result":false,"error":[25,"Not subscribed",null]}`}}}},
		{"submit before authorize", []step{
			{subscribeLine, []string{subscribeReply}},
			{submitLine, []string{`{"id":4,"result":false,"error":[24,"Unauthorized worker",null]}`}},
		}},
		{"submit by another worker", []step{login, {
			`{"id":4,"method":"mining.submit","params":["you","4f1a","0102030405060708","6553f100","10015793"]}` + "\n",
			[]string{`{"id":4,"result":false,"error":[24,"Unauthorized worker",null]}`},
		}}},
		{"two workers", []step{
			login,
			{`{"id":3,"method":"mining.authorize","params":["you",null]}` + "\n", []string{`{"id":3,"result":true,"error":null}`}},
			{submitLine, []string{submitReply}},
			{`{"id":5,"method":"mining.submit","params":["you","4f1a","0102030405060708","6553f100","10015793"]}` + "\n", []string{`{"id":5,"result":true,"error":null}`}},
		}},
		{"authorize without password", []step{{`{"id":2,"method":"mining.authorize","params":["me"]}` + "\n", []string{authorizeReply}}}},
		{"subscribe twice", []step{login, {subscribeLine, []string{subscribeReply}}}},
		{"subscribe without params", []step{
			{`{"id":1,"method":"mining.subscribe","params":[]}` + "\n", []string{subscribeReply}},
			{`{"id":1,"method":"mining.subscribe"}` + "\n", []string{subscribeReply}},
			{`{"id":1,"method":"mining.subscribe","params":null}` + "\n", []string{subscribeReply}},
			{`{"id":1,"method":"mining.subscribe","params":{"a":1}}` + "\n", []string{subscribeReply}},
			{`{"id":1,"method":"mining.subscribe","params":["a",null,"pool",3333]}` + "\n", []string{subscribeReply}},
		}},
		{"ids", []step{
			{`{"id":"auth","method":"mining.ping"}` + "\n", []string{`{"id":"auth","result":"pong","error":null}`}},
			{`{"id":1.50e1,"method":"mining.ping"}` + "\n", []string{`{"id":1.50e1,"result":"pong","error":null}`}},
			{`{"id":9223372036854775808,"method":"mining.ping"}` + "\n", []string{`{"id":9223372036854775808,"result":"pong","error":null}`}},
			{`{"id":"\u0041\"","method":"mining.ping"}` + "\n", []string{`{"id":"\u0041\"","result":"pong","error":null}`}},
			{`{"id":[1, 2],"method":"mining.ping"}` + "\n", []string{`{"id":[1, 2],"result":"pong","error":null}`}},
			{`{"id":false,"method":"nonsense"}` + "\n", []string{`{"id":false,"result":null,` + notFound}},
			{`{"id":1,"id":2,"method":"mining.ping"}` + "\n", []string{`{"id":2,"result":"pong","error":null}`}},
		}},
		{"notifications", []step{
			{`{"id":null,"method":"mining.ping"}` + "\n" + `{"method":"mining.ping"}` + "\n", nil},
			{`{"id":null,"method":"nonsense","params":[]}` + "\n", nil},
			{`{"id":null,"method":"mining.suggest_target","params":["00000000ffff0000000000000000000000000000000000000000000000000000"]}` + "\n", nil},
			{`{"method":"mining.suggest_difficulty","params":[0.00015]}` + "\n", nil},
			{`{"id":null,"method":"mining.submit","params":[]}` + "\n", nil},
			{`{"id":null,"method":"mining.configure","params":[]}` + "\n", nil},
			{`{"id":null,"method":"mining.get_transactions","params":["1"]}` + "\n", nil},
		}},
		{"replies to our requests", []step{
			{`{"id":7,"method":null,"result":"pong","error":null}` + "\n" + `{"id":1,"method":"pong","params":[]}` + "\n" + `{"id":9,"result":null,"error":[1,"",null]}` + "\n", nil},
		}},
		{"unknown methods", []step{
			{`{"id":3,"method":"mining.get_hashes","params":[]}` + "\n", []string{`{"id":3,"result":null,` + notFound}},
			{`{"id":3,"method":"client.version"}` + "\n", []string{`{"id":3,"result":null,` + notFound}},
			{`{"id":3,"method":7}` + "\n", []string{`{"id":3,"result":null,` + notFound}},
			{`{"id":3,"method":""}` + "\n", []string{`{"id":3,"result":null,` + notFound}},
			{`{"id":3}` + "\n", []string{`{"id":3,"result":null,` + notFound}},
			{`{"id":3,"method":"mining\u002eping"}` + "\n", []string{`{"id":3,"result":"pong","error":null}`}},
		}},
		{"probes", []step{
			{`{"id":1,"method":"mining.multi_version","params":[1]}` + "\n", []string{`{"id":1,"result":true,"error":null}`}},
			{`{"id":1,"method":"mining.capabilities","params":[{"a":1}]}` + "\n", []string{`{"id":1,"result":true,"error":null}`}},
			{`{"id":"xnsub","method":"mining.extranonce.subscribe","params":[]}` + "\n", []string{`{"id":"xnsub","result":true,"error":null}`}},
			{`{"id":"txlist1","method":"mining.get_transactions","params":["1"]}` + "\n", []string{`{"id":"txlist1","result":null,"error":[20,"Transactions are not available",null]}`}},
			{`{"id":"txlist1","method":"mining.get_transactions","params":[]}` + "\n", []string{`{"id":"txlist1","result":null,"error":[20,"Malformed params",null]}`}},
		}},
		{"suggestions", []step{
			{`{"id":1,"method":"mining.suggest_difficulty","params":["0.500000"]}` + "\n", []string{`{"id":1,"result":true,"error":null}`}},
			{`{"id":1,"method":"mining.suggest_difficulty","params":[512]}` + "\n", []string{`{"id":1,"result":true,"error":null}`}},
			{`{"id":1,"method":"mining.suggest_difficulty","params":[0]}` + "\n", []string{`{"id":1,"result":null,"error":[20,"Difficulty must be a number above 0",null]}`}},
			{`{"id":1,"method":"mining.suggest_difficulty","params":["NaN"]}` + "\n", []string{`{"id":1,"result":null,"error":[20,"Difficulty must be a number above 0",null]}`}},
			{`{"id":1,"method":"mining.suggest_difficulty","params":["x"]}` + "\n", []string{`{"id":1,"result":null,"error":[20,"Difficulty must be a number above 0",null]}`}},
			{`{"id":1,"method":"mining.suggest_difficulty"}` + "\n", []string{`{"id":1,"result":null,"error":[20,"Difficulty must be a number above 0",null]}`}},
			{`{"id":1,"method":"mining.suggest_target","params":["00"]}` + "\n", []string{`{"id":1,"result":null,"error":[20,"Target must be 64 hexadecimal digits and not zero",null]}`}},
		}},
		{"suggestions in other forms", []step{
			{`{"id":1,"method":"mining.suggest_difficulty","params":512}` + "\n", []string{`{"id":1,"result":true,"error":null}`}},
			{`{"id":1,"method":"mining.suggest_difficulty","params":{"difficulty":512}}` + "\n", []string{`{"id":1,"result":true,"error":null}`}},
			{`{"id":1,"method":"mining.suggest_target","params":["0x00000000ffff0000000000000000000000000000000000000000000000000000"]}` + "\n", []string{`{"id":1,"result":true,"error":null}`}},
			{`{"id":1,"method":"mining.suggest_target","params":"ffff0000000000000000000000000000000000000000000000000000"}` + "\n", []string{`{"id":1,"result":true,"error":null}`}},
			{`{"id":1,"method":"mining.suggest_target","params":["` + strings.Repeat("f", 66) + `"]}` + "\n", []string{`{"id":1,"result":null,"error":[20,"Target must be 64 hexadecimal digits and not zero",null]}`}},
		}},
		{"shares in other forms", []step{
			login,
			{`{"id":4,"method":"mining.submit","params":["me","4f1a","0X0102030405060708","6553F100","0x10015793",null]}` + "\n", []string{submitReply}},
			{`{"id":4,"method":"mining.submit","params":["me","4f1a","0102030405060708","6553f100","10015793",""]}` + "\n", []string{submitReply}},
			{`{"id":4,"method":"mining.submit","params":["me","4f1a","0102030405060708","6553f100","10015793","00000000","more"]}` + "\n", []string{submitReply}},
			{`{"id":4,"method":"mining.submit","params":[null,"4f1a","0102030405060708","6553f100","10015793"]}` + "\n", []string{`{"id":4,"result":false,"error":[24,"Unauthorized worker",null]}`}},
			{`{"id":4,"method":"mining.submit","params":["","4f1a","0102030405060708","6553f100","10015793"]}` + "\n", []string{`{"id":4,"result":false,"error":[24,"Unauthorized worker",null]}`}},
		}},
		{"extensions", []step{
			{`{"id":1,"method":"mining.configure","params":[["minimum-difficulty","subscribe-extranonce","info","foo\"bar"],{"minimum-difficulty.value":2048,"info.hw-version":"s9","unasked":1}]}` + "\n", []string{`{"id":1,"result":{"minimum-difficulty":true,"subscribe-extranonce":true,"info":true,"foo\"bar":false},"error":null}`}},
			{`{"id":1,"method":"mining.configure","params":[["version-rolling"]]}` + "\n", []string{configureReplyID(1)}},
			{`{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"C00000"}]}` + "\n", []string{`{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"00c00000"},"error":null}`}},
			{`{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"00000001","version-rolling.min-bit-count":2}]}` + "\n", []string{`{"id":1,"result":{"version-rolling":false},"error":null}`}},
			{`{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"123456789"}]}` + "\n", []string{`{"id":1,"result":{"version-rolling":"mask must be up to 8 hexadecimal digits"},"error":null}`}},
			{`{"id":1,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":-1}]}` + "\n", []string{`{"id":1,"result":{"minimum-difficulty":"value must be a number not below 0"},"error":null}`}},
			{`{"id":1,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":0}]}` + "\n", []string{`{"id":1,"result":{"minimum-difficulty":true},"error":null}`}},
			{`{"id":1,"method":"mining.configure","params":[[],{}]}` + "\n", []string{`{"id":1,"result":{},"error":null}`}},
			{`{"id":1,"method":"mining.configure","params":["version-rolling",{"version-rolling.mask":"0x1FFFE000"}]}` + "\n", []string{configureReplyID(1)}},
			{`{"id":1,"method":"mining.configure","params":[["version-rolling"],[]]}` + "\n", []string{configureReplyID(1)}},
			{`{"id":1,"method":"mining.configure","params":[[7,"info"],null]}` + "\n", []string{`{"id":1,"result":{"info":true},"error":null}`}},
			{`{"id":1,"method":"mining.configure","params":[]}` + "\n", []string{`{"id":1,"result":null,"error":[20,"Malformed params",null]}`}},
			{`{"id":1,"method":"mining.configure","params":[["info"],["info"]]}` + "\n", []string{`{"id":1,"result":null,"error":[20,"Malformed params",null]}`}},
		}},
		{"malformed shares", []step{
			login,
			{`{"id":4,"method":"mining.submit","params":["me","4f1a","01","6553f100"]}` + "\n", []string{`{"id":4,"result":false,"error":[20,"Malformed params: want worker, job id, extranonce2, ntime, nonce",null]}`}},
			{`{"id":4,"method":"mining.submit","params":{"worker":"me"}}` + "\n", []string{`{"id":4,"result":false,"error":[20,"Malformed params: want worker, job id, extranonce2, ntime, nonce",null]}`}},
			{`{"id":4,"method":"mining.submit","params":["me",true,"01","6553f100","00000000"]}` + "\n", []string{`{"id":4,"result":false,"error":[20,"Malformed params: want worker, job id, extranonce2, ntime, nonce",null]}`}},
			{`{"id":4,"method":"mining.submit","params":["me","4f1a","0","6553f100","00000000"]}` + "\n", []string{`{"id":4,"result":false,"error":[20,"Malformed extranonce2",null]}`}},
			{`{"id":4,"method":"mining.submit","params":["me","4f1a","zz","6553f100","00000000"]}` + "\n", []string{`{"id":4,"result":false,"error":[20,"Malformed extranonce2",null]}`}},
			{`{"id":4,"method":"mining.submit","params":["me","4f1a","` + strings.Repeat("00", 65) + `","6553f100","00000000"]}` + "\n", []string{`{"id":4,"result":false,"error":[20,"Malformed extranonce2",null]}`}},
			{`{"id":4,"method":"mining.submit","params":["me","4f1a","01","x53f100","00000000"]}` + "\n", []string{`{"id":4,"result":false,"error":[20,"Malformed ntime: want up to 8 hexadecimal digits",null]}`}},
			{`{"id":4,"method":"mining.submit","params":["me","4f1a","01","6553f100",-5]}` + "\n", []string{`{"id":4,"result":false,"error":[20,"Malformed nonce: want up to 8 hexadecimal digits",null]}`}},
			{`{"id":4,"method":"mining.submit","params":["me","4f1a","01","6553f100","0","123456789"]}` + "\n", []string{`{"id":4,"result":false,"error":[20,"Malformed version bits: want up to 8 hexadecimal digits",null]}`}},
			{`{"id":4,"method":"mining.submit","params":["me","` + strings.Repeat("j", 65) + `","01","6553f100","0"]}` + "\n", []string{`{"id":4,"result":false,"error":[21,"Job not found",null]}`}},
		}},
		{"worker names", []step{
			{`{"id":2,"method":"mining.authorize","params":["` + strings.Repeat("n", 255) + `","x"]}` + "\n", []string{authorizeReply}},
			{`{"id":2,"method":"mining.authorize","params":["Zürich.rig 1","x"]}` + "\n", []string{authorizeReply}},
		}},
		{"garbage", []step{
			{`{"id":1,"method":` + "\n", []string{`{"id":null,"result":null,"error":[20,"Not a Stratum message",null]}`}},
			{subscribeLine, []string{subscribeReply}},
			{"GET / HTTP/1.1\r\n", []string{`{"id":null,"result":null,"error":[20,"Not a Stratum message",null]}`}},
			{`{"id":1,"method":"x","params":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}\n", []string{`{"id":null,"result":null,"error":[20,"Not a Stratum message",null]}`}},
			{`{"id":"` + strings.Repeat("i", 1100) + `","method":"mining.ping"}` + "\n", []string{`{"id":null,"result":null,"error":[20,"Not a Stratum message",null]}`}},
		}},
		{"broken JSON", []step{
			{strings.TrimSpace(subscribeLine) + authorizeLine, []string{subscribeReply, authorizeReply}},
			{"{'id': 4, 'method': 'mining.submit', 'params': ['me', '4f1a', '0102030405060708', '6553f100', '10015793', None]}\n", []string{submitReply}},
			{strings.TrimSpace(submitLine) + "," + strings.TrimSpace(submitLine) + "]" + strings.Replace(submitLine, "}", ",}", 1), []string{submitReply, submitReply, submitReply}},
			{strings.Replace(submitLine, "}", "};", 1), []string{submitReply}},
			{strings.TrimSpace(submitLine) + "{]\n", []string{submitReply, `{"id":null,"result":null,"error":[20,"Not a Stratum message",null]}`}},
		}},
		{"names with their line's end", []step{
			{subscribeLine, []string{subscribeReply}},
			{`{"id":2,"method":"mining.authorize","params":[" me\r\n","x\r\n"]}` + "\n", []string{authorizeReply}},
			{`{"id":4,"method":"mining.submit","params":[" me\r\n","4f1a","0102030405060708","6553f100","10015793"]}` + "\n", []string{submitReply}},
			{submitLine, []string{submitReply}},
		}},
		{"line ends", []step{
			{"\n\r\n  \n" + strings.ReplaceAll(subscribeLine, "\n", "\r\n"), []string{subscribeReply}},
			{"\t" + authorizeLine, []string{authorizeReply}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, addr := startServer(t, ServerOptions{Limits: Limits{GuessTime: -1}}, &testPool{})
			m := dialRaw(t, addr)
			for i, s := range c.steps {
				ping := fmt.Sprintf(`{"id":"step %d","method":"mining.ping"}`, i)
				m.send(s.send + ping + "\n")
				m.expect(append(s.want, fmt.Sprintf(`{"id":"step %d","result":"pong","error":null}`, i))...)
			}
		})
	}
}

func configureReplyID(id int) string {
	return strings.Replace(configureReply, `"id":9`, fmt.Sprintf(`"id":%d`, id), 1)
}

// A whole dialogue, split in two segments at every byte, and byte by byte.
func TestServerSplitLines(t *testing.T) {
	dialogue := configureLine + subscribeLine + "\r\n" + authorizeLine + submitLine + strings.ReplaceAll(submitLine, "\n", "\r\n")
	want := []string{configureReply, subscribeReply, authorizeReply, maskLine, submitReply, submitReply}
	_, addr := startServer(t, ServerOptions{}, &testPool{})
	for at := 1; at < len(dialogue); at++ {
		m := dialRaw(t, addr)
		m.send(dialogue[:at])
		m.send(dialogue[at:])
		m.expect(want...)
		m.Close()
	}
	m := dialRaw(t, addr)
	for i := range len(dialogue) {
		m.send(dialogue[i : i+1])
	}
	m.expect(want...)
}

func TestServerConnState(t *testing.T) {
	conns := make(chan *Conn, 1)
	server, addr := startServer(t, ServerOptions{}, &testPool{
		connected: func(c *Conn) error {
			c.SetData(42)
			conns <- c
			return nil
		},
		subscribe: func(_ *Conn, resume string) (Subscription, error) {
			if resume == "" {
				return Subscription{}, &Error{CodeOther, "no space left"}
			}
			return Subscription{resume + "!", []byte{0xff}, 4}, nil
		},
	})
	m := dialRaw(t, addr)
	c := <-conns
	m.send(subscribeLine)
	m.expect(`{"id":1,"result":null,"error":[20,"no space left",null]}`)
	if c.SetExtranonce([]byte{1}, 8) {
		t.Error("set_extranonce was sent to a miner that does not know it")
	}
	m.send(`{"id":1,"method":"mining.subscribe","params":["evil\u001b[31m\u0000agent","s7"]}` + "\n")
	m.expect(`{"id":1,"result":[[["mining.set_difficulty","s7!"],["mining.notify","s7!"]],"ff",4],"error":null}`)
	m.send(`{"id":1,"method":"mining.extranonce.subscribe"}` + "\n" + configureLine + authorizeLine)
	m.expect(`{"id":1,"result":true,"error":null}`, configureReply, authorizeReply, maskLine)

	if c.UserAgent() != "evil[31magent" || c.Data() != 42 || c.VersionMask() != DefaultVersionMask || !c.WantsExtranonce() {
		t.Errorf("agent %q, data %v, mask %x, extranonce %v", c.UserAgent(), c.Data(), c.VersionMask(), c.WantsExtranonce())
	}
	if w := c.Workers(); len(w) != 1 || w[0] != "me" {
		t.Errorf("workers %q", w)
	}
	if c.RemoteAddr().String() != m.LocalAddr().String() || c.ID() == 0 {
		t.Errorf("connection %d from %v", c.ID(), c.RemoteAddr())
	}
	c.SetDifficulty(1)
	c.SetVersionMask(DefaultVersionMask) // nothing new
	c.SetVersionMask(0x00c00000)
	server.SetVersionMask(0)
	server.SetVersionMask(0x1fffe000)
	c.SetExtranonce([]byte{0xab, 0xcd}, 6)
	c.ShowMessage("maintenance\n\x1b[2J")
	c.Ping()
	c.Ping()
	c.Reconnect()
	m.expect(
		difficultyOne,
		`{"id":null,"method":"mining.set_version_mask","params":["00c00000"]}`,
		`{"id":null,"method":"mining.set_version_mask","params":["00000000"]}`,
		maskLine,
		`{"id":null,"method":"mining.set_extranonce","params":["abcd",6]}`,
		`{"id":null,"method":"client.show_message","params":["maintenance\u000a\u001b[2J"]}`,
		`{"id":1,"method":"mining.ping","params":[]}`,
		`{"id":2,"method":"mining.ping","params":[]}`,
		`{"id":null,"method":"client.reconnect","params":[]}`,
	)
	c.Close(errors.New("enough"))
	m.closed()
	c.SetDifficulty(2) // is dropped
}

func TestServerWithoutVersionRolling(t *testing.T) {
	server, addr := startServer(t, ServerOptions{NoVersionRolling: true}, &testPool{})
	m := dialRaw(t, addr)
	m.send(configureLine)
	m.expect(`{"id":9,"result":{"version-rolling":false},"error":null}`)
	m.login()
	server.SetVersionMask(DefaultVersionMask) // was told no: hears nothing
	m.send(configureLine)
	m.expect(configureReply)
}

// The pool can rely on the order of calls, and on the last one.
func TestServerHandlerCalls(t *testing.T) {
	var mu sync.Mutex
	var calls []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, fmt.Sprintf(format, args...))
	}
	done := make(chan struct{})
	_, addr := startServer(t, ServerOptions{}, &testPool{
		connected: func(*Conn) error { note("connected"); return nil },
		subscribe: func(_ *Conn, resume string) (Subscription, error) {
			note("subscribe %q", resume)
			return Subscription{"s1", unhex("a1b2c3d4"), 8}, nil
		},
		authorize:    func(_ *Conn, user, password string) error { note("authorize %q %q", user, password); return nil },
		authorized:   func(c *Conn) { note("authorized"); c.SetDifficulty(1) },
		submit:       func(_ *Conn, s *Share) error { note("submit %s", s.JobID); return nil },
		suggest:      func(_ *Conn, d Difficulty) { note("suggest %v", d) },
		disconnected: func(*Conn, error) { note("disconnected"); close(done) },
	})
	m := dialRaw(t, addr)
	m.send(authorizeLine + subscribeLine + subscribeLine + authorizeLine + `{"id":2,"method":"mining.authorize","params":["you","d=3"]}` + "\n" + submitLine)
	m.expect(authorizeReply, subscribeReply, difficultyOne, subscribeReply, difficultyOne, authorizeReply, authorizeReply, submitReply)
	m.Close()
	<-done
	want := `connected|authorize "me" "x"|subscribe ""|authorized|subscribe ""|authorized|authorize "me" "x"|authorize "you" "d=3"|suggest 3|submit 4f1a|disconnected`
	if got := strings.Join(calls, "|"); got != want {
		t.Errorf("calls\n     %s\nwant %s", got, want)
	}
}

// TestPasswords: what is asked for in a password, in the dialects of several pools.
func TestPasswords(t *testing.T) {
	for password, want := range map[string][2]Difficulty{
		"x": {}, "": {}, "secret": {}, "d": {}, "=5": {}, "id=5": {},
		"d=512": {512}, "D=512": {512}, "x,d=512": {512}, "x;diff=1e3;m=solo": {1000}, "Difficulty=0.5": {0.5}, "d:512": {512},
		"md=2048": {0, 2048}, "d=512,mindiff=64": {512, 64}, "d=1,d=2": {1},
		"d=512k": {}, "d=-5,d=0,d=NaN,d=Inf,d=1e999": {}, "d=,d=7": {7},
	} {
		if begin, least := passwordWishes(password); want != [2]Difficulty{begin, least} {
			t.Errorf("%q: %v, at least %v; want %v", password, begin, least, want)
		}
	}
}

func TestServerRefusesConnection(t *testing.T) {
	server, addr := startServer(t, ServerOptions{}, &testPool{
		connected:    func(*Conn) error { return errors.New("full") },
		disconnected: func(*Conn, error) { t.Error("Disconnected was called") },
	})
	dialRaw(t, addr).closed()
	eventually(t, "the refusal is counted", func() bool { return server.Stats().Refused.Load() == 1 })
}

func TestServerConnectionLimits(t *testing.T) {
	server, addr := startServer(t, ServerOptions{Limits: Limits{Connections: 3, Pending: 1}}, &testPool{})
	first := dialRaw(t, addr)
	first.send(subscribeLine)
	first.expect(subscribeReply)
	second := dialRaw(t, addr) // takes the room of the first, which has not authorized
	first.closed()
	second.login()
	eventually(t, "the second is ready", func() bool { return server.Stats().Ready.Load() == 1 })
	third := dialRaw(t, addr)
	third.login()
	eventually(t, "the third is ready", func() bool { return server.Stats().Ready.Load() == 2 })
	idler := dialRaw(t, addr)
	eventually(t, "three are there", func() bool { return server.Stats().Connections.Load() == 3 })
	fourth := dialRaw(t, addr)
	idler.closed()
	fourth.login()
	eventually(t, "the fourth is ready", func() bool { return server.Stats().Ready.Load() == 3 })
	dialRaw(t, addr).closed() // miners are not closed for others
	second.Close()
	eventually(t, "the second has gone", func() bool { return server.Stats().Connections.Load() == 2 })
	dialRaw(t, addr).login()
	if n := server.Stats().CrowdedOut.Load(); n != 2 {
		t.Errorf("%d connections made room", n)
	}
}

func TestServerShutdown(t *testing.T) {
	server, addr := startServer(t, ServerOptions{}, &testPool{})
	leaver, stayer := dialRaw(t, addr), dialRaw(t, addr)
	leaver.login()
	stayer.login()
	eventually(t, "both are ready", func() bool { return server.Stats().Ready.Load() == 2 })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		server.Shutdown(ctx, true)
		close(ended)
	}()
	for _, m := range []*rawMiner{leaver, stayer} {
		m.expect(`{"id":null,"method":"client.reconnect","params":[]}`)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("the server still accepts connections")
	}
	leaver.Close()
	stayer.send(submitLine) // is still served
	stayer.expect(submitReply)
	cancel()
	stayer.closed()
	<-ended
}

func TestServerShutdownEndsWhenAllHaveLeft(t *testing.T) {
	server, addr := startServer(t, ServerOptions{}, &testPool{})
	m := dialRaw(t, addr)
	m.login()
	ended := make(chan struct{})
	go func() {
		server.Shutdown(context.Background(), true)
		close(ended)
	}()
	m.line()
	m.Close()
	<-ended
}

func TestServeEndsWithContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(ServerOptions{}, &testPool{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, l) }()
	m := dialRaw(t, l.Addr().String())
	m.login()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	m.send(submitLine) // open connections stay
	m.expect(submitReply)
	s.Close()
	if err := s.Serve(context.Background(), l); err != nil {
		t.Errorf("Serve after Close: %v", err)
	}
}
