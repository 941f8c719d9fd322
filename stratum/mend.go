package stratum

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"

	"lode/stratum/jsonscan"
)

// maxMissing is how many brackets may be missing at the end of a line.
const maxMissing = 2

// mend makes JSON of the first object of a line that breaks the letter of JSON, where
// what is meant is clear: quotes of the wrong kind, raw control characters, commas too
// many, numbers and words as other languages write them, brackets missing at the end.
// rest is what follows the object. nil: there is nothing to be made of the line.
func mend(line []byte) (object, rest []byte) {
	// A list of messages is read as several on one line.
	line = bytes.TrimLeft(line, "\ufeff\x00 \t\r\n[")
	m := mender{in: line} // out grows as needed: there may be a short object and much behind it
	if len(line) == 0 || line[0] != '{' || !m.run() {
		return nil, nil
	}
	return m.out, m.in
}

type mender struct {
	in, out []byte
	open    []byte // closing brackets that are due
}

func (m *mender) run() bool {
	for len(m.in) > 0 {
		switch c := m.in[0]; c {
		case ' ', '\t', '\r', '\n', 0:
			m.in = m.in[1:]
		case '{', '[':
			if len(m.open) >= jsonscan.MaxDepth {
				return false
			}
			m.open = append(m.open, c+2)
			m.take()
		case '}', ']':
			if last := len(m.open) - 1; last < 0 || m.open[last] != c {
				return false
			}
			m.close()
			m.in = m.in[1:]
			if len(m.open) == 0 {
				return true
			}
		case ',', ':':
			m.take()
		case '"', '\'':
			if !m.text(c) {
				return false
			}
		default:
			if !m.word() {
				return false
			}
		}
	}
	if len(m.open) > maxMissing {
		return false
	}
	for len(m.open) > 0 {
		m.close()
	}
	return true
}

func (m *mender) take() {
	m.out = append(m.out, m.in[0])
	m.in = m.in[1:]
}

// close writes the bracket that is due, without commas before it.
func (m *mender) close() {
	last := len(m.open) - 1
	m.out = append(bytes.TrimRight(m.out, ","), m.open[last])
	m.open = m.open[:last]
}

// text copies a string.
func (m *mender) text(quote byte) bool {
	m.out = append(m.out, '"')
	in := m.in[1:]
	for len(in) > 0 {
		c := in[0]
		in = in[1:]
		switch {
		case c == quote:
			m.out, m.in = append(m.out, '"'), in
			return true
		case c == '"':
			m.out = append(m.out, '\\', '"')
		case c == '\\' && len(in) > 0:
			switch c := in[0]; {
			case bytes.IndexByte([]byte(`"\/bfnrt`), c) >= 0, c == 'u' && len(in) > 4 && isHex(in[1:5]):
				m.out = append(m.out, '\\', c)
				in = in[1:]
			}
		case c < ' ':
			m.out = appendEscape(m.out, rune(c))
		default:
			m.out = append(m.out, c)
		}
	}
	return false
}

func isHex(digits []byte) bool {
	for _, c := range digits {
		if hexDigit(c) > 15 {
			return false
		}
	}
	return true
}

// word copies a number, a word that stands for a value, or a name without quotes.
func (m *mender) word() bool {
	n := 0
	for n < len(m.in) && (m.in[n] == '_' || m.in[n] == '.' || m.in[n] == '+' || m.in[n] == '-' ||
		m.in[n] >= '0' && m.in[n] <= '9' || m.in[n]|0x20 >= 'a' && m.in[n]|0x20 <= 'z') {
		n++
	}
	word := m.in[:n]
	m.in = m.in[n:]
	if n == 0 {
		return false
	}
	if bytes.HasPrefix(bytes.TrimLeft(m.in, " \t"), []byte(":")) {
		m.out = appendString(m.out, string(word))
		return true
	}
	switch string(bytes.ToLower(word)) {
	case "true", "false":
		m.out = append(m.out, bytes.ToLower(word)...)
		return true
	case "null", "none", "nil", "undefined", "nan":
		m.out = append(m.out, "null"...)
		return true
	}
	f, err := strconv.ParseFloat(string(word), 64)
	if err != nil || math.IsInf(f, 0) || bytes.ContainsAny(word, "xX_pP") {
		return false
	}
	if json.Valid(word) { // an id, above all, comes back as it was written
		m.out = append(m.out, word...)
		return true
	}
	m.out = appendDifficulty(m.out, Difficulty(f))
	return true
}
