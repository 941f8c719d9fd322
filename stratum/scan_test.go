package stratum

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestParseMessage(t *testing.T) {
	deep := func(n int) string {
		return `{"id":1,"method":"x","params":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	for _, c := range []struct {
		name, line string
		want       *message // nil: refused
	}{
		{"request", `{"id":1,"method":"mining.subscribe","params":["a"]}`, &message{id: []byte("1"), method: []byte(`"mining.subscribe"`), params: []byte(`["a"]`)}},
		{"other order and spaces", " {\t\"params\" : [ 1 , 2 ] , \"method\":\"m\",\"id\":\"auth\" }\r", &message{id: []byte(`"auth"`), method: []byte(`"m"`), params: []byte(`[ 1 , 2 ]`)}},
		{"reply", `{"id":4,"result":true,"error":null}`, &message{id: []byte("4"), result: []byte("true"), err: []byte("null")}},
		{"unknown members", `{"jsonrpc":"2.0","extra":{"a":[{}]},"id":null}`, &message{id: []byte("null")}},
		{"empty", `{}`, &message{}},
		{"escaped name", `{"\u0069d":7}`, &message{id: []byte("7")}},
		{"member twice", `{"id":1,"id":2}`, &message{id: []byte("2")}},
		{"big id", `{"id":9223372036854775808}`, &message{id: []byte("9223372036854775808")}},
		{"float id", `{"id":1.50e+3}`, &message{id: []byte("1.50e+3")}},
		{"invalid UTF-8", "{\"id\":\"\xff\"}", &message{id: []byte("\"\xff\"")}},
		{"depth 32", deep(31), &message{id: []byte("1"), method: []byte(`"x"`), params: []byte(strings.Repeat("[", 31) + strings.Repeat("]", 31))}},
		{"depth 33", deep(32), nil},
		{"depth 100000", deep(100000), nil},
		{"nothing", ``, nil},
		{"array", `[{"id":1}]`, nil},
		{"two objects", `{}{}`, nil},
		{"trailing comma", `{"id":1,}`, nil},
		{"trailing comma in array", `{"a":[1,]}`, nil},
		{"leading comma", `{,"id":1}`, nil},
		{"no colon", `{"id" 1}`, nil},
		{"no value", `{"id":}`, nil},
		{"no comma", `{"id":1 "method":"x"}`, nil},
		{"unquoted name", `{id:1}`, nil},
		{"open", `{"id":1`, nil},
		{"open string", `{"id":"1}`, nil},
		{"control character", "{\"id\":\"\x01\"}", nil},
		{"wrong escape", `{"id":"\x"}`, nil},
		{"short escape", `{"id":"\u12"}`, nil},
		{"leading zero", `{"id":01}`, nil},
		{"plus", `{"id":+1}`, nil},
		{"dot", `{"id":1.}`, nil},
		{"exponent", `{"id":1e}`, nil},
		{"NaN", `{"id":NaN}`, nil},
		{"word", `{"id":nul}`, nil},
		{"HTTP", `GET / HTTP/1.1`, nil},
	} {
		var m message
		err := parseMessage([]byte(c.line), &m)
		switch {
		case (err == nil) != (c.want != nil):
			t.Errorf("%s: %v", c.name, err)
		case err == nil && !reflect.DeepEqual(m, *c.want):
			t.Errorf("%s: %q", c.name, m)
		case errors.Is(err, errTooNested) != strings.HasPrefix(c.name, "depth 33") && !strings.HasPrefix(c.name, "depth 1"):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestParseMessageDoesNotAllocate(t *testing.T) {
	line := []byte(submitLine)
	var m message
	if n := testing.AllocsPerRun(100, func() {
		if parseMessage(line, &m) != nil {
			t.Fatal("refused")
		}
		params := arrayOf(m.params)
		for v := params.next(); v != nil; v = params.next() {
			text(v)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHex32(t *testing.T) {
	for raw, want := range map[string]uint32{
		`"0"`: 0, `"1"`: 1, `"DEADBEEF"`: 0xdeadbeef, `"deadbeef"`: 0xdeadbeef, `"00000000"`: 0, `"6553f100"`: 0x6553f100, `"\u0031f"`: 0x1f,
		`"0x12"`: 0x12, `"0XFFFFFFFF"`: 0xffffffff, `" 1\t"`: 1, `" 0x1 "`: 1, `12`: 12, `4294967295`: 0xffffffff, `0`: 0,
	} {
		if got, ok := hex32([]byte(raw)); !ok || got != want {
			t.Errorf("%s: %x, %v", raw, got, ok)
		}
	}
	for _, raw := range []string{`""`, `"123456789"`, `"0x"`, `"0x123456789"`, `"x1"`, `"-1"`, `" "`, `"1 2"`, `"g"`, `4294967296`, `-1`, `1.5`, `1e3`, `true`, `null`, ``, `[]`} {
		if got, ok := hex32([]byte(raw)); ok {
			t.Errorf("%s is taken as %x", raw, got)
		}
	}
	for _, n := range []uint32{0, 1, 0xdeadbeef, math.MaxUint32} {
		raw := append(appendHex32([]byte{'"'}, n), '"')
		if got, ok := hex32(raw); !ok || got != n || len(raw) != 10 {
			t.Errorf("%x comes back from %s as %x", n, raw, got)
		}
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "plain", `quote " and \`, "line\nfeed", "tab\t\x00\x1b[31m", "Zürich", "日本", "😀", "\x7f"} {
		raw := appendString(nil, s)
		for _, c := range raw {
			if c < ' ' || c >= 0x7f {
				t.Errorf("%q is written with byte %#x: %s", s, c, raw)
			}
		}
		var back string
		if err := json.Unmarshal(raw, &back); err != nil || back != s {
			t.Errorf("%q comes back from %s as %q, %v", s, raw, back, err)
		}
		if content, ok := text(raw); !ok || string(content) != s {
			t.Errorf("%q is read from %s as %q", s, raw, content)
		}
	}
	if got := string(appendString(nil, "\xff")); got != `"\ufffd"` {
		t.Errorf("invalid UTF-8 is written %s", got)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"cg/4.12": "cg/4.12", "a\x1b[31mb\r\nc": "a[31mbc", "\xff\xfe": "", "Zürich": "Zürich", "0123456789abc": "0123456789",
		"12345678é": "12345678é", "123456789é": "123456789", "a\u202eb": "ab",
	} {
		if got := printable([]byte(in), 10); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzParseMessage holds the parser against encoding/json: both accept the same
// lines, up to the depth that ours allows, and find the same members in them.
func FuzzParseMessage(f *testing.F) {
	for _, line := range []string{
		subscribeLine, authorizeLine, configureLine, submitLine, submitReply, configureReply, maskLine, subscribeReply,
		`{"id":null,"method":"mining.notify","params":["4f1a","00",[],true]}`,
		`{"id":1,"id":2,"\u0069d":3}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `{"id":1e400}`, `[]`, `{}`, `{"a":[1,]}`, "{\"a\":\t\n\r1}",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var m message
		err := parseMessage(line, &m)
		if errors.Is(err, errTooNested) {
			return
		}
		var want map[string]json.RawMessage
		trimmed := bytes.TrimSpace(line)
		valid := json.Valid(line) && len(trimmed) > 0 && trimmed[0] == '{'
		if (err == nil) != valid {
			t.Fatalf("%q: %v, but validity is %v", line, err, valid)
		}
		if !valid {
			return
		}
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("%q: encoding/json: %v", line, err)
		}
		for name := range want {
			if strings.ToLower(name) != name {
				return // encoding/json does not take it for the same name
			}
		}
		for name, got := range map[string][]byte{"id": m.id, "method": m.method, "params": m.params, "result": m.result, "error": m.err} {
			if !bytes.Equal(got, want[name]) {
				t.Fatalf("%q: %s is %q, want %q", line, name, got, want[name])
			}
		}
		if len(m.params) > 0 && m.params[0] == '[' {
			var list []json.RawMessage
			if err := json.Unmarshal(m.params, &list); err != nil {
				t.Fatal(err)
			}
			walk := arrayOf(m.params)
			for i, w := range list {
				if got := walk.next(); !bytes.Equal(got, w) {
					t.Fatalf("%q: element %d is %q, want %q", line, i, got, w)
				}
			}
			if extra := walk.next(); extra != nil {
				t.Fatalf("%q: one more element %q", line, extra)
			}
		}
		if content, ok := text(m.method); ok {
			var s string
			if err := json.Unmarshal(m.method, &s); err != nil || s != string(content) {
				t.Fatalf("%q: text %q, want %q, %v", m.method, content, s, err)
			}
		}
	})
}

// FuzzParseJob feeds the parser of mining.notify; what it accepts is within bounds.
func FuzzParseJob(f *testing.F) {
	for _, v := range vectors() {
		var m message
		if err := parseMessage(EncodeJob(v.job).Line(), &m); err != nil {
			f.Fatal(err)
		}
		f.Add(m.params)
	}
	f.Add([]byte(`["a","",""]`))
	f.Fuzz(func(t *testing.T, params []byte) {
		var m message
		if parseMessage(append(append([]byte(`{"params":`), params...), '}'), &m) != nil {
			return
		}
		j, err := parseJob(m.params)
		if err != nil {
			return
		}
		if len(j.ID) > maxJobID || len(j.Coinbase1)+len(j.Coinbase2) > maxCoinbase || len(j.MerkleBranch) > maxBranch {
			t.Fatalf("accepted %+v", j)
		}
		if _, err := TargetFromBits(j.Bits); err != nil {
			t.Fatal(err)
		}
		var again message
		if err := parseMessage(EncodeJob(j).Line(), &again); err != nil {
			t.Fatalf("own line is refused: %v", err)
		}
		back, err := parseJob(again.params)
		if err != nil || !reflect.DeepEqual(back, j) {
			t.Fatalf("%+v comes back as %+v, %v", j, back, err)
		}
	})
}
