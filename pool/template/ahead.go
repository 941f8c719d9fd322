package template

import (
	"bytes"

	"lode/stratum/jsonscan"
)

// ahead is the length of a list of transactions, in bytes, from which on its second
// half is read at the same time as the first: a full block has 4 MB of them, and miners
// wait for it.
const ahead = 256 << 10

// half is the second half of a list, read on the guess that a transaction begins where
// one seems to. Whether that was right is known when the first half has come there.
type half struct {
	left int // bytes that follow its beginning
	done chan struct{}

	// To be read after done.
	transactions
	length int  // of the half with the end of the list, bytes
	good   bool // it is valid so far, and all of the list
}

// lookAhead begins with the second half of a long list that s has just entered, and
// returns nil for a short one.
func (r *reply) lookAhead(s *jsonscan.Scanner, depth int) *half {
	const boundary = "},{"
	text := s.Rest()
	if len(text) < r.ahead {
		return nil
	}
	middle := len(text) / 2
	at := bytes.Index(text[middle:], []byte(boundary))
	if at < 0 {
		return nil
	}
	text = text[middle+at+len(boundary)-1:]
	h := &half{left: len(text), done: make(chan struct{})}
	go func() {
		defer close(h.done)
		s := jsonscan.New(text)
		for s.More(h.n, ']') {
			h.scanOne(&s, depth)
		}
		h.length = len(text) - len(s.Rest())
		h.good = s.Valid() && h.txErr == nil
	}()
	return h
}

// wait returns when nothing is left of the half but its results.
func (h *half) wait() {
	if h != nil {
		<-h.done
	}
}

// joins appends the half to the first transactions, and goes on to the end of the list,
// if s stands where the half begins. If something in it is wrong then s reads it again,
// and finds the same.
func (h *half) joins(s *jsonscan.Scanner, first *transactions) bool {
	if h == nil || len(s.Rest()) != h.left {
		return false
	}
	h.wait()
	if !h.good || first.txErr != nil || first.fees+h.fees > maxValue || first.n+h.n > maxTxCount {
		return false
	}
	first.list = append(first.list, h.list...)
	first.n, first.fees = first.n+h.n, first.fees+h.fees
	s.Skip(h.length)
	return true
}
