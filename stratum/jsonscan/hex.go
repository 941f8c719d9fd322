package jsonscan

import "encoding/binary"

// hexValue is that of hexadecimal digits; a great one for other bytes.
var hexValue = func() (values [256]uint32) {
	for c := range values {
		values[c] = 1 << 16
	}
	for i, c := range "0123456789abcdef" {
		values[c] = uint32(i)
	}
	for i, c := range "ABCDEF" {
		values[c] = 10 + uint32(i)
	}
	return values
}()

func isHex(c byte) bool { return hexValue[c] < 16 }

// Hex steps over a string of hexadecimal digits and returns them, if that is what
// comes next. It is much faster than Value for long ones.
func (s *Scanner) Hex() ([]byte, bool) {
	s.space()
	b := s.b[s.i:]
	if len(b) == 0 || b[0] != '"' {
		return nil, false
	}
	n := 1 + hexRun(b[1:])
	n += portableHexRun(b[n:])
	for n < len(b) && isHex(b[n]) {
		n++
	}
	if n == len(b) || b[n] != '"' {
		return nil, false
	}
	s.i += n + 1
	return b[1:n], true
}

// portableHexRun is a number of bytes that b begins with and that are hexadecimal
// digits: all but the last seven.
func portableHexRun(b []byte) int {
	n := 0
	for n+8 <= len(b) && hexWord(binary.LittleEndian.Uint64(b[n:])) {
		n += 8
	}
	return n
}

// hexWord reports whether eight characters are hexadecimal digits.
func hexWord(x uint64) bool {
	// The high bit of a byte of (x + (0x80-c)) is whether the byte is at least c, as
	// long as the bytes of x are below 0x80.
	low := x &^ highs
	letter := low | 0x20*ones
	digits := (low + (0x80-'0')*ones) &^ (low + (0x80-'9'-1)*ones)
	letters := (letter + (0x80-'a')*ones) &^ (letter + (0x80-'f'-1)*ones)
	return (digits|letters)&^x&highs == highs
}
