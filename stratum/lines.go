package stratum

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
)

// Line is one message taken apart, for programs that read a pool's lines by
// themselves where a Session each would be too much. The slices point into the
// line and hold raw JSON values; nil: the member is absent.
type Line struct {
	ID, Method, Params, Result, Error []byte
}

// ParseLine takes a line apart without allocating.
func ParseLine(line []byte) (Line, error) {
	var m message
	if err := parseMessage(line, &m); err != nil {
		return Line{}, fmt.Errorf("%w: %w: %.64q", ErrProtocol, err, line)
	}
	return Line{ID: m.id, Method: m.method, Params: m.params, Result: m.result, Error: m.err}, nil
}

// MethodName is the method's text; nil: the line is a reply.
func (l *Line) MethodName() []byte {
	name, _ := text(l.Method)
	return name
}

// RequestID is the id as a number, which a pool may have made a string of; false:
// it is neither.
func (l *Line) RequestID() (uint64, bool) {
	id := l.ID
	if content, ok := text(id); ok {
		id = content
	}
	n, err := strconv.ParseUint(string(id), 10, 64)
	return n, err == nil
}

// Refusal is the *Error of a reply that carries one, or whose result is not what
// it is for a request that was granted: true, or an array or object; nil otherwise.
func (l *Line) Refusal() error {
	if err := replyError(l.Error); err != nil {
		return err
	}
	if len(l.Result) > 0 && (l.Result[0] == '[' || l.Result[0] == '{') {
		return nil
	}
	return isTrue(l.Result)
}

// ParseNotify reads the params of mining.notify, and holds them against the bounds
// that docs/stratum.md names.
func ParseNotify(params []byte) (*Job, error) { return parseJob(params) }

// The names of params, for paramsOf.
const difficultyName = "difficulty|diff"

var extranonceNames = []string{"extranonce1|extranonce", "extranonce2size|extranoncesize|size"}

// ParseSubscription reads the result of mining.subscribe.
func ParseSubscription(result []byte) (Subscription, error) {
	walk := paramsOf(result, append([]string{"subscriptions|sessionid"}, extranonceNames...)...)
	subscriptions := walk.next()
	extranonce1 := walk.next()
	size := walk.next()
	e1, n2, err := parseExtranonce(extranonce1, size)
	if name, _ := text(subscriptions); err != nil || bytes.HasPrefix(name, []byte("mining.")) {
		// Some leave the subscriptions out, or do not put them into a list of their own.
		var last [2][]byte
		walk := arrayOf(result)
		for value := walk.next(); value != nil; value = walk.next() {
			last = [2][]byte{last[1], value}
		}
		var other error
		if e1, n2, other = parseExtranonce(last[0], last[1]); other != nil {
			return Subscription{}, fmt.Errorf("%w: %w", ErrProtocol, cmp.Or(err, other))
		}
		subscriptions = result
	}
	return Subscription{SessionID: sessionID(subscriptions), Extranonce1: e1, Extranonce2Size: n2}, nil
}

// ParseExtranonce reads the params of mining.set_extranonce. Some name extranonce1 alone:
// the size stays what it was before then.
func ParseExtranonce(params []byte, before int) (extranonce1 []byte, extranonce2Size int, err error) {
	walk := paramsOf(params, extranonceNames...)
	e1, size := walk.next(), walk.next()
	if isNull(e1) {
		return nil, 0, fmt.Errorf("extranonce1 is missing")
	}
	if isNull(size) || string(size) == `""` {
		size = strconv.AppendInt(nil, int64(before), 10)
	}
	return parseExtranonce(e1, size)
}

// ParseDifficulty reads the params of mining.set_difficulty.
func ParseDifficulty(params []byte) (Difficulty, error) {
	walk := paramsOf(params, difficultyName)
	value := walk.next()
	f, ok := number(value)
	if !ok || !Difficulty(f).Valid() {
		return 0, fmt.Errorf("difficulty %.32q: want a number above 0 and below 2^224", value)
	}
	return Difficulty(f), nil
}

// ParseVersionMask reads the params of mining.set_version_mask.
func ParseVersionMask(params []byte) (uint32, error) {
	walk := paramsOf(params, "mask|versionmask|versionrollingmask")
	value := walk.next()
	mask, ok := hex32(value)
	if !ok {
		return 0, fmt.Errorf("version mask %.32q: want up to 8 hexadecimal digits", value)
	}
	return mask, nil
}

// ParseConfigured reads the version mask from the result of mining.configure; 0:
// the pool grants none.
func ParseConfigured(result []byte) uint32 {
	var reply struct {
		Rolling json.RawMessage `json:"version-rolling"`
		Mask    json.RawMessage `json:"version-rolling.mask"`
	}
	if json.Unmarshal(result, &reply) != nil || reply.Rolling != nil && !truthy(reply.Rolling) {
		return 0
	}
	mask, _ := hex32(reply.Mask)
	return mask
}

// AppendSubmit appends a mining.submit line, with its line feed.
func AppendSubmit(b []byte, id uint64, s *Share) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendUint(b, id, 10)
	b = append(b, `,"method":"mining.submit","params":`...)
	return append(s.appendParams(b), "}\n"...)
}

func (s *Share) appendParams(b []byte) []byte {
	b = appendString(append(b, '['), s.Worker)
	if b = append(b, ','); s.bareID {
		b = append(b, s.JobID...)
	} else {
		b = appendString(b, s.JobID)
	}
	b = append(b, `,"`...)
	b = hex.AppendEncode(b, s.Extranonce2)
	b = append(b, `","`...)
	b = appendHex32(b, s.Time)
	b = append(b, `","`...)
	b = appendHex32(b, s.Nonce)
	if s.HasVersionBits {
		b = append(b, `","`...)
		b = appendHex32(b, s.VersionBits)
	}
	return append(b, `"]`...)
}
