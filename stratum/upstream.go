package stratum

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// Bounds of what a pool may send.
const (
	maxExtranonce1  = 32
	maxCoinbase     = 160 << 10 // bytes, both parts: p2pool pays 4,000 outputs at once
	maxBranch       = 32
	maxMessageText  = 512
	maxFixedBits    = 32 // jobs
	maxReconnectSec = 60
	// maxTogether is how many messages on one line are read.
	maxTogether = 64
	// maxMessages of those to people are shown in a messageWindow.
	maxMessages   = 10
	messageWindow = time.Minute
	// complaintPause is the least time between two warnings of what a pool does wrong.
	complaintPause = 10 * time.Second
	// unusedTime is for how long miners go on with a job when the next could not be used.
	unusedTime = 10 * time.Second
)

// handle takes one line from the pool. An error ends the session: it is one that nobody
// can mine over. What merely breaks the letter of JSON or Stratum is mended or left out.
func (s *Session) handle(line []byte) error {
	for range maxTogether {
		var m message
		err := parseMessage(line, &m)
		var rest []byte
		if err != nil {
			object, behind := mend(line)
			if object == nil || parseMessage(object, &m) != nil {
				return s.garbage(line, err)
			}
			s.complain("JSON that is none, mended", fmt.Errorf("%q", excerpt(line)))
			rest = behind
		}
		s.nonsense = 0
		if err := s.handleMessage(&m); err != nil {
			return err
		}
		// Two messages on one line, perhaps.
		if line = bytes.TrimLeft(rest, ", \t\r\n\x00"); len(line) == 0 || line[0] != '{' {
			return nil
		}
	}
	s.complain("too many messages on one line, left out", fmt.Errorf("%d bytes", len(line)))
	return nil
}

// excerpt is the beginning of a line, for people.
func excerpt(line []byte) []byte { return line[:min(len(line), 64)] }

// garbage leaves a line out, or says why the session cannot go on.
func (s *Session) garbage(line []byte, err error) error {
	err = fmt.Errorf("%w: %w: %q", ErrProtocol, err, excerpt(line))
	switch {
	case len(line) > 1 && line[0] == 0x15 && line[1] == 0x03: // an alert of TLS
		return fmt.Errorf("%w: it speaks TLS: write stratum+tls:// in its address", ErrProtocol)
	case bytes.HasPrefix(line, []byte("HTTP/")), bytes.HasPrefix(line, []byte("SSH-")):
		return fmt.Errorf("%w (is this the address of a Stratum pool?)", err)
	}
	s.nonsense++
	s.garbled = err
	s.complain("a line that makes no sense, left out", err)
	return nil
}

// complain warns of what a pool does wrong, not too often.
func (s *Session) complain(what string, err error) {
	if now := time.Now(); now.Sub(s.complained) >= complaintPause {
		s.complained = now
		s.log.Warn("the pool sends "+what, "error", err)
		return
	}
	s.log.Debug("the pool sends "+what, "error", err)
}

func (s *Session) handleMessage(m *message) error {
	content, _ := text(m.method)
	method := string(bytes.ToLower(bytes.TrimSpace(content))) // cgminer does not mind, either
	if m.isReply(method) {
		s.takeReply(m)
		return nil
	}
	var err error
	switch method {
	case "mining.notify":
		err = s.takeJob(m.params)
	case "mining.set_difficulty":
		err = s.takeDifficulty(m.params)
	case "mining.set_target":
		err = s.takeTarget(m.params)
	case "mining.set_extranonce":
		err = s.takeExtranonce(m.params)
	case "mining.set_version_mask":
		err = s.takeMask(m.params)
	case "client.show_message":
		params := paramsOf(m.params, "message|text|msg")
		content, _ := text(params.next())
		s.showMessage(printable(content, maxMessageText))
	case "client.reconnect":
		return s.takeReconnect(m.params)
	case "client.get_version":
		s.answer(m.id, appendString(nil, s.opts.UserAgent))
	case "mining.ping":
		s.answer(m.id, []byte(`"pong"`))
	default:
		s.log.Debug("unknown message from the pool", "method", printable([]byte(method), 64))
		if !isNull(m.id) {
			s.answerRaw(m.id, `,"result":null,"error":[20,"Method not found",null]}`)
		}
	}
	if err != nil {
		s.complain(method+" that cannot be used, left out", err)
	}
	return nil
}

// isReply reports whether a message is a reply. Some repeat the method in it, and even the
// params; others have a result and an error in all that they send.
func (m *message) isReply(method string) bool {
	switch method {
	case "":
		return true
	case "mining.notify", "mining.set_difficulty", "mining.set_target", "mining.set_extranonce", "mining.set_version_mask",
		"client.show_message", "client.reconnect", "client.get_version", "mining.ping":
		return m.params == nil && (m.result != nil || m.err != nil) && !isNull(m.id)
	}
	return m.result != nil || m.err != nil
}

// showMessage shows people what the pool has to say to them, or as much of it as they can
// read.
func (s *Session) showMessage(text string) {
	if now := time.Now(); now.Sub(s.messagesFrom) >= messageWindow {
		s.messagesFrom, s.messages = now, 0
	}
	s.messages++
	switch {
	case s.messages > maxMessages:
		s.log.Debug("message from the pool", "text", text)
	case s.opts.OnMessage != nil:
		s.opts.OnMessage(text)
	default:
		s.log.Info("message from the pool", "text", text)
	}
}

func (s *Session) answer(id, result []byte) {
	if !isNull(id) {
		s.answerRaw(id, `,"result":`+string(result)+`,"error":null}`)
	}
}

func (s *Session) answerRaw(id []byte, rest string) {
	if len(id) > maxID {
		return // a thousand answers may wait
	}
	select {
	case s.out <- append([]byte(`{"id":`), string(id)+rest+"\n"...):
	default: // a pool that floods us with questions gets no answers
	}
}

// takeReply gives a reply to the request that it belongs to: by id, or to the
// oldest request if the pool does not echo ids.
func (s *Session) takeReply(m *message) {
	if isNull(m.id) && m.result == nil && m.err == nil {
		return // it answers nothing
	}
	id, hasID := number(m.id)
	s.mu.Lock()
	found := -1
	for i, p := range s.pending {
		if isNull(m.id) || hasID && id == float64(p.id) {
			found = i
			break
		}
	}
	if found < 0 {
		s.mu.Unlock()
		return
	}
	p := s.pending[found]
	s.pending = append(s.pending[:found], s.pending[found+1:]...)
	if p.method == "mining.submit" {
		s.lastAnswered = max(s.lastAnswered, p.id)
	}
	s.mu.Unlock()
	s.answered = true
	err := replyError(m.err)
	// Beside what is no clear no it may be a word of welcome.
	if reason, ok := text(m.reason); ok && err == nil && !truthy(m.result) && (p.method == "mining.submit" || isNo(m.result) || isNo(reason)) {
		err = reasonError(reason)
	}
	if err != nil {
		p.done(nil, err)
		return
	}
	p.done(m.result, nil)
}

// configured takes the reply to mining.configure, whenever it comes.
func (s *Session) configured(result []byte, err error) {
	if err != nil {
		return
	}
	mask := ParseConfigured(result)
	if mask == 0 {
		return // the pool does not roll versions
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setMask(mask)
}

// setMask takes what the pool grants, which may be more than was asked for. A share's
// version bits replace all of that (BIP 310).
func (s *Session) setMask(granted uint32) {
	s.granted, s.mask = granted, granted&s.opts.VersionMask
	if j := s.current.Job; j != nil && (s.current.VersionMask != s.mask&^j.Version || s.current.fixed != granted&j.Version) {
		s.current.VersionMask, s.current.fixed = s.freeBits(j), granted&j.Version
		s.publish()
	}
}

// freeBits is what may be rolled in a job; the granted bits that it has set itself
// are noted.
func (s *Session) freeBits(j *Job) uint32 {
	if j.Clean || len(s.fixedBits) > maxFixedBits {
		clear(s.fixedBits)
	}
	delete(s.fixedBits, j.ID)
	if fixed := s.granted & j.Version; fixed != 0 {
		s.fixedBits[j.ID] = fixed
	}
	return s.mask &^ j.Version
}

// subscribed takes the reply to mining.subscribe.
func (s *Session) subscribed(result []byte) error {
	sub, err := ParseSubscription(result)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extranonce1, s.extranonce2Size, s.sessionID = sub.Extranonce1, sub.Extranonce2Size, sub.SessionID
	if s.current.Job != nil { // pools may send a job before the reply
		s.current.Extranonce1, s.current.Extranonce2Size = sub.Extranonce1, sub.Extranonce2Size
	}
	return nil
}

// sessionID finds the id beside "mining.notify", in a list of pairs or in a single
// pair; "" if there is none.
func sessionID(subscriptions []byte) string {
	previous := ""
	walk := arrayOf(subscriptions)
	for value := walk.next(); value != nil; value = walk.next() {
		if value[0] == '[' {
			if id := sessionID(value); id != "" {
				return id
			}
			continue
		}
		content, _ := text(value)
		if previous == "mining.notify" && len(content) <= maxSessionID {
			return string(content)
		}
		previous = string(content)
	}
	return ""
}

func parseExtranonce(extranonce1, size []byte) ([]byte, int, error) {
	digits, ok := word(extranonce1, len(extranonce1))
	if string(extranonce1) == "null" {
		ok = true // there is none, as of p2pool
	}
	if digits = bareHex(digits); !ok || len(digits) > 2*maxExtranonce1 {
		return nil, 0, fmt.Errorf("extranonce1 %.80q: want at most %d bytes in hexadecimal", extranonce1, maxExtranonce1)
	}
	e1, err := hex.DecodeString(string(digits))
	if err != nil {
		return nil, 0, fmt.Errorf("extranonce1 %.80q: %w", extranonce1, err)
	}
	n2, ok := number(size)
	if !ok || n2 != float64(int(n2)) || n2 < 0 || n2 > 16 {
		return nil, 0, fmt.Errorf("extranonce2 size %.32q: want 0 to 16", size)
	}
	return e1, int(n2), nil
}

// takeDifficulty takes mining.set_difficulty, which holds from the next job on. A job that
// came before any difficulty, or with one that cannot be mined at, gets the first.
func (s *Session) takeDifficulty(raw []byte) error {
	d, err := ParseDifficulty(raw)
	if err != nil {
		err = fmt.Errorf("mining.set_difficulty: %w", err)
	}
	params := paramsOf(raw, difficultyName)
	if err != nil && !isNumber(params.next()) {
		return err // it says nothing
	}
	return s.setDifficulty(d, err)
}

// setDifficulty sets it, or has one that cannot be mined at be waited out.
func (s *Session) setDifficulty(d Difficulty, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.difficulty, s.told = 0, true
		s.trouble = fmt.Errorf("%w: waiting for another one", err)
		return err
	}
	if s.current.Job != nil && (!s.told || !s.current.Difficulty.Valid()) {
		s.current.Difficulty = d
		s.publish()
	}
	s.difficulty, s.told = d, true
	return nil
}

// takeTarget takes mining.set_target, which some pools send instead.
func (s *Session) takeTarget(raw []byte) error {
	params := paramsOf(raw, "target")
	hash, err := parseHash(params.next())
	if err != nil {
		return fmt.Errorf("mining.set_target: %w", err)
	}
	d := Target(hash).Difficulty()
	if !d.Valid() {
		err = fmt.Errorf("mining.set_target: %x cannot be met", hash[:])
	}
	return s.setDifficulty(d, err)
}

// takeExtranonce takes mining.set_extranonce, which holds from the next job on. A
// pool that sends it unasked means it, too: shares of the old space would be lost.
func (s *Session) takeExtranonce(raw []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e1, n2, err := ParseExtranonce(raw, s.extranonce2Size)
	if err != nil {
		return err
	}
	s.extranonce1, s.extranonce2Size = e1, n2
	return nil
}

func (s *Session) takeMask(raw []byte) error {
	mask, err := ParseVersionMask(raw)
	if err != nil {
		return err
	}
	if s.opts.NoVersionRolling {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setMask(mask)
	return nil
}

// takeReconnect ends the session so that it is made again, to the same host: a pool's, or
// a forger's, word is not enough to take the hash rate elsewhere.
func (s *Session) takeReconnect(raw []byte) error {
	params := paramsOf(raw, "host|hostname|url", "port", "wait|waittime")
	name, _ := text(params.next())
	port, _ := number(params.next())
	wait, _ := number(params.next())
	address, _, err := ParseURL(s.opts.URL)
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(address)
	wish := &reconnect{wait: time.Duration(min(max(wait, 0), maxReconnectSec) * float64(time.Second))}
	if same := len(name) == 0 || strings.EqualFold(string(name), host); !same {
		s.log.Warn("client.reconnect names a host; connecting to the configured one instead", "host", printable(name, 255))
	} else if port == float64(uint16(port)) && port > 0 {
		wish.to = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	return wish
}

// takeJob takes mining.notify. One that cannot be used is left out: miners go on with the
// one before for a while (see waitOut).
func (s *Session) takeJob(raw []byte) error {
	j, err := parseJob(raw)
	if err == nil {
		if skew := time.Until(time.Unix(int64(j.Time), 0)); s.opts.MaxClockSkew > 0 && skew.Abs() > s.opts.MaxClockSkew {
			err = fmt.Errorf("the job's time is %v off this machine's clock, more than %v: check the clock", skew.Round(time.Second), s.opts.MaxClockSkew)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.trouble = fmt.Errorf("mining.notify: %w: waiting for another job", err)
		if s.unused.IsZero() && (s.current.Job == nil || !emptyParams(raw)) {
			s.unused = time.Now()
		}
		return err
	}
	if s.current.Job == nil || string(s.current.Extranonce1) != string(s.extranonce1) ||
		s.current.Extranonce2Size != s.extranonce2Size || s.current.Job.PrevBlock != j.PrevBlock {
		j.Clean = true
	}
	s.current = Assignment{
		Job: j, Extranonce1: s.extranonce1, Extranonce2Size: s.extranonce2Size,
		Difficulty: s.difficulty, VersionMask: s.freeBits(j), Generation: s.current.Generation,
		fixed: s.granted & j.Version,
	}
	s.bareIDs = j.bareID
	s.unused = time.Time{}
	if s.difficulty.Valid() {
		s.trouble = nil
	} else {
		s.withdraw()
	}
	s.publish()
	return nil
}

func emptyParams(raw []byte) bool {
	walk := paramsOf(raw)
	return walk.next() == nil
}

// waitOut withdraws the present job when the pool has sent what cannot be used instead of
// a newer one for a while. s is locked.
func (s *Session) waitOut() {
	if s.dialed && !s.unused.IsZero() && time.Since(s.unused) > unusedTime {
		s.unused = time.Time{}
		s.withdraw()
	}
}

// withdraw takes the work back; s is locked.
func (s *Session) withdraw() {
	if s.dialed && s.ctx.Err() == nil {
		level := slog.LevelDebug
		if now := time.Now(); now.Sub(s.withdrawn) >= complaintPause {
			level, s.withdrawn = slog.LevelWarn, now
		}
		s.log.Log(s.ctx, level, "there is nothing to mine at the pool", "error", s.trouble)
		s.published = nil
		s.latest.put(Assignment{Generation: s.current.Generation, Why: s.trouble})
	}
}

// publish hands the current assignment over, if it can be mined at; s is locked.
func (s *Session) publish() {
	if s.dialed && s.current.Job != nil && s.current.Difficulty.Valid() && s.ctx.Err() == nil {
		// Where nobody has work there is nothing to go on with; what was found of the same job
		// is not worthless.
		if first, again := s.published == nil, s.published == s.current.Job; first != s.current.Job.Clean && (first || again) {
			job := *s.current.Job
			job.Clean = first
			s.current.Job = &job
		}
		s.trouble, s.published = nil, s.current.Job
		s.latest.put(s.current)
	}
}

// parseJob reads the params of mining.notify and holds them against their bounds.
func parseJob(raw []byte) (*Job, error) {
	params := paramsOf(raw, "jobid|job|id", "prevhash|previousblockhash|previousblock", "coinb1|coinbase1", "coinb2|coinbase2",
		"merklebranch|merklebranches|branch", "version", "nbits|bits", "ntime|time", "cleanjobs|clean")
	id, prev, coinbase1, coinbase2 := params.next(), params.next(), params.next(), params.next()
	branch, version, nbits, ntime, clean := params.next(), params.next(), params.next(), params.next(), params.next()
	if ntime == nil {
		return nil, fmt.Errorf("fewer than 9 params")
	}
	j := &Job{Clean: clean == nil || truthy(clean)} // without a word it is the safe one
	name, _ := word(id, len(id))
	if len(name) == 0 || len(name) > maxJobID {
		return nil, fmt.Errorf("job id %.80q: want 1 to %d bytes", id, maxJobID)
	}
	j.ID, j.bareID = string(name), id[0] != '"'
	var err error
	if j.PrevBlock, err = parseHash(prev); err != nil {
		return nil, fmt.Errorf("prevhash: %w", err)
	}
	j.PrevBlock = swapWords(j.PrevBlock)
	if len(coinbase1)+len(coinbase2) > 2*maxCoinbase {
		return nil, fmt.Errorf("coinbase of more than %d bytes", maxCoinbase)
	}
	if j.Coinbase1, err = parseHex(coinbase1); err != nil {
		return nil, fmt.Errorf("coinb1: %w", err)
	}
	if j.Coinbase2, err = parseHex(coinbase2); err != nil {
		return nil, fmt.Errorf("coinb2: %w", err)
	}
	// Lua and PHP write a list as an object, too, above all one with nothing in it.
	walk := paramsOf(branch)
	for value := walk.next(); value != nil; value = walk.next() {
		if none := isNull(value) || string(value) == `""`; none && len(j.MerkleBranch) == 0 {
			continue
		}
		hash, err := parseHash(value)
		if err != nil {
			return nil, fmt.Errorf("merkle branch: %w", err)
		}
		if j.MerkleBranch = append(j.MerkleBranch, hash); len(j.MerkleBranch) > maxBranch {
			return nil, fmt.Errorf("merkle branch of more than %d hashes", maxBranch)
		}
	}
	var okVersion, okBits, okTime bool
	j.Version, okVersion = field32(version)
	j.Bits, okBits = field32(nbits)
	j.Time, okTime = field32(ntime)
	if !okVersion || !okBits || !okTime {
		return nil, fmt.Errorf("version %.32q, nbits %.32q, ntime %.32q: want up to 8 hexadecimal digits each", version, nbits, ntime)
	}
	if len(j.Coinbase1)+len(j.Coinbase2) == 0 {
		return nil, fmt.Errorf("coinb1 and coinb2 are empty")
	}
	target, err := TargetFromBits(j.Bits)
	if err != nil {
		return nil, err
	}
	if exponent := j.Bits >> 24; exponent < 3 || exponent > 0x20 || target[0] > 0x7f {
		return nil, fmt.Errorf("nbits %08x is easier than any network's", j.Bits)
	}
	return j, nil
}

// field32 is hex32, for numbers that were written as a fraction or with a sign, too.
func field32(raw []byte) (uint32, bool) {
	if n, ok := hex32(raw); ok || kindOf(raw) == '"' {
		return n, ok
	}
	n, ok := number(raw)
	return uint32(int64(n)), ok && n == math.Trunc(n) && n >= math.MinInt32 && n <= math.MaxUint32
}

func parseHash(raw []byte) (h chainhash.Hash, err error) {
	digits, ok := text(raw)
	if digits = bareHex(digits); !ok || len(digits) != 2*len(h) {
		return h, fmt.Errorf("%.80q: want 64 hexadecimal digits", raw)
	}
	if _, err = hex.Decode(h[:], digits); err != nil {
		return h, fmt.Errorf("%.80q: %w", raw, err)
	}
	return h, nil
}

func parseHex(raw []byte) ([]byte, error) {
	digits, ok := text(raw)
	if !ok {
		return nil, fmt.Errorf("%.80q: want a string", raw)
	}
	b, err := hex.DecodeString(string(bareHex(digits)))
	if err != nil {
		return nil, fmt.Errorf("%.80q: %w", raw, err)
	}
	return b, nil
}
