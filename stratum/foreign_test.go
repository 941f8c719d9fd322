package stratum

import (
	"context"
	"errors"
	"strings"
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
		okay = ""
	)
	job := func() string { return notifyLine("j", nil) }
	for name, c := range map[string]struct {
		before                          []string
		configure, subscribe, authorize string // "": the usual one
		after                           []string
		answer                          string
		verdict                         string // "": accepted
		code                            int
		difficulty                      Difficulty // 0: 8
		bits                            string     // version bits of the share; "": 00004000
	}{
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
		"deep nonsense":         {after: []string{`{"method":"x","params":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, diff, "JOB"}},
	} {
		t.Run(name, func(t *testing.T) {
			var shares []string
			use := func(text, usual string) string {
				if text == okay {
					return usual
				}
				return text
			}
			fill := func(lines []string) (filled []string) {
				for _, l := range lines {
					filled = append(filled, strings.Replace(l, "JOB", job(), 1))
				}
				return filled
			}
			inPool(t, func(p *poolConn) {
				poolOf(fill(c.before), use(c.configure, okConfigure), use(c.subscribe, okSubscribe), use(c.authorize, okAuthorize), fill(c.after), use(c.answer, yes), &shares)(p)
			}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
				s, err := Dial(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				time.Sleep(time.Second)
				synctest.Wait()
				a := <-s.Assignments()
				if want := max(c.difficulty, 0); a.Difficulty != want && (want != 0 || a.Difficulty != 8) {
					t.Errorf("difficulty %v", a.Difficulty)
				}
				if string(a.Extranonce1) != "\xa1\xb2\xc3\xd4" || a.Extranonce2Size != 8 || !a.Job.Clean {
					t.Errorf("assignment %+v", a)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				err = s.Submit(ctx, a, []byte{1, 2, 3, 4, 5, 6, 7, 8}, a.Job.Time, 9, a.Job.Version|0x4000&a.VersionMask)
				var refusal *Error
				switch {
				case c.verdict == "" && err != nil:
					t.Errorf("refused: %v", err)
				case c.verdict != "" && (!errors.As(err, &refusal) || refusal.Code != c.code || !strings.Contains(refusal.Text, c.verdict)):
					t.Errorf("%v, want %d %s", err, c.code, c.verdict)
				}
				if want := `"0102030405060708"`; len(shares) != 1 || !strings.Contains(shares[0], want) || !strings.Contains(shares[0], `"`+use(c.bits, "00004000")+`"]`) {
					t.Errorf("shares %q", shares)
				}
				// And as the miner of another process hands it in.
				if err := s.SubmitShare(ctx, &Share{
					Worker: "me", JobID: "j", Extranonce2: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Time: a.Job.Time, Nonce: 9,
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
		})
	}
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
