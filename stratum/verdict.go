package stratum

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"

	"lode/stratum/jsonscan"
)

// This file reads what pools say of a request: a yes, a no, and why. They have many forms
// for each of them, and many spellings.

const noReason = "refused without a reason"

// verdictNames are those of what says yes or no in an object.
var verdictNames = []string{"status", "result", "accepted", "success", "valid", "authorized"}

// truthy reports whether a value means yes.
func truthy(raw []byte) bool {
	switch kindOf(raw) {
	case '{': // as JSON-RPC 2.0 is used by some
		return truthy(memberOf(raw, verdictNames...))
	case '[':
		walk := arrayOf(raw)
		return truthy(walk.next())
	}
	if n, ok := number(raw); ok {
		return n == 1
	}
	if content, ok := text(raw); ok {
		raw = content
	}
	return isYes(raw)
}

// isYes reports whether words are those of a clear yes.
func isYes(words []byte) bool {
	switch strings.ReplaceAll(plain(words), "share", "") {
	case "true", "ok", "okay", "yes", "accepted", "accept", "success", "valid":
		return true
	}
	return false
}

// isTrue is nil for a yes, and else the refusal.
func isTrue(result []byte) error {
	if truthy(result) {
		return nil
	}
	if reason := wordsOf(result); len(reason) > 0 {
		return reasonError(reason)
	}
	return &Error{CodeOther, noReason}
}

// notFalse is for a login: p2pool answers to it with no result and no error, others with
// words of welcome. Whatever is no clear no is a yes.
func notFalse(result []byte) error {
	verdict, reason := result, wordsOf(result)
	switch kindOf(result) {
	case '{':
		if e := new(Error); errors.As(replyError(memberOf(result, "error")), &e) {
			return &Error{CodeUnauthorized, e.Text}
		}
		verdict = memberOf(result, verdictNames...)
	case '[':
		walk := arrayOf(result)
		verdict = walk.next()
	}
	word, isText := text(verdict)
	switch {
	case !isText:
		word = verdict
	case len(reason) == 0:
		reason = word
	}
	if truthy(verdict) || !isNo(word) && !isNo(reason) {
		return nil
	}
	return &Error{CodeUnauthorized, cmp.Or(printable(reason, maxMessageText), noReason)}
}

// isNo reports whether words are those of a refused login.
func isNo(words []byte) bool {
	words = bytes.ToLower(bytes.TrimSpace(words))
	switch string(words) {
	case "false", "0", "no":
		return true
	}
	for _, no := range []string{"invalid", "denied", "fail", "error", "reject", "refus", "unauthor", "not author", "unknown", "banned"} {
		if bytes.Contains(words, []byte(no)) {
			return true
		}
	}
	return false
}

// replyError reads the error member of a reply: an array or an object with a code and words,
// either of them alone, or what stands for none.
func replyError(raw []byte) error {
	code, reason := float64(0), wordsOf(raw)
	switch kindOf(raw) {
	case '[':
		walk := arrayOf(raw)
		code, _ = number(walk.next())
	case '{':
		code, _ = number(memberOf(raw, "code"))
		if len(reason) == 0 && code == 0 && saysMore(raw) {
			reason = raw
		}
	case '"':
		if n, ok := number(raw); ok {
			code, reason = n, nil
		}
	default:
		var ok bool
		if code, ok = number(raw); !ok && !isNull(raw) {
			reason = raw
		}
	}
	if code == 0 {
		switch plain(reason) {
		case "", "false", "none", "null", "nil", "noerror", "noerrors":
			return nil
		}
	}
	if isYes(reason) && (code < CodeOther || code > CodeNotSubscribed) { // the result tells
		return nil
	}
	return codedError(code, reason)
}

// saysMore reports whether there is anything in an object but nothings.
func saysMore(raw []byte) bool {
	s := jsonscan.New(raw)
	s.Begin('{')
	for n := 0; s.More(n, '}'); n++ {
		s.Name()
		switch string(s.Value(1)) {
		case "null", "0", "false", `""`, "[]", "{}":
		default:
			return true
		}
	}
	return false
}

// wordsOf are the words in an error or in a result that is a no.
func wordsOf(raw []byte) []byte {
	switch kindOf(raw) {
	case '{':
		for _, name := range []string{"message", "reason", "text", "error", "reject-reason"} {
			if content, ok := text(memberOf(raw, name)); ok {
				return content
			}
		}
	case '[':
		walk := arrayOf(raw)
		for value := walk.next(); value != nil; value = walk.next() {
			if content, ok := text(value); ok {
				if _, isCode := number(value); !isCode && len(content) > 0 {
					return content
				}
			}
		}
	case '"':
		content, _ := text(raw)
		return content
	}
	return nil
}

func codedError(code float64, reason []byte) error {
	e := &Error{int(min(max(code, -1e6), 1e6)), printable(reason, maxMessageText)}
	if e.Text == "" {
		e.Text = noReason
	}
	if e.Code < CodeStale || e.Code > CodeNotSubscribed { // a code that says nothing, or of its own
		if code := codeOf(reason); code != CodeOther || e.Code == 0 || e.Code == -1 {
			e.Code = code
		}
	}
	return e
}

// reasonError is a refusal in words alone.
func reasonError(reason []byte) error { return codedError(0, reason) }

// codeOf is the code that words stand for.
func codeOf(reason []byte) int {
	words := strings.ReplaceAll(plain(reason), "worker", "user") // which is no work
	for _, known := range []struct {
		subject string // in the words, too
		any     []string
		code    int
	}{
		{"", []string{"stale", "prevblk", "outdated", "obsolete", "toolate"}, CodeStale},
		{"", []string{"unknownuser", "invaliduser", "nosuchuser"}, CodeUnauthorized},
		{"job", []string{"notfound", "unknown", "invalid", "nosuch", "notexist", "oldjob", "tooold", "expired"}, CodeStale},
		{"work", []string{"notfound", "unknown", "nosuch", "notexist", "oldwork", "tooold", "expired"}, CodeStale},
		{"", []string{"duplicate", "dupe", "dupshare", "already"}, CodeDuplicate},
		{"diff", []string{"toolow", "lowdiff", "lowsharediff", "below", "insufficient"}, CodeLowDifficulty},
		{"target", []string{"above", "notmeet", "notmet"}, CodeLowDifficulty},
		{"", []string{"highhash", "hnotz"}, CodeLowDifficulty}, // the second is H-not-zero of eloipool
		{"", []string{"unauthori", "notauthori"}, CodeUnauthorized},
		{"user", []string{"notfound", "notexist"}, CodeUnauthorized},
		{"", []string{"notsubscribed"}, CodeNotSubscribed},
	} {
		if strings.Contains(words, known.subject) && slices.ContainsFunc(known.any, func(w string) bool { return strings.Contains(words, w) }) {
			return known.code
		}
	}
	return CodeOther
}

// plain is what is left of words when it does not matter how they are written and parted:
// "Job_not-found" and "JobNotFound" are the same.
func plain(words []byte) string {
	var b strings.Builder
	for _, c := range words[:min(len(words), maxMessageText)] {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c >= 0x80:
			b.WriteByte(c)
		case c >= 'A' && c <= 'Z':
			b.WriteByte(c | 0x20)
		}
	}
	return b.String()
}

// kindOf is the first byte of a raw value, which tells its kind.
func kindOf(raw []byte) byte {
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}

// memberOf is the value of the first of the names that an object has, raw; "" is any name,
// nil: it has none.
func memberOf(raw []byte, names ...string) []byte {
	for _, want := range names {
		s := jsonscan.New(raw)
		if !s.Begin('{') {
			return nil
		}
		for n := 0; s.More(n, '}'); n++ {
			name := s.Name()
			if value := s.Value(1); want == "" || bytes.EqualFold(name, []byte(want)) {
				return value
			}
		}
	}
	return nil
}
