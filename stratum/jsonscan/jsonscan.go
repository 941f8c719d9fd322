// Package jsonscan walks over JSON text without allocating: it steps over values,
// checks them, and gives the raw bytes of those that the caller wants. It accepts
// what encoding/json accepts, to the depth MaxDepth.
//
//	s := jsonscan.New(text)
//	if s.Begin('{') {
//		for n := 0; s.More(n, '}'); n++ {
//			name := s.Name()
//			value := s.Value(1)
//		}
//	}
//	err := s.End()
//
// The first error sticks: all methods give nothing from then on, and End reports it.
package jsonscan

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth bounds the nesting of a text.
const MaxDepth = 32

// What End reports, by errors.Is.
var (
	ErrSyntax = errors.New("not JSON")
	ErrNested = errors.New("JSON is nested too deeply")
)

// Scanner is a walk over one text.
type Scanner struct {
	b   []byte
	i   int
	err error
}

// New begins a walk.
func New(text []byte) Scanner { return Scanner{b: text} }

// Offset is where the walk has come to.
func (s *Scanner) Offset() int { return s.i }

// Rest is what is still to be walked over.
func (s *Scanner) Rest() []byte { return s.b[s.i:] }

// Skip goes on n bytes further. It is for who has read what lies there by another
// Scanner.
func (s *Scanner) Skip(n int) { s.i += n }

// Valid reports whether there was no error so far.
func (s *Scanner) Valid() bool { return s.err == nil }

// fail ends the walk.
func (s *Scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.b = s.b[:s.i]
}

// End reports the first error, or that there is more than one value.
func (s *Scanner) End() error {
	s.space()
	if s.i != len(s.b) {
		s.fail(ErrSyntax)
	}
	return s.err
}

func (s *Scanner) space() {
	if s.i < len(s.b) && s.b[s.i] <= ' ' {
		s.spaces()
	}
}

func (s *Scanner) spaces() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

func (s *Scanner) eat(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// Peek is the first byte of the next value, which tells its kind; 0: there is none.
func (s *Scanner) Peek() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// Begin enters an object ('{') or an array ('['), if that is what comes next.
func (s *Scanner) Begin(opening byte) bool {
	s.space()
	return s.eat(opening)
}

// More goes on to the next member of an object (closing '}') or element of an array
// (']'), of which n have been read, or leaves it.
func (s *Scanner) More(n int, closing byte) bool {
	s.space()
	if n > 0 && s.eat(',') {
		return true
	}
	if s.eat(closing) {
		return false
	}
	if n > 0 || s.i == len(s.b) {
		s.fail(ErrSyntax)
		return false
	}
	return true
}

// Name is the name of a member; the walk goes on to its value. Invalid UTF-8 stays as
// it is in names without an escape.
func (s *Scanner) Name() []byte {
	s.space()
	// Most names are short and followed by a colon at once.
	if b := s.b[s.i:]; len(b) > 10 && b[0] == '"' {
		x := binary.LittleEndian.Uint64(b[1:])
		if n := bits.TrailingZeros64(special(x)) / 8; n < 8 && b[1+n] == '"' && b[2+n] == ':' {
			s.i += n + 3
			return b[1 : 1+n]
		}
	}
	name, plain := s.text()
	s.space()
	if !s.eat(':') {
		s.fail(ErrSyntax)
		return nil
	}
	if !plain {
		name = unescape(name, growth*len(name))
	}
	return name
}

// Value steps over a value and returns it raw; depth is the number of objects and
// arrays that it is in.
func (s *Scanner) Value(depth int) []byte {
	s.space()
	start := s.i
	s.value(depth)
	if s.err != nil {
		return nil
	}
	return s.b[start:s.i]
}

func (s *Scanner) value(depth int) {
	if s.i >= len(s.b) {
		s.fail(ErrSyntax)
		return
	}
	ok := false
	switch c := s.b[s.i]; {
	case c == '"':
		s.text()
		return
	case c == '{', c == '[':
		s.container(depth+1, c)
		return
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
		s.fail(ErrSyntax)
	}
}

func (s *Scanner) container(depth int, opening byte) {
	if depth > MaxDepth {
		s.fail(ErrNested)
		return
	}
	s.i++
	for n := 0; s.More(n, opening+2); n++ { // '}' and ']' follow '{' and '[' at that distance
		if opening == '{' {
			s.Name()
		}
		s.Value(depth)
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks in eight characters those that do not stand for themselves in a
// string, by the high bit of their byte: quotes, backslashes and control characters.
// The lowest mark is right; those above it need not be.
func special(x uint64) uint64 {
	quote, escape := x^'"'*ones, x^'\\'*ones
	return ((quote-ones)&^quote | (escape-ones)&^escape | (x-' '*ones)&^x) & highs
}

// text steps over a string and returns what is between its quotes; plain: there is no
// escape in it.
func (s *Scanner) text() (content []byte, plain bool) {
	b, i := s.b, s.i
	if i >= len(b) || b[i] != '"' {
		s.fail(ErrSyntax)
		return nil, true
	}
	i++
	start := i
	plain = true
	for {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			stop := special(x)
			if stop != 0 {
				i += bits.TrailingZeros64(stop) / 8
				break
			}
			i += 8
		}
		if i >= len(b) {
			s.i = i
			s.fail(ErrSyntax)
			return nil, true
		}
		c := b[i]
		i++
		switch {
		case c == '"':
			s.i = i
			return b[start : i-1], plain
		case c == '\\':
			plain = false
			n := escaped(b[i:])
			for ; n > 0 && i+n < len(b) && b[i+n] == '\\'; n = escaped(b[i:]) { // where one is, others are
				i += n + 1
			}
			i += n
			if n == 0 {
				s.i = i
				s.fail(ErrSyntax)
				return nil, true
			}
		case c < ' ':
			s.i = i - 1
			s.fail(ErrSyntax)
			return nil, true
		}
	}
}

// escaped is how many bytes after a backslash belong to it; 0: they make no escape.
func escaped(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if _, ok := unit(b[1:]); ok {
			return 5
		}
	}
	return 0
}

// unit is the number in four hexadecimal digits.
func unit(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	x := uint32(hexValue[b[0]])<<12 | uint32(hexValue[b[1]])<<8 | uint32(hexValue[b[2]])<<4 | uint32(hexValue[b[3]])
	return rune(x), x <= 0xffff
}

func (s *Scanner) number() bool {
	b, i := s.b, s.i
	if b[i] == '-' {
		i++
	}
	first := i
	i = digits(b, i)
	ok := i > first && (b[first] != '0' || i == first+1)
	if ok && i < len(b) && b[i] == '.' {
		first, i = i+1, digits(b, i+1)
		ok = i > first
	}
	if ok && i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		first, i = i, digits(b, i)
		ok = i > first
	}
	s.i = i
	return ok
}

// digits is where the digits from i on end.
func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

func (s *Scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return false
	}
	s.i += len(word)
	return true
}

// Text is the content of a raw JSON string; false for other values. It points into raw
// unless there is an escape or a character beyond ASCII in the string.
func Text(raw []byte) (content []byte, ok bool) { return TextUpTo(raw, growth*len(raw)) }

// growth is how many bytes one may become: what is no UTF-8 is U+FFFD.
const growth = 3

// TextUpTo is Text of which little more is read than shows whether it has more than most bytes.
func TextUpTo(raw []byte, most int) (content []byte, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, false
	}
	content = raw[1 : len(raw)-1]
	first := content[:min(len(content), most+1)]
	for _, c := range first {
		if c == '\\' || c >= 0x80 {
			return unescape(content, most), true
		}
	}
	return first, true
}

// unescape is what the content of a string stands for, up to some more bytes than most. It
// is read as encoding/json does: what is no UTF-8, or half of a pair of surrogates, is U+FFFD.
func unescape(content []byte, most int) []byte {
	text := make([]byte, 0, min(len(content), most+utf8.UTFMax))
	for i := 0; i < len(content) && len(text) <= most; {
		c := content[i]
		switch {
		case c == '\\':
			r, n := unescapeOne(content[i+1:])
			text = utf8.AppendRune(text, r)
			i += 1 + n
		case c < utf8.RuneSelf:
			text = append(text, c)
			i++
		default:
			r, n := utf8.DecodeRune(content[i:])
			text = utf8.AppendRune(text, r)
			i += n
		}
	}
	return text
}

// unescapeOne is the character of an escape, of which n bytes come after the backslash.
func unescapeOne(b []byte) (r rune, n int) {
	if b[0] != 'u' {
		return rune(plainEscapes[b[0]]), 1
	}
	r, _ = unit(b[1:])
	if !utf16.IsSurrogate(r) {
		return r, 5
	}
	if len(b) >= 11 && b[5] == '\\' && b[6] == 'u' {
		low, _ := unit(b[7:])
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 11
		}
	}
	return utf8.RuneError, 5
}

var plainEscapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// Integer is a raw JSON number as encoding/json reads it into an int64: without a
// fraction or an exponent.
func Integer(raw []byte) (int64, bool) {
	n := int64(0)
	if len(raw) == 0 || len(raw) > 18 {
		n, err := strconv.ParseInt(string(raw), 10, 64)
		return n, err == nil
	}
	digits := raw
	if raw[0] == '-' {
		digits = raw[1:]
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) < len(raw) {
		n = -n
	}
	return n, len(digits) > 0
}

// IsNull reports whether a raw value is null or absent.
func IsNull(raw []byte) bool { return len(raw) == 0 || string(raw) == "null" }
