package stratum

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"

	"lode/stratum/jsonscan"
)

var (
	errNotJSON   = errors.New("line is not a JSON object")
	errTooNested = errors.New("line is nested too deeply")
)

// message is one line taken apart. Its slices point into the line and hold raw
// JSON values; nil: the member is absent.
type message struct {
	id, method, params, result, err []byte
	reason                          []byte // beside a result that is false
}

// parseMessage takes a line apart, without allocation unless a member's name has
// an escape in it. It accepts exactly what encoding/json accepts as an object, to
// the depth jsonscan.MaxDepth (the deepest legal message, the reply to
// mining.subscribe, has a depth of 4); of a member that is there twice the last one
// counts, whatever its capitals.
func parseMessage(line []byte, m *message) error {
	*m = message{}
	s := jsonscan.New(line)
	if !s.Begin('{') {
		return errNotJSON
	}
	for n := 0; s.More(n, '}'); n++ {
		name := small(s.Name())
		value := s.Value(1)
		switch string(name) {
		case "id":
			m.id = value
		case "method":
			m.method = value
		case "params":
			m.params = value
		case "result":
			m.result = value
		case "error":
			m.err = value
		case "reject-reason", "reject_reason", "rejectreason", "reason", "message":
			if m.reason == nil || !isNull(value) {
				m.reason = value
			}
		}
	}
	switch err := s.End(); {
	case err == nil:
		return nil
	case errors.Is(err, jsonscan.ErrNested):
		return errTooNested
	default:
		return errNotJSON
	}
}

// small is a name without capitals, which programs in Go have in theirs.
func small(name []byte) []byte {
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			return bytes.ToLower(name)
		}
	}
	return name
}

// elements walks over the values of a JSON array that parseMessage has accepted.
type elements struct {
	s    jsonscan.Scanner
	n    int
	end  byte   // that of what is walked over
	only []byte // the one value, where there is no array
}

// arrayOf begins a walk; anything but an array has no elements.
func arrayOf(raw []byte) elements {
	e := elements{s: jsonscan.New(raw), end: ']'}
	if !e.s.Begin('[') {
		e.s = jsonscan.New(nil)
	}
	return e
}

// paramsOf begins a walk over params of a pool, which may lack their brackets, or be an
// object. names are those of what the list has in its order, each in small letters and
// digits alone (see plain), with others for the same after bars. Where an object has none
// of them, its order counts.
func paramsOf(raw []byte, names ...string) elements {
	switch {
	case len(raw) == 0 || raw[0] == '[':
		return arrayOf(raw)
	case raw[0] == '{':
		if list := named(raw, names); list != nil {
			return arrayOf(list)
		}
		e := elements{s: jsonscan.New(raw), end: '}'}
		e.s.Begin('{')
		return e
	}
	return elements{only: raw}
}

// named makes a list of an object; nil: none of the names is in it.
func named(raw []byte, names []string) (list []byte) {
	values, last := make([][]byte, len(names)), -1
	s := jsonscan.New(raw)
	s.Begin('{')
	for n := 0; s.More(n, '}'); n++ {
		name := plain(s.Name())
		value := s.Value(1)
		for i, known := range names {
			if name != "" && strings.Contains("|"+known+"|", "|"+name+"|") {
				values[i], last = value, max(last, i)
			}
		}
	}
	if last < 0 {
		return nil
	}
	for i, value := range values[:last+1] {
		if value == nil {
			value = []byte("null")
		}
		list = append(append(list, "[,"[min(i, 1)]), value...)
	}
	return append(list, ']')
}

// next is the next value, raw; nil: there is none.
func (e *elements) next() []byte {
	if e.end == 0 {
		value := e.only
		e.only = nil
		return value
	}
	if !e.s.More(e.n, e.end) {
		return nil
	}
	e.n++
	if e.end == '}' {
		e.s.Name()
	}
	return e.s.Value(1)
}

// text is the content of a raw JSON string: see jsonscan.Text.
func text(raw []byte) (content []byte, ok bool) { return jsonscan.Text(raw) }

// textUpTo is text for what must not be longer than most, or is cut: see jsonscan.TextUpTo.
func textUpTo(raw []byte, most int) (content []byte, ok bool) { return jsonscan.TextUpTo(raw, most) }

// word is a text up to some bytes, or a number as it is written: some programs have no quotes
// around names that are all digits.
func word(raw []byte, most int) (content []byte, ok bool) {
	if len(raw) > 0 && raw[0] >= '0' && raw[0] <= '9' {
		return raw, true
	}
	return textUpTo(raw, most)
}

func isNull(raw []byte) bool { return jsonscan.IsNull(raw) }

// number reads a finite JSON number, or a string that holds one.
func number(raw []byte) (float64, bool) {
	if content, ok := text(raw); ok {
		raw = bytes.TrimSpace(content)
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

// isNumber reports whether a value is meant to be a number, be it too great for one.
func isNumber(raw []byte) bool {
	if content, ok := text(raw); ok {
		raw = bytes.TrimSpace(content)
	}
	_, err := strconv.ParseFloat(string(raw), 64)
	return err == nil || errors.Is(err, strconv.ErrRange)
}

func hexDigit(c byte) uint32 {
	switch {
	case c >= '0' && c <= '9':
		return uint32(c - '0')
	case c >= 'a' && c <= 'f':
		return uint32(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return uint32(c-'A') + 10
	}
	return 0xff
}

// hex32 reads a JSON string of one to eight hexadecimal digits: several miners
// leave zeros on the left out, others write more of them. A number without quotes is what
// it is.
func hex32(raw []byte) (n uint32, ok bool) {
	digits, ok := text(raw)
	if !ok {
		n, err := strconv.ParseUint(string(raw), 10, 32)
		return uint32(n), err == nil
	}
	digits = bareHex(digits)
	for len(digits) > 8 && digits[0] == '0' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 8 {
		return 0, false
	}
	for _, c := range digits {
		d := hexDigit(c)
		if d > 15 {
			return 0, false
		}
		n = n<<4 | d
	}
	return n, true
}

// bareHex is what is left of hexadecimal digits without 0x before them and spaces around
// them, as some programs write them.
func bareHex(digits []byte) []byte {
	if len(digits) > 0 && (digits[0] <= ' ' || digits[len(digits)-1] <= ' ') {
		digits = bytes.TrimSpace(digits)
	}
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		digits = digits[2:]
	}
	return digits
}

func appendHex32(b []byte, n uint32) []byte {
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return b
}

// appendString appends s as a JSON string of ASCII characters only: not all
// miners read UTF-8, and none can be sent a control character.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r < 0x7f:
			b = append(b, byte(r))
		case r > 0xffff:
			r -= 0x10000
			b = appendEscape(appendEscape(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			b = appendEscape(b, r)
		}
	}
	return append(b, '"')
}

func appendEscape(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// appendDifficulty appends d as a JSON number: without an exponent where that is
// short, because not all firmware reads exponents.
func appendDifficulty(b []byte, d Difficulty) []byte {
	format := byte('f')
	if d < 1e-12 || d >= 1e21 {
		format = 'e'
	}
	return strconv.AppendFloat(b, float64(d), format, -1, 64)
}
