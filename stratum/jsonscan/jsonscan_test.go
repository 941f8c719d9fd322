package jsonscan

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// FuzzValue holds the walk against encoding/json: both accept the same texts, up to
// MaxDepth, and read the same values.
func FuzzValue(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,-0.5e+3,true,false,null,"x"]}`, `"a\u00e9\n"`, "\"\xff\"", "\"1234567\xff\"", `"12345678901234567890"`, `"\\"`, `"1234567\""`,
		"\"1234567\n\"", ` [ ] `, `{}`, `[1,]`, `{"a":}`, `01`, `-`, `1e`, `9223372036854775808`, `-9223372036854775808`, `"0123456789abcdefABCDEF0123456789abcdef"`,
		strings.Repeat("[", 32) + strings.Repeat("]", 32), strings.Repeat("[", 33) + strings.Repeat("]", 33), "",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := New(text)
		raw := s.Value(0)
		err := s.End()
		if errors.Is(err, ErrNested) {
			return
		}
		if (err == nil) != json.Valid(text) {
			t.Fatalf("%q: %v, encoding/json: %v", text, err, json.Valid(text))
		}
		if err != nil {
			return
		}
		if !bytes.Equal(raw, bytes.Trim(text, " \t\r\n")) {
			t.Fatalf("%q: value %q", text, raw)
		}
		var want string
		content, ok := Text(raw)
		if wanted := raw[0] == '"' && json.Unmarshal(raw, &want) == nil; ok != wanted || string(content) != want {
			t.Fatalf("%q: text %q, %v", raw, content, ok)
		}
		for _, most := range []int{0, 1, 7, len(want)} {
			part, ok := TextUpTo(raw, most)
			if isText := raw[0] == '"'; ok != isText || !bytes.HasPrefix(content, part) || (len(part) > most) != (len(content) > most) || len(part) > most+4 || len(part) <= most && len(part) < len(content) {
				t.Fatalf("%q: up to %d bytes of text %q: %q, %v", raw, most, content, part, ok)
			}
		}
		var number int64
		n, ok := Integer(raw)
		if wanted := json.Unmarshal(raw, &number) == nil && !IsNull(raw); ok != wanted || ok && n != number {
			t.Fatalf("%q: integer %d, %v; encoding/json: %d", raw, n, ok, number)
		}
		again := New(text)
		digits, ok := again.Hex()
		_, err = hex.DecodeString(string(append([]byte("0"[:len(content)%2]), content...)))
		if wanted := raw[0] == '"' && err == nil && !bytes.Contains(raw, []byte(`\`)); ok != wanted || ok && !bytes.Equal(digits, content) {
			t.Fatalf("%q: hexadecimal %q, %v", raw, digits, ok)
		}
		if ok && again.End() != nil {
			t.Fatalf("%q: there is more", raw)
		}
	})
}

// BenchmarkEscapes tells what a text that is all escapes costs.
func BenchmarkEscapes(b *testing.B) {
	text := []byte(`"` + strings.Repeat(`\u00e9`, 2600) + `"`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		s := New(text)
		_, _ = TextUpTo(s.Value(0), 255)
	}
}

// TestHex puts each byte at each place of a string.
func TestHex(t *testing.T) {
	for size := range 100 {
		text := []byte(`"` + strings.Repeat("a", size) + `",`)
		for at := range size {
			for c := range 256 {
				text[1+at] = byte(c)
				s := New(text)
				digits, ok := s.Hex()
				want := bytes.IndexByte([]byte("0123456789abcdefABCDEF"), byte(c)) >= 0
				if c == '"' {
					ok = ok && len(digits) == at
					want = true
				}
				if ok != want {
					t.Fatalf("%q: %v", text, ok)
				}
				if n := portableHexRun(text[1:]); n > size || want != (n == size/8*8) && c != '"' && at < size/8*8 {
					t.Fatalf("%q: a run of %d", text, n)
				}
			}
			text[1+at] = 'F'
		}
	}
	for _, text := range []string{"", `"`, `"a`, `"aa`, `"` + strings.Repeat("a", 64), "a", "null", "[]"} {
		s := New([]byte(text))
		if digits, ok := s.Hex(); ok {
			t.Errorf("%s: %s", text, digits)
		}
	}
}

func TestErrorsStick(t *testing.T) {
	s := New([]byte(`[1 2,{"a":3}]`))
	s.Begin('[')
	n := 0
	for ; s.More(n, ']'); n++ {
		s.Value(1)
	}
	if n != 1 || !errors.Is(s.End(), ErrSyntax) || s.Value(0) != nil || s.Begin('{') || s.Peek() != 0 {
		t.Errorf("%d elements, %v", n, s.End())
	}
	if s.Offset() != 3 {
		t.Errorf("the error is at %d", s.Offset())
	}
}
