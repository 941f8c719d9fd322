package stratum

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestServerShareFields(t *testing.T) {
	shares := make(chan Share, 1)
	_, addr := startServer(t, ServerOptions{}, &testPool{submit: func(_ *Conn, s *Share) error {
		copied := *s
		copied.Extranonce2 = append([]byte{}, s.Extranonce2...)
		shares <- copied
		return nil
	}})
	m := dialRaw(t, addr)
	m.login()
	for _, c := range []struct {
		params string
		want   Share
	}{
		{`"me","4f1a","0102030405060708","6553f100","10015793"`, Share{Worker: "me", JobID: "4f1a", Extranonce2: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Time: 0x6553f100, Nonce: 0x10015793}},
		{`"me","4f1a","ABCDEF","6553F100","DEADBEEF","00C0E000"`, Share{Worker: "me", JobID: "4f1a", Extranonce2: []byte{0xab, 0xcd, 0xef}, Time: 0x6553f100, Nonce: 0xdeadbeef, VersionBits: 0xc0e000, HasVersionBits: true}},
		{`"me","x","","1","2","0"`, Share{Worker: "me", JobID: "x", Extranonce2: []byte{}, Time: 1, Nonce: 2, HasVersionBits: true}},
		{`"me","x","00","1","2",null`, Share{Worker: "me", JobID: "x", Extranonce2: []byte{0}, Time: 1, Nonce: 2}},
		{`"me","x","00","1","2","00000000","more",7`, Share{Worker: "me", JobID: "x", Extranonce2: []byte{0}, Time: 1, Nonce: 2, HasVersionBits: true}},
		{`"me","x","00","0x6553F100","0X02","0x0"`, Share{Worker: "me", JobID: "x", Extranonce2: []byte{0}, Time: 0x6553f100, Nonce: 2, HasVersionBits: true}},
		{`"me",4711,"00",1700000000,268523411,12640256`, Share{Worker: "me", JobID: "4711", Extranonce2: []byte{0}, Time: 1700000000, Nonce: 0x10015793, VersionBits: 0xc0e000, HasVersionBits: true}},
		{`"me","x"," 0x0A ","1","2",null`, Share{Worker: "me", JobID: "x", Extranonce2: []byte{10}, Time: 1, Nonce: 2}},
		{`"\u006de","\u0078","\u0030\u0031","1","2"`, Share{Worker: "me", JobID: "x", Extranonce2: []byte{1}, Time: 1, Nonce: 2}},
	} {
		m.send(`{"id":4,"method":"mining.submit","params":[` + c.params + `]}` + "\n")
		m.expect(submitReply)
		if got := <-shares; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s: share %+v, want %+v", c.params, got, c.want)
		}
	}
}

func TestServerRefusals(t *testing.T) {
	errs := []error{
		&Error{CodeStale, "Stale"}, &Error{CodeDuplicate, "Duplicate \"share\""},
		fmt.Errorf("wrapped: %w", &Error{CodeLowDifficulty, "too easy"}), errors.New("node\nis away"), &Error{-3, "negative"},
	}
	want := []string{
		`[21,"Stale",null]`, `[22,"Duplicate \"share\"",null]`, `[23,"too easy",null]`, `[20,"node\u000ais away",null]`, `[-3,"negative",null]`,
	}
	n := 0
	server, addr := startServer(t, ServerOptions{}, &testPool{submit: func(*Conn, *Share) error {
		n++
		return errs[n-1]
	}})
	m := dialRaw(t, addr)
	m.login()
	for _, w := range want {
		m.send(submitLine)
		m.expect(`{"id":4,"result":false,"error":` + w + `}`)
	}
	if got := server.Stats().Refusals.Load(); got != uint64(len(want)) {
		t.Errorf("%d refusals counted", got)
	}
}

func TestServerAuthorize(t *testing.T) {
	type login struct{ user, password string }
	logins := make(chan login, 1)
	suggested := make(chan Difficulty, 1)
	_, addr := startServer(t, ServerOptions{Limits: Limits{GuessTime: -1, Names: 6}}, &testPool{
		authorize: func(_ *Conn, user, password string) error {
			logins <- login{user, password}
			switch user {
			case "bad":
				return errors.New("no such user")
			case "worse":
				return &Error{CodeOther, "go away"}
			}
			return nil
		},
		suggest: func(_ *Conn, d Difficulty) { suggested <- d },
	})
	m := dialRaw(t, addr)
	for _, c := range []struct {
		params string
		want   string
		login  login
		d      Difficulty
	}{
		{`"a.1","x"`, "true,null", login{"a.1", "x"}, 0},
		{`"a.2","x,d=512"`, "true,null", login{"a.2", "x,d=512"}, 512},
		{`"a.2","diff=0.25;x"`, "true,null", login{"a.2", "diff=0.25;x"}, 0.25},
		{`"a.2","d=0 d=-1 d=x d=1e999 d=7"`, "true,null", login{"a.2", "d=0 d=-1 d=x d=1e999 d=7"}, 7},
		{`"a.2","id=5,dd=6"`, "true,null", login{"a.2", "id=5,dd=6"}, 0},
		{`"bad","d=512"`, `false,[24,"no such user",null]`, login{"bad", "d=512"}, 0},
		{`"worse",null`, `false,[20,"go away",null]`, login{"worse", ""}, 0},
		{`"b"`, "true,null", login{"b", ""}, 0},
		{`"a rig, in the cellar #1","x"`, "true,null", login{"a rig, in the cellar #1", "x"}, 0},
		{`12345,12345`, "true,null", login{"12345", "12345"}, 0},
		{`"\u00e9\/",7`, "true,null", login{"é/", "7"}, 0},
		{`"one more"`, `false,[20,"Too many workers on one connection",null]`, login{}, 0},
		{`""`, `false,[20,"Worker name must be 1 to 255 bytes of printable text",null]`, login{}, 0},
		{`null,"x"`, `false,[20,"Worker name must be 1 to 255 bytes of printable text",null]`, login{}, 0},
		{`"a\nb","x"`, `false,[20,"Worker name must be 1 to 255 bytes of printable text",null]`, login{}, 0},
		{`"a\u001b[2Jb","x"`, `false,[20,"Worker name must be 1 to 255 bytes of printable text",null]`, login{}, 0},
		{`"` + strings.Repeat("n", 256) + `","x"`, `false,[20,"Worker name must be 1 to 255 bytes of printable text",null]`, login{}, 0},
		{`"a.1","` + strings.Repeat("p", 1025) + `"`, `false,[20,"Password is too long",null]`, login{}, 0},
	} {
		m.send(`{"id":2,"method":"mining.authorize","params":[` + c.params + `]}` + "\n")
		result, err, _ := strings.Cut(c.want, ",")
		m.expect(`{"id":2,"result":` + result + `,"error":` + err + `}`)
		select {
		case got := <-logins:
			if got != c.login {
				t.Errorf("%s: authorized as %+v", c.params, got)
			}
		default:
			if c.login != (login{}) {
				t.Errorf("%s: not authorized", c.params)
			}
		}
		select {
		case got := <-suggested:
			if got != c.d {
				t.Errorf("%s: suggested %v", c.params, got)
			}
		default:
			if c.d != 0 {
				t.Errorf("%s: nothing suggested", c.params)
			}
		}
	}
}

func TestServerSuggestions(t *testing.T) {
	suggested := make(chan Difficulty, 8)
	_, addr := startServer(t, ServerOptions{}, &testPool{suggest: func(_ *Conn, d Difficulty) { suggested <- d }})
	m := dialRaw(t, addr)
	for line, want := range map[string]Difficulty{
		`{"id":1,"method":"mining.suggest_difficulty","params":["0.500000"]}`:                                                                0.5,
		`{"method":"mining.suggest_difficulty","params":[0.00015]}`:                                                                          0.00015,
		`{"id":null,"method":"mining.suggest_target","params":["000000007fff8000000000000000000000000000000000000000000000000000"]}`:         2,
		`{"id":1,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":2048}]}`:                           2048,
		`{"id":1,"method":"mining.suggest_target","params":["ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"],"extra":[]}`: MaxTarget.Difficulty(),
	} {
		m.send(line + "\n")
		if got := <-suggested; got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}

// What a wish brings about comes after the answer to it.
func TestAnswerBeforeWish(t *testing.T) {
	_, addr := startServer(t, ServerOptions{}, &testPool{suggest: func(c *Conn, d Difficulty) { c.SetDifficulty(d) }})
	m := dialRaw(t, addr)
	m.login()
	for line, want := range map[string]string{
		`{"id":1,"method":"mining.suggest_difficulty","params":[5]}`:                                                              `"result":true,`,
		`{"id":1,"method":"mining.suggest_target","params":["000000007fff8000000000000000000000000000000000000000000000000000"]}`: `"result":true,`,
		`{"id":1,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":2048}]}`:                `"minimum-difficulty":true}`,
		`{"id":1,"method":"mining.authorize","params":["me","d=7"]}`:                                                              `"result":true,`,
	} {
		m.send(line + "\n")
		if answer, then := m.line(), m.line(); !strings.Contains(answer, want) || !strings.Contains(then, "mining.set_difficulty") {
			t.Errorf("%s:\n%s\n%s", line, answer, then)
		}
	}
}

func TestServerTransactions(t *testing.T) {
	asked := 0
	pool := &testPool{transactions: func(_ *Conn, job string) ([][]byte, error) {
		asked++
		switch job {
		case "none":
			return nil, nil
		case "two":
			return [][]byte{{0xab}, {1, 2}}, nil
		case "many":
			return [][]byte{make([]byte, 1<<20)}, nil
		}
		return nil, errJobNotFound
	}}
	const refused = `{"id":"tx","result":null,"error":[20,"Transactions are not available",null]}`
	request := func(job string) string {
		return `{"id":"tx","method":"mining.get_transactions","params":["` + job + `"]}` + "\n"
	}
	_, addr := startServer(t, ServerOptions{}, pool)
	m := dialRaw(t, addr)
	m.login()
	m.send(request("two"))
	m.expect(refused) // unless the pool serves them

	_, addr = startServer(t, ServerOptions{ServeTransactions: true}, pool)
	m = dialRaw(t, addr)
	m.send(request("two"))
	m.expect(`{"id":"tx","result":null,"error":[24,"Unauthorized worker",null]}`)
	if m.login(); asked != 0 {
		t.Errorf("%d requests of strangers have reached the pool", asked)
	}
	for range 100 { // each job is taken apart once
		for job, want := range map[string]string{
			"none": `{"id":"tx","result":[],"error":null}`,
			"two":  `{"id":"tx","result":["ab","0102"],"error":null}`,
			"many": refused,
		} {
			m.send(request(job))
			m.expect(want)
		}
	}
	if asked != 3 {
		t.Errorf("the pool was asked %d times", asked)
	}
	m.send(request("other"))
	m.expect(`{"id":"tx","result":null,"error":[21,"Job not found",null]}`)
}
