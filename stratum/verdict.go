package stratum

import (
	"bytes"
	"strings"

	"lode/stratum/jsonscan"
)

// This file reads what pools say of a request: a yes, a no, and why. They have many forms
// for each of them, and many spellings.

const noReason = "refused without a reason"

// truthy reports whether a value means yes.
func truthy(raw []byte) bool {
	switch kindOf(raw) {
	case '{': // as JSON-RPC 2.0 is used by some
		return truthy(memberOf(raw, "status", "result", "accepted", "success", "valid"))
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
	switch strings.ReplaceAll(plain(raw), "share", "") {
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
	word := result
	if content, ok := text(result); ok {
		word = bytes.ToLower(bytes.TrimSpace(content))
	}
	switch string(word) {
	case "false", "0", "no":
		return &Error{CodeUnauthorized, noReason}
	}
	for _, no := range []string{"invalid", "denied", "fail", "error", "reject", "refus", "unauthor", "not author", "unknown", "banned"} {
		if bytes.Contains(word, []byte(no)) {
			return &Error{CodeUnauthorized, printable(word, maxMessageText)}
		}
	}
	return nil
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
		if len(reason) == 0 && code == 0 && !isNull(memberOf(raw, "")) {
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
		case "", "false", "none", "null", "nil", "noerror", "ok", "success":
			return nil
		}
	}
	return codedError(code, reason)
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
	words := plain(reason)
	for _, known := range []struct {
		words string
		code  int
	}{
		{"stale", CodeStale},
		{"jobnotfound", CodeStale},
		{"unknownwork", CodeStale},
		{"unknownjob", CodeStale},
		{"invalidjob", CodeStale},
		{"nosuchjob", CodeStale},
		{"oldjob", CodeStale},
		{"jobexpired", CodeStale},
		{"expiredjob", CodeStale},
		{"prevblk", CodeStale},
		{"duplicate", CodeDuplicate},
		{"alreadysubmitted", CodeDuplicate},
		{"lowdiff", CodeLowDifficulty},
		{"lowsharediff", CodeLowDifficulty},
		{"difftoolow", CodeLowDifficulty},
		{"difficultytoolow", CodeLowDifficulty},
		{"abovetarget", CodeLowDifficulty},
		{"highhash", CodeLowDifficulty},
		{"hnotz", CodeLowDifficulty}, // H-not-zero of eloipool
		{"unauthori", CodeUnauthorized},
		{"notauthori", CodeUnauthorized},
		{"notsubscribed", CodeNotSubscribed},
	} {
		if strings.Contains(words, known.words) {
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
