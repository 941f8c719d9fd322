package stratum

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxID        = 1024 // bytes of a message's raw id that are echoed
	maxName      = 255  // bytes of a worker's name
	maxPassword  = 1024
	maxUserAgent = 128
	maxSessionID = 64
	maxJobID     = 64
	maxMethod    = 64
)

// Refusals that the server gives on its own account.
var (
	errNotMessage     = &Error{CodeOther, "Not a Stratum message"}
	errNoMethod       = &Error{CodeOther, "Method not found"}
	errParams         = &Error{CodeOther, "Malformed params"}
	errNotSubscribed  = &Error{CodeNotSubscribed, "Not subscribed"}
	errUnauthorized   = &Error{CodeUnauthorized, "Unauthorized worker"}
	errWorkerName     = &Error{CodeOther, "Worker name must be 1 to 255 bytes of printable text"}
	errPassword       = &Error{CodeOther, "Password is too long"}
	errWorkers        = &Error{CodeOther, "Too many workers on one connection"}
	errMoreWorkers    = &Error{CodeOther, "Too many further workers from one address, or no memory for one more"}
	errGuesses        = &Error{CodeUnauthorized, "Too many refused logins from this address: wait a minute"}
	errSubmitParams   = &Error{CodeOther, "Malformed params: want worker, job id, extranonce2, ntime, nonce"}
	errExtranonce2    = &Error{CodeOther, "Malformed extranonce2"}
	errTime           = &Error{CodeOther, "Malformed ntime: want up to 8 hexadecimal digits"}
	errNonce          = &Error{CodeOther, "Malformed nonce: want up to 8 hexadecimal digits"}
	errVersionDigits  = &Error{CodeOther, "Malformed version bits: want up to 8 hexadecimal digits"}
	errDifficulty     = &Error{CodeOther, "Difficulty must be a number above 0"}
	errTargetParam    = &Error{CodeOther, "Target must be 64 hexadecimal digits and not zero"}
	errJobNotFound    = &Error{CodeStale, "Job not found"}
	errNoTransactions = &Error{CodeOther, "Transactions are not available"}
)

// handle handles one line: it queues the reply, if there is to be one. An error
// ends the connection.
func (c *Conn) handle(line []byte) error {
	m := &c.lines.message
	err := parseMessage(line, m)
	if err == nil {
		return c.handleMessage(line, m, nil)
	}
	// Several messages on it, perhaps, or JSON that is none but has a clear meaning.
	for range maxTogether {
		object, rest := mend(line)
		if object == nil || parseMessage(object, m) != nil {
			break
		}
		if err := c.handleMessage(object, m, nil); err != nil {
			return err
		}
		if line = bytes.TrimLeft(rest, "], "+blank); len(line) == 0 || line[0] != '{' {
			return nil
		}
		if err := c.throttle(); err != nil {
			return err
		}
		if c.ending.Load() { // what is left would have its pauses for nothing
			return nil
		}
	}
	return c.handleMessage(line, m, err)
}

// handleMessage handles a message of a line, or a line that is none.
func (c *Conn) handleMessage(line []byte, m *message, err error) error {
	if err == nil && len(m.id) > maxID {
		err = errNotJSON
	}
	method, _ := textUpTo(m.method, maxMethod)
	if err == nil && string(method) == "mining.submit" {
		c.server.stats.Lines.Add(1)
		c.server.stats.Submits.Add(1)
		c.submit(m)
		return nil
	}
	c.judge()
	c.chargedTo = c.queuedBytes()
	defer func() { c.charge(len(line)) }()
	if err != nil {
		if !c.noteGarbage() {
			c.Penalize(closePoints, "garbage")
			return ErrGarbage
		}
		c.refuse([]byte("null"), falseNever, errNotMessage)
		return nil
	}
	stats := &c.server.stats
	stats.Lines.Add(1)
	if isNull(m.method) {
		if m.result == nil && m.err == nil {
			c.reply(m.id, falseNever, errNoMethod)
		}
		return nil // a reply to our ping
	}
	switch string(method) {
	case "mining.subscribe":
		c.subscribe(m)
	case "mining.authorize":
		c.authorize(m)
	case "mining.configure":
		c.configure(m)
	case "mining.extranonce.subscribe":
		c.mu.Lock()
		c.wantExtranonce = true
		c.mu.Unlock()
		c.reply(m.id, falseNever, nil)
	case "mining.suggest_difficulty":
		d, err := suggestedDifficulty(m)
		c.reply(m.id, falseNever, err)
		c.suggest(d, false)
	case "mining.suggest_target":
		d, err := suggestedTarget(m)
		c.reply(m.id, falseNever, err)
		c.suggest(d, false)
	case "mining.get_transactions":
		c.transactions(m)
	case "mining.ping":
		c.replyRaw(m.id, `"pong"`)
	case "mining.multi_version", "mining.capabilities":
		c.reply(m.id, falseNever, nil)
	case "pong":
		// ESP-Miner answers our ping so.
	default:
		c.reply(m.id, falseNever, errNoMethod)
	}
	return nil
}

// What a reply's result is if there is an error.
const (
	falseNever   = false // null
	falseOnError = true  // false, which some miners want for submit and authorize
)

// reply queues the reply to a request: true, or the error. A notification, which
// has no id, gets none.
func (c *Conn) reply(id []byte, resultFalse bool, err error) {
	if err == nil {
		c.replyRaw(id, "true")
		return
	}
	if wantsReply(id) {
		c.refuse(id, resultFalse, err)
	}
}

// refuse queues a reply that carries an error.
func (c *Conn) refuse(id []byte, resultFalse bool, err error) {
	e, ok := err.(*Error)
	if !ok { // the usual case is kept free of allocations
		e = unwrap(err)
	}
	stats := &c.server.stats
	stats.Replies.Add(1)
	stats.Refusals.Add(1)
	b := c.begin()
	b = append(b, `{"id":`...)
	b = append(b, id...)
	if resultFalse {
		b = append(b, `,"result":false,"error":[`...)
	} else {
		b = append(b, `,"result":null,"error":[`...)
	}
	if e.Code < 0 {
		b = append(b, '-')
	}
	b = appendUint(b, uint64(max(e.Code, -e.Code)))
	b = append(b, ',')
	b = appendString(b, e.Text)
	c.commit(append(b, ",null]}\n"...))
}

func wantsReply(id []byte) bool { return !isNull(id) }

// unwrap is the *Error in err, or one with its text.
func unwrap(err error) *Error {
	if e := new(Error); errors.As(err, &e) {
		return e
	}
	return &Error{CodeOther, err.Error()}
}

// replyRaw queues a reply whose result is raw JSON.
func (c *Conn) replyRaw(id []byte, result string) {
	if !wantsReply(id) {
		return
	}
	c.server.stats.Replies.Add(1)
	b := c.begin()
	b = append(b, `{"id":`...)
	b = append(b, id...)
	b = append(b, `,"result":`...)
	b = append(b, result...)
	c.commit(append(b, ",\"error\":null}\n"...))
}

// submit notes a mining.submit. It is judged and answered together with those that
// came with it, at the latest by judge.
func (c *Conn) submit(m *message) {
	l := c.lines
	s := &l.submits[l.waiting]
	l.waiting++
	s.id, s.Share = m.id, Share{Extranonce2: s.extranonce[:]}
	s.Verdict = c.readSubmit(m, &s.Share)
	if s.Verdict == errUnauthorized && c.server.strays != nil {
		c.server.strays.SubmitStray(c, &s.Share)
	}
	s.malformed = s.Verdict != nil
	if l.waiting == maxBatch {
		c.judge()
	}
}

// easyShare is how much easier than what the miner was told last an accepted share may be
// that is no burden. Those of before a raise count for as long as their job does: who began
// with next to nothing could send such ones without end.
const easyShare = 16

// judge has the shares that wait judged, and answers them.
func (c *Conn) judge() {
	l := c.lines
	n := 0
	for i := range l.waiting {
		if s := &l.submits[i]; !s.malformed {
			l.batch[n] = &s.Submission
			n++
		}
	}
	switch batch := l.batch[:n]; {
	case n > 1 && c.server.batches != nil:
		c.server.batches.SubmitBatch(c, batch)
	default:
		for _, s := range batch {
			s.Verdict = c.server.handler.Submit(c, &s.Share)
		}
	}
	c.mu.Lock()
	told := c.difficulty
	c.mu.Unlock()
	accepted, best := false, Difficulty(0)
	for i := range l.waiting {
		s := &l.submits[i]
		if s.Verdict == nil {
			worth := s.Worth
			if worth == 0 {
				worth = told
			}
			if worth >= told/easyShare {
				c.light++ // it is what the server is for
			}
			accepted, best = true, max(best, worth)
		}
		c.reply(s.id, falseOnError, s.Verdict)
	}
	l.waiting = 0
	if accepted {
		c.proven(best)
	}
}

// readSubmit takes a mining.submit apart, without allocation.
func (c *Conn) readSubmit(m *message, s *Share) error {
	params := arrayOf(m.params)
	worker, _ := word(params.next(), maxName+len(blank))
	worker = trim(worker)
	job, okJob := word(params.next(), maxJobID)
	extranonce, okExtranonce := text(params.next())
	ntime, nonce, bits := params.next(), params.next(), params.next()
	if !okJob || !okExtranonce || ntime == nil || nonce == nil {
		return errSubmitParams
	}
	if !c.isSubscribed() {
		return errNotSubscribed
	}
	known := false
	if s.Worker, known = c.findWorker(worker); !known && c.server.strays != nil && len(worker) <= maxName {
		s.Worker = printable(worker, maxName)
	}
	if len(job) > maxJobID {
		return errJobNotFound
	}
	s.JobID = c.server.jobIDs.intern(job)
	if extranonce = bareHex(extranonce); len(extranonce) > 2*maxExtranonce2 {
		return errExtranonce2
	}
	n, err := hex.Decode(s.Extranonce2, extranonce)
	if err != nil {
		return errExtranonce2
	}
	s.Extranonce2 = s.Extranonce2[:n]
	var ok bool
	if s.Time, ok = hex32(ntime); !ok {
		return errTime
	}
	if s.Nonce, ok = hex32(nonce); !ok {
		return errNonce
	}
	if !isNull(bits) && string(bits) != `""` {
		if s.VersionBits, ok = hex32(bits); !ok {
			return errVersionDigits
		}
		s.HasVersionBits = true
	}
	if !known {
		return errUnauthorized
	}
	return nil
}

func (c *Conn) isSubscribed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subscribed
}

func (c *Conn) findWorker(name []byte) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.workers.find(name)
}

func (c *Conn) subscribe(m *message) {
	params := arrayOf(m.params)
	agent, _ := textUpTo(params.next(), 4*maxUserAgent) // some of it may not be printable
	resume, _ := textUpTo(params.next(), maxSessionID)
	if len(resume) > maxSessionID {
		resume = nil
	}
	if agent := printable(agent, maxUserAgent); agent != "" {
		c.mu.Lock()
		c.userAgent = agent
		c.mu.Unlock()
	}
	sub, err := c.server.handler.Subscribe(c, string(resume))
	if err != nil {
		c.reply(m.id, falseNever, err)
		return
	}
	if wantsReply(m.id) {
		c.server.stats.Replies.Add(1)
		b := c.begin()
		b = append(b, `{"id":`...)
		b = append(b, m.id...)
		b = append(b, `,"result":[[["mining.set_difficulty",`...)
		b = appendString(b, sub.SessionID)
		b = append(b, `],["mining.notify",`...)
		b = appendString(b, sub.SessionID)
		b = append(b, `]],`...)
		b = appendExtranonce(b, sub.Extranonce1, sub.Extranonce2Size)
		c.commit(append(b, "],\"error\":null}\n"...))
	}
	c.mu.Lock()
	c.subscribed = true
	c.mu.Unlock()
	c.becomeReady()
}

func appendExtranonce(b, extranonce1 []byte, extranonce2Size int) []byte {
	b = append(b, '"')
	b = hex.AppendEncode(b, extranonce1)
	b = append(b, `",`...)
	return appendUint(b, uint64(extranonce2Size))
}

func (c *Conn) authorize(m *message) {
	params := arrayOf(m.params)
	user, ok := word(params.next(), maxName+len(blank))
	password, _ := word(params.next(), maxPassword) // it may be missing or null
	name := string(trim(user))                      // some have the end of the line they were read from
	err := c.authorizeWorker(ok, name, string(password))
	c.reply(m.id, falseOnError, err)
	if err != nil {
		return
	}
	begin, least := passwordWishes(string(password))
	c.suggest(begin, false)
	c.suggest(least, true)
	c.mu.Lock()
	first := len(c.workers.names) == 0
	c.workers.add(name)
	c.mu.Unlock()
	if first {
		c.becomeReady()
	}
}

func (c *Conn) authorizeWorker(ok bool, name, password string) error {
	switch {
	case !ok || name == "" || len(name) > maxName || !isPrintable(name):
		return errWorkerName
	case len(password) > maxPassword:
		return errPassword
	}
	c.mu.Lock()
	_, known := c.workers.find([]byte(name))
	first := len(c.workers.names) == 0
	full := over(len(c.workers.names), c.server.opts.Names) || over(c.workers.bytes+len(name)-1, c.server.opts.NameBytes)
	c.mu.Unlock()
	further := 0
	if !known && !first {
		further = 1
	}
	switch {
	case full && !known:
		return errWorkers
	case further > 0 && (c.server.full.Load() || !c.server.gate.names(c, further)):
		return errMoreWorkers
	}
	if err := c.checkPassword(name, password); err != nil {
		c.server.gate.names(c, -further)
		return err
	}
	return nil
}

// suggest brings a wish to the handler, if it is one: after the answer, which goes ahead of what
// it brings about.
func (c *Conn) suggest(d Difficulty, least bool) {
	if d.Valid() {
		c.server.handler.SuggestDifficulty(c, d, least)
	}
}

// checkPassword asks the handler, no faster than guesses may be made from the
// connection's address. The pauses come before the answer: who does not stay for it
// learns nothing.
func (c *Conn) checkPassword(name, password string) error {
	gate := &c.server.gate
	wait, ok := gate.guess(c, time.Now())
	if !ok {
		c.Close(ErrGuessing)
		return errGuesses
	}
	c.pause(wait)
	err := c.server.handler.Authorize(c, name, password)
	gate.guessed(c, err == nil)
	if err == nil {
		return nil
	}
	c.server.stats.Guesses.Add(1)
	c.Penalize(guessPoints, "refused logins")
	if each := c.server.opts.GuessTime; each > 0 {
		c.pause(min(each<<min(c.refusals, 5), 30*time.Second))
		c.refusals++
	}
	if _, ok := err.(*Error); !ok {
		err = &Error{CodeUnauthorized, err.Error()}
	}
	return err
}

// pause lets a time pass, or the connection end.
func (c *Conn) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	c.uncork()
	if err := c.hold(); err != nil {
		c.Close(err)
	}
	c.rest(d)
	c.unhold()
	c.cork()
	if due, reason := c.deadline(); reason == ErrHandshakeTimeout && c.server.now() >= due {
		c.Close(reason)
	}
}

// becomeReady lets jobs flow once the miner has subscribed and authorized.
func (c *Conn) becomeReady() {
	c.mu.Lock()
	ready := c.subscribed && len(c.workers.names) > 0
	c.mu.Unlock()
	if !ready {
		return
	}
	if !c.isReady {
		c.isReady = true
		c.server.gate.loggedIn(c, time.Now())
		c.server.addReady(c)
		c.announceMask()
		// The first job is no more than the miner has come for, and its size is the pool's affair.
		before := c.queuedBytes()
		defer func() { c.chargedTo += c.queuedBytes() - before }()
	}
	c.server.handler.Authorized(c)
}

// announceMask sends mining.set_version_mask to miners that roll versions. Some
// want it in addition to the reply to configure; some break if it comes before
// they have authorized.
func (c *Conn) announceMask() {
	b := c.begin()
	c.serverMask = c.server.versionMask.Load()
	if !c.rolling {
		c.commit(b)
		return
	}
	c.commitNotification(appendVersionMask(b, c.versionMask()))
}

// passwordWishes are the difficulties among the options in a password, which are parted by
// commas, semicolons or spaces: one to begin with (d=, diff=, difficulty=) and one not to be
// below (md=, mindiff=). 0: there is none. Of several the first counts.
func passwordWishes(password string) (begin, least Difficulty) {
	for option := range strings.FieldsFuncSeq(password, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
		at := strings.IndexAny(option, "=:")
		if at < 0 {
			continue
		}
		f, ok := number([]byte(option[at+1:]))
		if d := Difficulty(f); ok && d.Valid() {
			switch strings.ToLower(option[:at]) {
			case "d", "diff", "difficulty":
				begin = cmp.Or(begin, d)
			case "md", "mindiff":
				least = cmp.Or(least, d)
			}
		}
	}
	return begin, least
}

func suggestedDifficulty(m *message) (Difficulty, error) {
	params := paramsOf(m.params, difficultyName)
	f, ok := number(params.next())
	if !ok || !Difficulty(f).Valid() {
		return 0, errDifficulty
	}
	return Difficulty(f), nil
}

func suggestedTarget(m *message) (Difficulty, error) {
	params := paramsOf(m.params, "target")
	digits, ok := text(params.next())
	var t Target
	if digits = bareHex(digits); !ok || len(digits) > 2*len(t) || len(digits)%2 != 0 {
		return 0, errTargetParam
	}
	// Zeros on the left may be missing.
	if _, err := hex.Decode(t[len(t)-len(digits)/2:], digits); err != nil || t == (Target{}) {
		return 0, errTargetParam
	}
	return t.Difficulty(), nil
}

// printable is text with everything that is no printable character left out, at
// most limit bytes: it can be logged and shown anywhere.
func printable(text []byte, limit int) string {
	var b strings.Builder
	for _, r := range string(text) {
		if b.Len()+utf8.RuneLen(r) > limit {
			break
		}
		if r != utf8.RuneError && unicode.IsPrint(r) {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isPrintable(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
