package stratum

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMend(t *testing.T) {
	for _, c := range []struct{ line, want, rest string }{
		{`{"id":1,"result":true,"error":null}`, `{"id":1,"result":true,"error":null}`, ""},
		{"\ufeff" + `{"a":1}`, `{"a":1}`, ""},
		{`{'id': 1, 'result': True, 'error': None}`, `{"id":1,"result":true,"error":null}`, ""},
		{`{id:1,result:true,}`, `{"id":1,"result":true}`, ""},
		{`{"params":[1,2,],}`, `{"params":[1,2]}`, ""},
		{`{"a":+1,"b":01,"c":.5,"d":1.,"e":NaN,"f":1e-07}`, `{"a":1,"b":1,"c":0.5,"d":1,"e":null,"f":1e-07}`, ""},
		{`{"id":12345678901234567890,"a":1.0,"b":-7,"c":+1234567,}`, `{"id":12345678901234567890,"a":1.0,"b":-7,"c":1234567}`, ""},
		{"{\"a\":\"tab\there \x01 \\x41 \\' \\u0041 \\uZ\"}", `{"a":"tab\u0009here \u0001 x41 ' \u0041 uZ"}`, ""},
		{`{"a":'say "hi"'}`, `{"a":"say \"hi\""}`, ""},
		{`{"id":1}{"id":2}`, `{"id":1}`, `{"id":2}`},
		{`{"id":1} trailing`, `{"id":1}`, ` trailing`},
		{`{"params":[true,false`, `{"params":[true,false]}`, ""},
		{"{\"a\":1\x00", `{"a":1}`, ""},
		{`{"a":",",,`, `{"a":","}`, ""},
		{`{"a":[[[1`, "", ""}, // three are missing
		{`{"a":"cut`, "", ""},
		{`{"a":]}`, "", ""},
		{`{"a":0x10}`, "", ""},
		{`{"a":1e999}`, "", ""},
		{`{"a":%}`, "", ""},
		{`HTTP/1.1 400 Bad Request`, "", ""},
		{`["not","an","object"]`, "", ""},
		{``, "", ""},
		{"{" + strings.Repeat(`"a":{`, 40), "", ""},
	} {
		object, rest := mend([]byte(c.line))
		if string(object) != c.want || string(rest) != c.rest {
			t.Errorf("%s\nbecomes %s and %q\nwant    %s and %q", c.line, object, rest, c.want, c.rest)
		}
	}
}

// FuzzMend: what is right stays what it is, and what is mended stays so.
func FuzzMend(f *testing.F) {
	for _, seed := range []string{`{"id":1,"result":[[],"00",8]}`, `{'a':True,}`, `{a:"\x"`, `{"a":01}{"b":2}`, "{\"\\"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		object, rest := mend(line)
		if object == nil {
			if json.Valid(line) && len(line) > 0 && line[0] == '{' {
				var m message
				if parseMessage(line, &m) == nil && !strings.Contains(string(line), "e") && !strings.Contains(string(line), "E") {
					t.Fatalf("%q is right, and nothing is made of it", line)
				}
			}
			return
		}
		if len(object) > 6*len(line)+2*maxMissing || len(rest) >= len(line) {
			t.Fatalf("%q becomes %q and %q", line, object, rest)
		}
		var m message
		if parseMessage(object, &m) != nil {
			return // it was beyond that
		}
		again, _ := mend(object)
		if string(again) != string(object) {
			t.Fatalf("%q becomes %q, and that %q", line, object, again)
		}
	})
}
