package stratum

import (
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a message. The deepest legal message, the reply
// to mining.subscribe, has a depth of 4.
const maxDepth = 32

var (
	errNotJSON   = errors.New("line is not a JSON object")
	errTooNested = errors.New("line is nested too deeply")
)

// message is one line taken apart. Its slices point into the line and hold raw
// JSON values; nil: the member is absent.
type message struct {
	id, method, params, result, err []byte
}

// parseMessage takes a line apart, without allocation unless a member's name has
// an escape in it. It accepts exactly what encoding/json accepts as an object, to
// the depth maxDepth; of a member that is there twice the last one counts.
func parseMessage(line []byte, m *message) error {
	*m = message{}
	s := scanner{b: line}
	s.space()
	if !s.eat('{') {
		return errNotJSON
	}
	s.space()
	if s.eat('}') {
		return s.end()
	}
	for {
		s.space()
		name, ok := s.str()
		if !ok {
			return errNotJSON
		}
		s.space()
		if !s.eat(':') {
			return errNotJSON
		}
		s.space()
		start := s.i
		if err := s.value(1); err != nil {
			return err
		}
		value := s.b[start:s.i]
		if name = name[1 : len(name)-1]; !plain(name) {
			name = unescape(name)
		}
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
		}
		s.space()
		if s.eat(',') {
			continue
		}
		if !s.eat('}') {
			return errNotJSON
		}
		return s.end()
	}
}

// scanner walks over JSON text.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) eat(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) end() error {
	s.space()
	if s.i != len(s.b) {
		return errNotJSON
	}
	return nil
}

// value steps over one value that begins here.
func (s *scanner) value(depth int) error {
	if s.i >= len(s.b) {
		return errNotJSON
	}
	ok := false
	switch c := s.b[s.i]; {
	case c == '"':
		_, ok = s.str()
	case c == '{':
		return s.container(depth+1, '}', true)
	case c == '[':
		return s.container(depth+1, ']', false)
	case c == '-' || c >= '0' && c <= '9':
		ok = s.number()
	case c == 't':
		ok = s.literal("true")
	case c == 'f':
		ok = s.literal("false")
	case c == 'n':
		ok = s.literal("null")
	}
	if !ok {
		return errNotJSON
	}
	return nil
}

func (s *scanner) container(depth int, closing byte, named bool) error {
	if depth > maxDepth {
		return errTooNested
	}
	s.i++
	s.space()
	if s.eat(closing) {
		return nil
	}
	for {
		s.space()
		if named {
			if _, ok := s.str(); !ok {
				return errNotJSON
			}
			s.space()
			if !s.eat(':') {
				return errNotJSON
			}
			s.space()
		}
		if err := s.value(depth); err != nil {
			return err
		}
		s.space()
		if s.eat(',') {
			continue
		}
		if s.eat(closing) {
			return nil
		}
		return errNotJSON
	}
}

// str steps over a string and returns it with its quotes.
func (s *scanner) str() ([]byte, bool) {
	start := s.i
	if !s.eat('"') {
		return nil, false
	}
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			return s.b[start:s.i], true
		case c < ' ':
			return nil, false
		case c == '\\':
			if s.i >= len(s.b) {
				return nil, false
			}
			e := s.b[s.i]
			s.i++
			switch e {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if s.i >= len(s.b) || hexDigit(s.b[s.i]) > 15 {
						return nil, false
					}
					s.i++
				}
			default:
				return nil, false
			}
		}
	}
	return nil, false
}

func (s *scanner) number() bool {
	s.eat('-')
	if !s.eat('0') && !s.digits() {
		return false
	}
	if s.eat('.') && !s.digits() {
		return false
	}
	if s.eat('e') || s.eat('E') {
		if !s.eat('+') {
			s.eat('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return false
	}
	s.i += len(word)
	return true
}

// elements walks over the values of a JSON array that parseMessage has accepted.
type elements struct{ s scanner }

// arrayOf begins a walk; anything but an array has no elements.
func arrayOf(raw []byte) elements {
	e := elements{scanner{b: raw}}
	if !e.s.eat('[') {
		e.s.i = len(raw)
	}
	return e
}

// next is the next value, raw; nil: there is none.
func (e *elements) next() []byte {
	e.s.space()
	e.s.eat(',')
	e.s.space()
	start := e.s.i
	if start >= len(e.s.b) || e.s.b[start] == ']' || e.s.value(1) != nil {
		return nil
	}
	return e.s.b[start:e.s.i]
}

// text is the content of a raw JSON string; ok is false for other values. It
// points into raw unless there is an escape or invalid UTF-8 in the string.
func text(raw []byte) (content []byte, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, false
	}
	content = raw[1 : len(raw)-1]
	if !plain(content) {
		content = unescape(content)
	}
	return content, true
}

// plain reports whether the content of a string stands for itself.
func plain(content []byte) bool {
	for _, c := range content {
		if c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func unescape(content []byte) []byte {
	quoted := make([]byte, 0, len(content)+2)
	quoted = append(append(append(quoted, '"'), content...), '"')
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return nil // not reached: the scanner has accepted the string
	}
	return []byte(s)
}

func isNull(raw []byte) bool { return len(raw) == 0 || string(raw) == "null" }

// number reads a JSON number, or a string that holds one.
func number(raw []byte) (float64, bool) {
	if content, ok := text(raw); ok {
		raw = content
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	return f, err == nil
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
// leave zeros on the left out.
func hex32(raw []byte) (n uint32, ok bool) {
	digits, ok := text(raw)
	if !ok || len(digits) == 0 || len(digits) > 8 {
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
