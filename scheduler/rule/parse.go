package rule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	maxText  = 4096 // bytes of a rule
	maxDepth = 100  // of parentheses and nots
)

// Parse reads a rule. Its errors say where and what was expected.
func Parse(text string) (*Rule, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("the rule has %d bytes, at most %d are read", len(text), maxText)
	}
	p := &parser{text: text}
	p.next()
	root, err := p.disjunction(0)
	if err == nil && p.token != "" {
		err = p.expected("and, or, or the end")
	}
	if err != nil {
		return nil, fmt.Errorf("the rule %q: %w", text, err)
	}
	return &Rule{text: text, root: root}, nil
}

type parser struct {
	text  string
	at    int    // after token
	start int    // of token
	token string // "": the end
}

// next reads the next token: an operator, a parenthesis, or a word.
func (p *parser) next() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	p.start = p.at
	rest := p.text[p.at:]
	n := 0
	switch {
	case rest == "":
	case strings.HasPrefix(rest, "<=") || strings.HasPrefix(rest, ">=") || strings.HasPrefix(rest, "==") || strings.HasPrefix(rest, "!="):
		n = 2
	case strings.IndexByte("()<>=!", rest[0]) >= 0:
		n = 1
	default:
		if n = strings.IndexAny(rest, " \t\r\n()<>=!"); n < 0 {
			n = len(rest)
		}
	}
	p.token = rest[:n]
	p.at += n
}

func (p *parser) expected(what string) error {
	if p.token == "" {
		return fmt.Errorf("it ends where %s was expected", what)
	}
	return fmt.Errorf("%q at character %d, where %s was expected", p.token, p.start+1, what)
}

var errDeep = errors.New("too many parentheses in each other")

func (p *parser) disjunction(depth int) (node, error) {
	return p.junction(depth, "or", func() (node, error) {
		return p.junction(depth, "and", func() (node, error) { return p.factor(depth) })
	})
}

func (p *parser) junction(depth int, word string, part func() (node, error)) (node, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	first, err := part()
	if err != nil || p.token != word {
		return first, err
	}
	j := &junction{all: word == "and", parts: []node{first}}
	for p.token == word {
		p.next()
		n, err := part()
		if err != nil {
			return nil, err
		}
		j.parts = append(j.parts, n)
	}
	return j, nil
}

func (p *parser) factor(depth int) (node, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	switch p.token {
	case "not":
		p.next()
		n, err := p.factor(depth + 1)
		return &negation{n}, err
	case "(":
		p.next()
		n, err := p.disjunction(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.token != ")" {
			return nil, p.expected("a closing parenthesis")
		}
		p.next()
		return n, nil
	}
	return p.comparison()
}

func (p *parser) comparison() (node, error) {
	c := new(comparison)
	var err error
	if c.left, err = p.term(); err != nil {
		return nil, err
	}
	switch p.token {
	case "<", "<=", ">", ">=", "==", "!=":
		c.operator = p.token
	default:
		return nil, p.expected("one of < <= > >= == !=")
	}
	p.next()
	begin := p.start
	if c.right, err = p.term(); err != nil {
		return nil, err
	}
	// 17:00 is no number, and the time is no price.
	for _, sides := range [][2]term{{c.left, c.right}, {c.right, c.left}} {
		if sides[0].clock && sides[1].name != Time {
			return nil, fmt.Errorf("a time of the day is compared at character %d with what is none", begin+1)
		}
		if sides[0].name == Time && !sides[1].clock {
			return nil, fmt.Errorf("the time is compared at character %d with what is no time of the day, such as 17:00", begin+1)
		}
	}
	return c, nil
}

func (p *parser) term() (t term, err error) {
	const what = "a signal, a number or a time of the day"
	word := p.token
	switch {
	case word == "and" || word == "or" || word == "not":
		return t, p.expected(what)
	case ValidName(word):
		t.name = word
	case strings.Contains(word, ":"):
		hours, minutes, _ := strings.Cut(word, ":")
		h, errH := strconv.ParseUint(hours, 10, 8)
		m, errM := strconv.ParseUint(minutes, 10, 8)
		if errH != nil || errM != nil || len(minutes) != 2 || len(hours) > 2 || m > 59 || h > 24 || h == 24 && m > 0 {
			return t, p.expected("a time of the day from 0:00 to 24:00")
		}
		t.value, t.clock = float64(h*60+m), true
	default:
		if t.value, err = strconv.ParseFloat(word, 64); err != nil || t.value-t.value != 0 {
			return t, p.expected(what)
		}
	}
	p.next()
	return t, nil
}

// ValidName says whether a signal can have this name: lower-case letters, digits, _ and
// -, a letter first.
func ValidName(s string) bool {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != "and" && s != "or" && s != "not" && s != "inf" && s != "nan" && s != "infinity"
}
