package stratum

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzServer feeds a connection with bytes, in pieces. Whatever they are, what is
// sent back is lines of JSON, and the pieces make no difference.
func FuzzServer(f *testing.F) {
	for _, dialogue := range []string{
		configureLine + subscribeLine + authorizeLine + submitLine,
		`{"id":"x","method":"mining.configure","params":[["minimum-difficulty","info","a"],{"minimum-difficulty.value":"2"}]}` + "\n{]\n\r\n",
		`{"id":1.5,"method":"mining.suggest_target","params":["00000000ffff0000000000000000000000000000000000000000000000000000"]}` + "\n" + `{"id":2,"method":"mining.get_transactions","params":["1"]}` + "\n",
		`{"id":1,"method":"mining.suggest_difficulty","params":["0.5"]}` + "\n" + `{"id":[{}],"method":"mining\u002eping"}` + "\n",
		`{"id":1,"method":"mining.submit","params":["m\u0065","\u0034f1a","0A","1","2","ffffffff"]}` + "\n",
	} {
		f.Add([]byte(dialogue), uint8(7))
	}
	f.Fuzz(func(t *testing.T, input []byte, piece uint8) {
		if len(input) > 2000 { // more might fill the buffer, which would then be flushed
			return
		}
		whole := feed(t, input, len(input))
		if pieces := feed(t, input, int(piece)+1); !bytes.Equal(whole, pieces) {
			t.Fatalf("%q in pieces of %d is answered %q, else %q", input, int(piece)+1, pieces, whole)
		}
		for line := range bytes.Lines(whole) {
			if !json.Valid(line) || line[len(line)-1] != '\n' {
				t.Fatalf("%q is answered %q", input, line)
			}
		}
	})
}

// feed is what a connection that has logged in sends when it receives input.
func feed(t *testing.T, input []byte, piece int) []byte {
	pool := &testPool{
		submit: func(c *Conn, s *Share) error {
			if s.Worker != "me" || len(s.Extranonce2) > maxExtranonce2 || len(s.JobID) > maxJobID {
				t.Errorf("share %+v", s)
			}
			return &Error{CodeStale, s.JobID}
		},
		suggest: func(_ *Conn, d Difficulty) {
			if !d.Valid() {
				t.Errorf("suggested %v", d)
			}
		},
	}
	c := loggedIn(t, pool, ServerOptions{Limits: Limits{MessageRate: -1, GuessTime: -1, Names: 8}})
	defer c.releaseInput()
	var sent []byte
	for len(input) > 0 {
		n := copy(c.lines.free(), input[:min(piece, len(input))])
		input = input[n:]
		c.lines.end += n
		err := c.handleLines()
		if c.buffer != nil {
			sent = append(sent, c.buffer.b...)
			c.buffer.b = c.buffer.b[:0]
		}
		if err != nil {
			break
		}
	}
	return sent
}
