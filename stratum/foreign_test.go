package stratum

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// poolOf plays a pool in one go: what comes before the subscribe reply, the replies, and
// what comes after them. Each share is answered with answer, in which ID stands for its id.
func poolOf(before []string, configure, subscribe, authorize string, after []string, answer string, shares *[]string) func(p *poolConn) {
	return func(p *poolConn) {
		p.expect(wantConfigure)
		p.expect(wantSubscribe)
		p.send(append(append([]string{}, before...), configure, subscribe)...)
		p.expect(wantAuthorize)
		p.send(authorize)
		if len(after) > 0 {
			p.send(after...)
		}
		for {
			line := p.read()
			if line == "" {
				return
			}
			*shares = append(*shares, line)
			id, _, _ := strings.Cut(strings.TrimPrefix(line, `{"id":`), ",")
			p.send(strings.Replace(answer, "ID", id, 1))
		}
	}
}

// TestForeignPools are the ways of pools that keep to the protocol less than we do. All of
// them can be mined at, and what they say of a share is understood.
func TestForeignPools(t *testing.T) {
	const (
		yes  = `{"id":ID,"result":true,"error":null}`
		diff = `{"id":null,"method":"mining.set_difficulty","params":[8]}`
	)
	for name, c := range map[string]foreignPool{
		"difficulty and job before the subscribe reply":    {before: []string{diff, "JOB"}},
		"job before the subscribe reply, difficulty after": {before: []string{"JOB"}, after: []string{diff}},
		"job, then difficulty":                             {after: []string{"JOB", diff}},
		"authorize answered with nothing":                  {authorize: `{"id":3,"result":null,"error":null}`, after: []string{diff, "JOB"}},
		"authorize answered without a result":              {authorize: `{"id":3,"error":null}`, after: []string{diff, "JOB"}},
		"authorize answered with 1":                        {authorize: `{"id":3,"result":1,"error":[]}`, after: []string{diff, "JOB"}},
		"all bits granted": {
			configure: `{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"ffffffff"},"error":null}`, after: []string{diff, "JOB"}, bits: "20004000",
		},
		"bit 29 granted": {
			configure: `{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"3fffe000"},"error":null}`, after: []string{diff, "JOB"}, bits: "20004000",
		},
		"bit 29 alone granted": {
			configure: `{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"20000000"},"error":null}`, after: []string{diff, "JOB"}, bits: "20000000",
		},
		"bit 29 granted later": {after: []string{diff, "JOB", `{"method":"mining.set_version_mask","params":["3fffe000"]}`}, bits: "20004000"},
		"rolling granted in words": {
			configure: `{"id":1,"result":{"version-rolling":"true","version-rolling.mask":"1fffe000"},"error":null}`, after: []string{diff, "JOB"},
		},
		"reject-reason": {
			after: []string{diff, "JOB"}, answer: `{"reject-reason":"Stale","result":false,"error":null,"id":ID}`, verdict: "Stale", code: CodeStale,
		},
		"reject-reason of another kind": {
			after: []string{diff, "JOB"}, answer: `{"reject-reason":"Above target","result":false,"error":null,"id":ID}`, verdict: "Above target", code: CodeLowDifficulty,
		},
		"reject-reason beside a yes": {after: []string{diff, "JOB"}, answer: `{"reject-reason":"","result":true,"error":null,"id":ID}`},
		"an error in words":          {after: []string{diff, "JOB"}, answer: `{"result":null,"error":"Job not found","id":ID}`, verdict: "Job not found", code: CodeStale},
		"an error in words in a list": {
			after: []string{diff, "JOB"}, answer: `{"result":null,"error":["duplicate share"],"id":ID}`, verdict: "duplicate", code: CodeDuplicate,
		},
		"an error object without a code": {
			after: []string{diff, "JOB"}, answer: `{"result":null,"error":{"message":"stale-prevblk"},"id":ID}`, verdict: "stale-prevblk", code: CodeStale,
		},
		"an error that is none": {after: []string{diff, "JOB"}, answer: `{"result":true,"error":[0,"",null],"id":ID}`},
		"a plain no":            {after: []string{diff, "JOB"}, answer: `{"result":false,"error":null,"id":ID}`, verdict: "without a reason", code: CodeOther},
		"the id in quotes":      {after: []string{diff, "JOB"}, answer: `{"result":true,"error":null,"id":"ID"}`},
		"the id a fraction":     {after: []string{diff, "JOB"}, answer: `{"result":true,"error":null,"id":ID.0}`},
		"the method repeated":   {after: []string{diff, "JOB"}, answer: `{"result":true,"error":null,"method":"mining.submit","id":ID}`},
		"an empty method":       {after: []string{diff, "JOB"}, answer: `{"result":true,"error":null,"method":"","params":[],"id":ID}`},
		"written by Python":     {after: []string{diff, "JOB"}, answer: `{'id': ID, 'result': True, 'error': None}`},
		"commas too many":       {after: []string{`{"id":null,"method":"mining.set_difficulty","params":[8,],}`, "JOB"}},
		"two on a line":         {after: []string{diff + "JOB"}},
		"a byte order mark":     {after: []string{"\ufeff" + diff, "JOB"}},
		"control characters":    {after: []string{diff, "JOB", "{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"a\tb\x01\"]}"}},
		"chatter in JSON":       {before: []string{`{"motd":"be nice"}`, `{}`}, after: []string{diff, `{"motd":"be nice"}`, "JOB"}, answer: `{"motd":"be nice"}` + "\n" + yes},
		"chatter between":       {before: []string{"Welcome to the pool!", "--"}, after: []string{diff, "motd: be nice", "JOB"}},
		"empty jobs between":    {after: []string{diff, `{"id":null,"method":"mining.notify","params":[]}`, "JOB", `{"id":null,"method":"mining.notify","params":[]}`}},
		"difficulty in words":   {after: []string{diff, `{"id":null,"method":"mining.set_difficulty","params":["easy"]}`, "JOB"}},
		"difficulty a text":     {after: []string{`{"id":null,"method":"mining.set_difficulty","params":["8"]}`, "JOB"}},
		"no difficulty":         {after: []string{"JOB"}, difficulty: 1},
		"all in a list":         {after: []string{"[" + diff + ", JOB]"}},
		"no brackets":           {after: []string{`{"method":"mining.set_difficulty","params":8}`, "JOB"}},
		"names for params":      {after: []string{`{"method":"mining.set_difficulty","params":{"difficulty":8}}`, "JOB"}},
		"a fraction as a text":  {after: []string{`{"method":"mining.set_difficulty","params":[" 80.0e-1 ",null]}`, "JOB"}},
		"an exponent":           {after: []string{`{"method":"mining.set_difficulty","params":[8E+0]}`, "JOB"}},
		"a target":              {after: []string{`{"method":"mining.set_target","params":["000000001fffe000000000000000000000000000000000000000000000000000"]}`, "JOB"}},
		"a target of nothing": {after: []string{
			`{"method":"mining.set_target","params":["` + strings.Repeat("0", 64) + `"]}`, `{"method":"mining.set_target","params":["easy"]}`, diff, "JOB",
		}},
		"digits with 0x":     {after: []string{diff, "JOB"}, job: rewrite(`"([0-9a-f]{8,})"`, `"0x$1"`)},
		"digits with spaces": {after: []string{diff, "JOB"}, job: rewrite(`"([0-9a-f]{8,})"`, `" $1 "`)},
		"digits in upper case": {after: []string{diff, "JOB"}, job: func(line string) string {
			return regexp.MustCompile(`"[0-9a-f]{8,}"`).ReplaceAllStringFunc(line, strings.ToUpper)
		}},
		"numbers without quotes":   {after: []string{diff, "JOB"}, job: decimal},
		"clean in words":           {after: []string{diff, "JOB"}, job: rewrite(`,false\]`, `,"False"]`)},
		"the same job twice":       {after: []string{diff, "JOB", "JOB"}},
		"a job before the login":   {authorize: "JOB\n" + okAuthorize, after: []string{diff}},
		"extranonce after the job": {after: []string{diff, "JOB", `{"method":"mining.set_extranonce","params":["ffff",4]}`}},
		"difficulty after the job": {after: []string{diff, "JOB", `{"method":"mining.set_difficulty","params":[16]}`}},
		"nonsense for an extranonce": {after: []string{
			`{"method":"mining.set_extranonce","params":["xyz"]}`, `{"method":"mining.set_extranonce","params":[null,4]}`, `{"method":"mining.set_extranonce","params":["ff",17]}`, `{"method":"mining.set_extranonce","params":null}`, diff, "JOB",
		}},
		"an extranonce without its size": {
			subscribe: strings.Replace(okSubscribe, "a1b2c3d4", "ffff", 1),
			after:     []string{`{"method":"mining.set_extranonce","params":["a1b2c3d4"]}`, diff, "JOB"},
		},
		"an extranonce with nothing for its size": {
			subscribe: strings.Replace(okSubscribe, "a1b2c3d4", "ffff", 1),
			after:     []string{`{"method":"mining.set_extranonce","params":["a1b2c3d4",null]}`, diff, "JOB"},
		},
		"an extranonce out of nothing": {
			subscribe: `{"id":2,"result":[null,null,8],"error":null}`,
			after:     []string{`{"method":"mining.set_extranonce","params":{"extranonce1":"a1b2c3d4"}}`, diff, "JOB"},
		},
		"digits without quotes": {
			subscribe: `{"id":2,"result":[[],12345678,8],"error":null}`,
			after:     []string{`{"method":"mining.set_extranonce","params":["a1b2c3d4",8]}`, diff, "JOB"},
		},
		"a branch as Lua writes it":  {after: []string{diff, "JOB"}, job: rewrite(`,\[\],`, `,{},`)},
		"a branch as an empty text":  {after: []string{diff, "JOB"}, job: rewrite(`,\[\],`, `,"",`)},
		"a branch of an empty text":  {after: []string{diff, "JOB"}, job: rewrite(`,\[\],`, `,[""],`)},
		"a branch that is null":      {after: []string{diff, "JOB"}, job: rewrite(`,\[\],`, `,null,`)},
		"a version with a sign":      {after: []string{diff, "JOB"}, job: rewrite(`"20000000"`, `-1610612736`)},
		"a version as a fraction":    {after: []string{diff, "JOB"}, job: rewrite(`"20000000"`, `536870912.0`)},
		"digits of 64 bits":          {after: []string{diff, "JOB"}, job: rewrite(`"([0-9a-f]{8})"`, `"00000000$1"`)},
		"methods in capital letters": {after: []string{`{"method":"Mining.Set_Difficulty","params":[8]}`, "JOB"}, job: rewrite(`mining\.notify`, `Mining.Notify`)},
		"a number for a job":         {after: []string{diff, "JOB"}, job: rewrite(`"j"`, `7012`), id: `7012`},
		"digits for a job":           {after: []string{diff, "JOB"}, job: rewrite(`"j"`, `"7012"`), id: `"7012"`},
		"carriage returns and zero bytes": {
			before: []string{"\r", "", " \r"}, configure: okConfigure + "\r", subscribe: okSubscribe + "\x00", authorize: okAuthorize + "\r", after: []string{"\r", diff + "\x00", "JOB\r"},
		},
		"byte order marks everywhere": {
			configure: "\ufeff" + okConfigure, subscribe: "\ufeff" + okSubscribe, authorize: "\ufeff" + okAuthorize, after: []string{"\ufeff" + diff, "\ufeffJOB"}, answer: "\ufeff" + yes,
		},
		"JSON-RPC 2.0": {after: []string{`{"jsonrpc":"2.0","method":"mining.set_difficulty","params":[8]}`, "JOB"}, answer: `{"jsonrpc":"2.0","id":ID,"result":true}`},
		"JSON-RPC 2.0, a refusal": {
			after: []string{diff, "JOB"}, answer: `{"jsonrpc":"2.0","id":ID,"error":{"code":-32000,"message":"Stale share","data":{}}}`, verdict: "Stale", code: CodeStale,
		},
		"JSON-RPC 2.0, a refusal of its own": {
			after: []string{diff, "JOB"}, answer: `{"jsonrpc":"2.0","id":ID,"error":{"code":-32603,"message":"Internal error"}}`, verdict: "Internal", code: -32603,
		},
		"a status":              {authorize: `{"id":3,"result":{"status":"OK"},"error":null}`, after: []string{diff, "JOB"}, answer: `{"result":{"status":"OK"},"error":null,"id":ID}`},
		"a status that is a no": {after: []string{diff, "JOB"}, answer: `{"result":{"status":"rejected"},"error":null,"id":ID}`, verdict: "without a reason", code: CodeOther},
		"a yes in words":        {authorize: `{"id":3,"result":"Welcome!","error":null}`, after: []string{diff, "JOB"}, answer: `{"result":"Accepted","error":"","id":ID}`},
		"a number for an error": {after: []string{diff, "JOB"}, answer: `{"result":null,"error":22,"id":ID}`, verdict: "without a reason", code: CodeDuplicate},
		"a text for a code":     {after: []string{diff, "JOB"}, answer: `{"result":false,"error":["23","",null],"id":ID}`, verdict: "without a reason", code: CodeLowDifficulty},
		"an empty error":        {authorize: `{"id":3,"result":true,"error":{}}`, after: []string{diff, "JOB"}, answer: `{"result":true,"error":{},"id":ID}`},
		"replies without ids":   {authorize: `{"result":true,"error":null}`, after: []string{diff, "JOB"}, answer: `{"id":null,"result":true,"error":null}`},
		"a flat subscription":   {subscribe: `{"id":2,"result":["mining.notify","n1","a1b2c3d4",8],"error":null}`, after: []string{diff, "JOB"}},
		"no subscriptions":      {subscribe: `{"id":2,"result":["a1b2c3d4",8],"error":null}`, after: []string{diff, "JOB"}},
		"a named subscription":  {subscribe: `{"id":2,"result":{"subscriptions":[],"extranonce1":"a1b2c3d4","extranonce2_size":8},"error":null}`, after: []string{diff, "JOB"}},
		"a long subscription":   {subscribe: `{"id":"2","result":[[],"0xA1B2C3D4"," 8 ",null,{}],"error":null}`, after: []string{diff, "JOB"}},
		"a mask with 0x": {
			configure: `{"id":1,"result":{"version-rolling":1,"version-rolling.mask":"0x1FFFE000","x":[]},"error":null}`, after: []string{diff, "JOB"},
		},
		"a mask alone": {
			configure: `{"id":1,"result":{"version-rolling.mask":"1fffe000"},"error":null}`, after: []string{diff, "JOB"},
		},
		"a mask as a number": {
			configure: `{"id":1,"result":{"version-rolling":true,"version-rolling.mask":536862720},"error":null}`, after: []string{diff, "JOB"},
		},
		"a subscription with its members sorted": {
			subscribe: `{"id":2,"result":{"extranonce1":"a1b2c3d4","extranonce2_size":8,"subscriptions":[["mining.notify","n1"]]},"error":null}`, after: []string{diff, "JOB"},
		},
		"a subscription with names of its own": {
			subscribe: `{"id":2,"result":{"extraNonce2Size":8,"extraNonce1":"a1b2c3d4","sessionId":"n1"},"error":null}`, after: []string{diff, "JOB"},
		},
		"a flat subscription like another": {
			subscribe: `{"id":2,"result":["mining.notify","00000008","a1b2c3d4",8],"error":null}`, after: []string{diff, "JOB"},
		},
		"an id for the subscriptions, and more": {subscribe: `{"id":2,"result":["n1","a1b2c3d4",8,null],"error":null}`, after: []string{diff, "JOB"}},
		"a job with its members sorted":         {after: []string{diff, "JOB"}, job: sorted},
		"an extranonce with its members sorted": {
			subscribe: strings.Replace(okSubscribe, "a1b2c3d4", "ffff", 1),
			after:     []string{`{"method":"mining.set_extranonce","params":{"extranonce2_size":8,"extranonce1":"a1b2c3d4"}}`, diff, "JOB"},
		},
		"a result and an error in all": {
			configure: strings.Replace(okConfigure, `{`, `{"method":null,"params":null,`, 1),
			after:     []string{`{"id":null,"method":"mining.set_difficulty","params":[8],"result":null,"error":null}`, "JOB"},
			answer:    `{"id":ID,"method":null,"params":null,"result":true,"error":null}`,
		},
		"the request repeated":          {after: []string{diff, "JOB"}, answer: `{"id":ID,"method":"mining.submit","params":["me"],"result":true,"error":null}`},
		"spaces around a method":        {after: []string{`{"method":" mining.set_difficulty ","params":[8]}`, "JOB"}},
		"jobs without a coinbase":       {after: []string{diff, "JOB", strings.Replace(noCoinbase, "ID", "none", 1)}},
		"no mask, and then one again":   {after: []string{diff, "JOB", `{"method":"mining.set_version_mask","params":["00000000"]}`, `{"method":"mining.set_version_mask","params":["1fffe000"]}`}},
		"masks that are none":           {after: []string{diff, "JOB", `{"method":"mining.set_version_mask","params":[null]}`, `{"method":"mining.set_version_mask","params":["xyz"]}`}},
		"methods that are none":         {after: []string{`{"method":{"a":1},"params":[]}`, `{"method":["mining.notify"],"params":[1]}`, diff, "JOB"}},
		"messages to nobody":            {after: []string{`{"id":7,"method":"client.show_message","params":{"text":"hi"}}`, diff, "JOB", `{"method":"client.show_message","params":[null]}`, `{"method":"client.show_message"}`}},
		"two answers to a login":        {authorize: okAuthorize + "\n" + strings.Replace(okAuthorize, "true", "false", 1), after: []string{diff, "JOB"}},
		"a difficulty with a separator": {after: []string{diff, `{"method":"mining.set_difficulty","params":["8,000"]}`, "JOB"}},
		"clean is nothing":              {after: []string{diff, "JOB"}, job: rewrite(`,false\]`, `,null]`)},
		"no clean":                      {after: []string{diff, "JOB"}, job: rewrite(`,false\]`, `]`)},
		"UTF-16":                        {after: []string{"\xff\xfe{\x00}\x00", diff, "JOB"}},
		"names in capital letters": {
			subscribe: `{"Id":2,"Result":[null,"a1b2c3d4",8],"Error":null}`, after: []string{`{"ID":null,"Method":"mining.set_difficulty","Params":[8]}`, "JOB"},
			job: strings.NewReplacer(`"method"`, `"Method"`, `"params"`, `"PARAMS"`).Replace, answer: `{"Id":ID,"RESULT":true,"ERROR":null}`,
		},
		"deep nonsense": {after: []string{`{"method":"x","params":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, diff, "JOB"}},
	} {
		t.Run(name, c.mine)
	}
}

// foreignPool is what sets a pool apart from the usual one.
type foreignPool struct {
	before                          []string
	configure, subscribe, authorize string // "": the usual one
	after                           []string
	answer                          string
	verdict                         string // "": accepted; anyReason: refused, for whatever reason
	code                            int
	job                             func(line string) string // how it writes its job; nil: as usual
	difficulty                      Difficulty               // 0: 8
	bits                            string                   // version bits of the share; "": 00004000
	id                              string                   // of the job in the share; "": "j"
}

const anyReason = "any"

// mine mines at the pool.
func (c foreignPool) mine(t *testing.T) {
	var shares []string
	use := func(text, usual string) string {
		if text == "" {
			return usual
		}
		return text
	}
	fill := func(lines []string) (filled []string) {
		for _, l := range lines {
			line := notifyLine("j", nil)
			if c.job != nil {
				line = c.job(line)
			}
			filled = append(filled, strings.Replace(l, "JOB", line, 1))
		}
		return filled
	}
	inPool(t, func(p *poolConn) {
		poolOf(fill(c.before), use(c.configure, okConfigure), use(c.subscribe, okSubscribe), fill([]string{use(c.authorize, okAuthorize)})[0], fill(c.after), use(c.answer, `{"id":ID,"result":true,"error":null}`), &shares)(p)
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		s := dialed(t, o)
		defer s.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		a := <-s.Assignments()
		if a.Job == nil {
			t.Fatal("no work")
		}
		if want := max(c.difficulty, 0); a.Difficulty != want && (want != 0 || a.Difficulty != 8) {
			t.Errorf("difficulty %v", a.Difficulty)
		}
		if string(a.Extranonce1) != "\xa1\xb2\xc3\xd4" || a.Extranonce2Size != 8 || !a.Job.Clean {
			t.Errorf("assignment %+v", a)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := s.Submit(ctx, a, []byte{1, 2, 3, 4, 5, 6, 7, 8}, a.Job.Time, 9, a.Job.Version|0x4000&a.VersionMask)
		var refusal *Error
		switch {
		case c.verdict == "" && err != nil:
			t.Errorf("refused: %v", err)
		case c.verdict != "" && (!errors.As(err, &refusal) || refusal.Code != c.code || c.verdict != anyReason && !strings.Contains(refusal.Text, c.verdict)):
			t.Errorf("%v, want %d %s", err, c.code, c.verdict)
		}
		if want := use(c.id, `"j"`) + `,"0102030405060708"`; len(shares) != 1 || !strings.Contains(shares[0], want) || !strings.Contains(shares[0], `"`+use(c.bits, "00004000")+`"]`) {
			t.Errorf("shares %q", shares)
		}
		// And as the miner of another process hands it in.
		if err := s.SubmitShare(ctx, &Share{
			Worker: "me", JobID: a.Job.ID, Extranonce2: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Time: a.Job.Time, Nonce: 9,
			VersionBits: 0x4000 & a.VersionMask, HasVersionBits: a.VersionMask != 0,
		}); (err == nil) != (c.verdict == "") {
			t.Errorf("share by hand: %v", err)
		}
		if len(shares) != 2 || shares[1][strings.Index(shares[1], "params"):] != shares[0][strings.Index(shares[0], "params"):] {
			t.Errorf("shares %q", shares)
		}
		if s.Err() != nil {
			t.Errorf("ended: %v", s.Err())
		}
	})
}

// rewrite replaces in a line what matches.
func rewrite(pattern, replacement string) func(string) string {
	return func(line string) string { return regexp.MustCompile(pattern).ReplaceAllString(line, replacement) }
}

// decimal has the fields of eight digits be numbers.
func decimal(line string) string {
	return regexp.MustCompile(`"[0-9a-f]{8}"`).ReplaceAllStringFunc(line, func(field string) string {
		n, err := strconv.ParseUint(field[1:9], 16, 32)
		if err != nil {
			panic(err)
		}
		return strconv.FormatUint(n, 10)
	})
}

// noCoinbase is a job with nothing to be searched.
const noCoinbase = `{"method":"mining.notify","params":["ID","69d77af62a669b5d8e3dff72e02dbbdb137ba6bf91b94b975c6d110d683e86bd","","",[],"20000000","207fffff","386d4380",true]}`

// sorted has a job be an object, with its members in the order of the alphabet.
func sorted(line string) string {
	before, list, _ := strings.Cut(line, `"params":[`)
	f := strings.Split(strings.TrimSuffix(list, "]}"), ",")
	return before + `"params":{"clean_jobs":` + f[8] + `,"coinb1":` + f[2] + `,"coinb2":` + f[3] + `,"job_id":` + f[0] + `,"merkle_branch":` + f[4] +
		`,"nbits":` + f[6] + `,"ntime":` + f[7] + `,"prevhash":` + f[1] + `,"version":` + f[5] + `}}`
}

// TestForeignAnswers: a yes is a yes and a no is a no, with its reason, in whatever words.
func TestForeignAnswers(t *testing.T) {
	const yes = 0
	for answer, code := range map[string]int{
		`"result":true,"error":"none"`:                                     yes,
		`"result":true,"error":"Share accepted"`:                           yes,
		`"result":true,"error":"no errors"`:                                yes,
		`"result":true,"error":{"code":200,"message":"OK"}`:                yes,
		`"Result":true,"Error":null`:                                       yes,
		`"result":false,"error":"OK"`:                                      CodeOther,
		`"result":false,"error":null,"Reject-Reason":"Stale"`:              CodeStale,
		`"result":true,"error":"null"`:                                     yes,
		`"result":true,"error":"No error"`:                                 yes,
		`"result":true,"error":false`:                                      yes,
		`"result":true,"error":{"code":0,"message":"success"}`:             yes,
		`"result":true,"error":[0,"OK",null]`:                              yes,
		`"result":true,"error":[null,null,null]`:                           yes,
		`"result":1.0,"error":null`:                                        yes,
		`"result":[true],"error":null`:                                     yes,
		`"result":"Share accepted","error":null`:                           yes,
		`"result":"valid","error":null`:                                    yes,
		`"result":{"accepted":true},"error":null`:                          yes,
		`"result":{"success":1},"error":null`:                              yes,
		`"result":"OK"`:                                                    yes,
		`"result":null,"error":null`:                                       CodeOther,
		`"result":"invalid","error":null`:                                  CodeOther,
		`"result":"not accepted","error":null`:                             CodeOther,
		`"result":{"accepted":false},"error":null`:                         CodeOther,
		`"result":[false,"stale"],"error":null`:                            CodeStale,
		`"result":"stale","error":null`:                                    CodeStale,
		`"result":{"status":"rejected","reason":"stale"}`:                  CodeStale,
		`"result":false,"error":null,"reject_reason":"Stale"`:              CodeStale,
		`"result":null,"error":[null,"Job not found",null]`:                CodeStale,
		`"result":null,"error":["Job not found",21]`:                       CodeStale,
		`"result":null,"error":{"text":"stale share"}`:                     CodeStale,
		`"result":null,"error":{"code":"21","message":"no"}`:               CodeStale,
		`"result":null,"error":[20,"job-not-found",null]`:                  CodeStale,
		`"result":null,"error":[20,"Job_Not_Found",null]`:                  CodeStale,
		`"result":null,"error":"JobNotFound"`:                              CodeStale,
		`"result":null,"error":[-1,"Unknown job",null]`:                    CodeStale,
		`"result":null,"error":[20,"Job expired",null]`:                    CodeStale,
		`"result":null,"error":[20,"Invalid job",null]`:                    CodeStale,
		`"result":null,"error":[20,"No such job",null]`:                    CodeStale,
		`"result":null,"error":[20,"Job ID not found",null]`:               CodeStale,
		`"result":null,"error":[20,"Job 'j' not found",null]`:              CodeStale,
		`"result":null,"error":"job does not exist"`:                       CodeStale,
		`"result":null,"error":"Outdated share"`:                           CodeStale,
		`"result":null,"error":"Share submitted too late"`:                 CodeStale,
		`"result":false,"error":null,"reason":"Stale"`:                     CodeStale,
		`"result":false,"error":null,"message":"stale share"`:              CodeStale,
		`"result":false,"error":null,"rejectReason":"stale-work"`:          CodeStale,
		`"result":null,"error":[20,"Time too old",null]`:                   CodeOther,
		`"result":true,"error":null,"message":"stale soon"`:                yes,
		`"result":null,"error":{"code":22}`:                                CodeDuplicate,
		`"result":null,"error":[20,"Share already seen",null]`:             CodeDuplicate,
		`"result":null,"error":null,"reject-reason":"Duplicate"`:           CodeDuplicate,
		`"result":null,"error":"DuplicateShare"`:                           CodeDuplicate,
		`"result":null,"error":[20,"Share already submitted",null]`:        CodeDuplicate,
		`"result":"Low difficulty share of 0.5","error":null`:              CodeLowDifficulty,
		`"result":null,"error":[20,"Difficulty too low",null]`:             CodeLowDifficulty,
		`"result":null,"error":[20,"low_difficulty",null]`:                 CodeLowDifficulty,
		`"result":null,"error":[20,"Share is above target",null]`:          CodeLowDifficulty,
		`"result":null,"error":[20,"Insufficient difficulty",null]`:        CodeLowDifficulty,
		`"result":null,"error":[20,"Difficulty below minimum",null]`:       CodeLowDifficulty,
		`"result":null,"error":[20,"Hash does not meet the target",null]`:  CodeLowDifficulty,
		`"result":null,"error":[20,"high hash",null]`:                      CodeLowDifficulty,
		`"result":null,"error":[20,"H-not-zero",null]`:                     CodeLowDifficulty,
		`"result":null,"error":[20,"unauthorised worker",null]`:            CodeUnauthorized,
		`"result":null,"error":[20,"Work not found",null]`:                 CodeStale,
		`"result":null,"error":[20,"unknown-work",null]`:                   CodeStale,
		`"result":null,"error":[20,"work expired",null]`:                   CodeStale,
		`"result":null,"error":[20,"Job is too old",null]`:                 CodeStale,
		`"result":null,"error":[20,"Work not found for worker me",null]`:   CodeStale,
		`"result":false,"error":null,"reject-reason":"dupe"`:               CodeDuplicate,
		`"result":null,"error":[20,"dup share",null]`:                      CodeDuplicate,
		`"result":null,"error":[20,"share already exists",null]`:           CodeDuplicate,
		`"result":null,"error":[20,"Unknown worker",null]`:                 CodeUnauthorized,
		`"result":null,"error":[20,"Worker 'me' not found",null]`:          CodeUnauthorized,
		`"result":false,"error":null,"reject-reason":"unknown-user"`:       CodeUnauthorized,
		`"result":null,"error":[29,"Invalid username",null]`:               CodeUnauthorized,
		`"result":null,"error":[20,"unknown worker: job 7 refused",null]`:  CodeUnauthorized,
		`"result":null,"error":{"code":-32000,"data":{"x":["duplicate"]}}`: -32000,
	} {
		t.Run(answer, func(t *testing.T) {
			c := foreignPool{after: []string{`{"method":"mining.set_difficulty","params":[8]}`, "JOB"}, answer: `{"id":ID,` + answer + `}`, code: code}
			if code != yes {
				c.verdict = anyReason
			}
			c.mine(t)
		})
	}
}

// TestForeignLogins: whatever is no clear no lets the miner in.
func TestForeignLogins(t *testing.T) {
	for answer, no := range map[string]string{
		`"result":true,"error":null`:                                            "",
		`"result":null`:                                                         "",
		`"result":"Welcome, you are the first","error":null`:                    "",
		`"result":{"authorized":true,"error":null},"error":null`:                "",
		`"result":{"status":"OK","error":null,"invalid":0},"error":null`:        "",
		`"result":{"worker":"me","failures":0},"error":null`:                    "",
		`"result":[true,{"banned":false}],"error":null`:                         "",
		`"result":[true,"no errors"],"error":null`:                              "",
		`"result":true,"error":{"code":0,"message":null}`:                       "",
		`"result":false,"error":null`:                                           "without a reason",
		`"result":0,"error":null`:                                               "without a reason",
		`"result":[false,"banned"],"error":null`:                                "banned",
		`"result":{"authorized":false},"error":null`:                            "without a reason",
		`"result":{"status":"rejected","message":"who are you?"},"error":null`:  "who are you?",
		`"result":{"status":"denied"},"error":null`:                             "denied",
		`"result":{"error":{"code":24,"message":"unknown worker"}}`:             "unknown worker",
		`"result":{"message":"invalid user"},"error":null`:                      "invalid user",
		`"result":"Invalid user","error":null`:                                  "Invalid user",
		`"result":null,"error":null,"message":"Welcome"`:                        "",
		`"result":"Hello","reason":"you are new"`:                               "",
		`"result":null,"error":null,"message":"unknown worker"`:                 "unknown worker",
		`"result":null,"error":"wrong password"`:                                "wrong password",
		`"result":false,"error":null,"reject-reason":"no such account"`:         "no such account",
		`"result":null,"error":[24,"Unauthorized worker",null]`:                 "Unauthorized worker",
		`"result":null,"error":{"code":24,"data":"x","message":"unauthorized"}`: "unauthorized",
	} {
		t.Run(answer, func(t *testing.T) {
			inPool(t, func(p *poolConn) {
				p.expect(wantConfigure)
				p.expect(wantSubscribe)
				p.send(okConfigure, okSubscribe)
				p.expect(wantAuthorize)
				p.send(`{"id":3,` + answer + `}`)
				p.rest()
			}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
				s, err := Dial(t.Context(), o)
				if err == nil {
					s.Close()
				}
				if no == "" && err != nil || no != "" && (!errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), no)) {
					t.Errorf("%v, want %q", err, no)
				}
			})
		})
	}
}

// TestShareUnanswered: a pool that says nothing to some shares is mined at all the same;
// one that says nothing to any is left.
func TestShareUnanswered(t *testing.T) {
	for name, ignored := range map[string]int{"some": 2, "all": 100} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			inPool(t, func(p *poolConn) {
				p.login()
				p.send(notifyLine("j", nil))
				for i := 0; ; i++ {
					line := p.read()
					if line == "" {
						return
					}
					if id, _, _ := strings.Cut(strings.TrimPrefix(line, `{"id":`), ","); i >= ignored {
						p.send(`{"id":` + id + `,"result":true,"error":null}`)
					}
				}
			}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				s := dialed(t, o)
				defer s.Close()
				var mu sync.Mutex
				var verdicts []error
				judged := func(err error) {
					mu.Lock()
					defer mu.Unlock()
					verdicts = append(verdicts, err)
				}
				for nonce := range uint32(5) {
					if err := s.SubmitAsync(<-s.Assignments(), make([]byte, 8), 0, nonce, 0, judged); err != nil {
						t.Fatal(err)
					}
					s.latest.restore(s.Current())
				}
				time.Sleep(40 * time.Second)
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				given := 0
				for _, err := range verdicts {
					if errors.Is(err, ErrUnanswered) {
						given++
					}
				}
				if name == "some" && (s.Err() != nil || given != ignored || len(verdicts) != 5) {
					t.Errorf("ended: %v; verdicts %v", s.Err(), verdicts)
				}
				if told := strings.Count(log.String(), "not answered shares"); name == "some" && told != 1 {
					t.Errorf("told %d times: %s", told, &log)
				}
				if name == "all" && !errors.Is(s.Err(), ErrSilent) {
					t.Errorf("ended: %v; verdicts %v", s.Err(), verdicts)
				}
			})
		})
	}
}

// TestLoginUnanswered: a pool that gives work without a word to the login is mined at.
func TestLoginUnanswered(t *testing.T) {
	inPool(t, func(p *poolConn) {
		p.expect(wantConfigure)
		p.expect(wantSubscribe)
		p.send(okConfigure, okSubscribe)
		p.expect(wantAuthorize)
		p.send(notifyLine("j", nil))
		time.Sleep(45 * time.Second)
		p.send(notifyLine("k", nil))
		p.rest()
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		s, err := Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if a := <-s.Assignments(); a.Job.ID != "j" || !a.Job.Clean {
			t.Errorf("assignment %+v", a)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if a := <-s.Assignments(); a.Job.ID != "k" || s.Err() != nil {
			t.Errorf("assignment %+v, %v", a, s.Err())
		}
		s.Close()
	})
}

// TestEndlessNonsense: a connection on which nothing makes sense is given up.
func TestEndlessNonsense(t *testing.T) {
	inPool(t, func(p *poolConn) {
		p.login()
		for range 100 {
			p.send("what?")
		}
		p.rest()
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		s, err := Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		<-s.Done()
		s.Close()
		if !errors.Is(s.Err(), ErrProtocol) || !strings.Contains(s.Err().Error(), "what?") {
			t.Error(s.Err())
		}
	})
}

// TestNoExtranonce2: where a pool leaves nothing of the coinbase to be changed there are
// versions and times to search.
func TestNoExtranonce2(t *testing.T) {
	var shares []string
	subscribe := strings.Replace(okSubscribe, `"a1b2c3d4",8`, `"a1b2c3d4",0`, 1)
	inPool(t, func(p *poolConn) {
		poolOf(nil, okConfigure, subscribe, okAuthorize, []string{notifyLine("j", nil)}, `{"id":ID,"result":true,"error":null}`, &shares)(p)
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		s := dialed(t, o)
		defer s.Close()
		a := <-s.Assignments()
		if err := s.Submit(t.Context(), a, nil, a.Job.Time, 9, a.Job.Version); err != nil || a.Extranonce2Size != 0 || !strings.Contains(shares[0], `"j","","`) {
			t.Errorf("%v; shares %q", err, shares)
		}
	})
}
