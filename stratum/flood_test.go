package stratum

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// idleSession is a Session that nobody reads and writes for.
func idleSession(o ClientOptions) *Session {
	o.setDefaults()
	return &Session{opts: o, log: slog.New(slog.DiscardHandler), out: make(chan []byte, queueSize)}
}

// TestFloodOfQuestions: what a pool asks costs no more memory than what it is sent, however
// long its questions are, and whether it reads the answers or not.
func TestFloodOfQuestions(t *testing.T) {
	for _, method := range []string{"mining.ping", "client.get_version", "mining.unheard_of"} {
		s := idleSession(ClientOptions{})
		line := fmt.Appendf(nil, `{"id":"%s","method":"%s","params":[]}`, strings.Repeat("x", maxClientLine-100), method)
		short := fmt.Appendf(nil, `{"id":"%s","method":"%s","params":[]}`, strings.Repeat("x", maxID-2), method)
		for range 3 {
			if err := s.handle(line); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.handle(short); err != nil {
			t.Fatal(err)
		}
		if waiting := len(s.out); waiting != 1 {
			t.Fatalf("%s: %d answers", method, waiting)
		}
		if answer := <-s.out; len(answer) > maxID+200 || !strings.HasPrefix(string(answer), `{"id":"xxx`) {
			t.Errorf("%s: answer of %d bytes", method, len(answer))
		}
	}
}

// TestFloodInOneLine: a line costs what its length costs, whatever it is full of.
func TestFloodInOneLine(t *testing.T) {
	const size = 128 << 10
	for _, unit := range []string{
		`{}`, `{} `, `{},`, `{"method":"x"}`, `{'a':1}`, `{"method":"client.show_message","params":["hi"]}`, `{"id":1,"result":true}`, `{"a":`, `{[`, `"`, `{"`, "\\",
	} {
		s := idleSession(ClientOptions{})
		line := []byte(strings.Repeat(unit, size/len(unit)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := s.handle(line); err != nil {
			t.Errorf("%s: %v", unit, err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 8*size {
			t.Errorf("a line of %d bytes full of %s took %d bytes", len(line), unit, took)
		}
	}
}

// TestMessagesTogether: what comes on one line counts, parted by whatever.
func TestMessagesTogether(t *testing.T) {
	var shown []string
	s := idleSession(ClientOptions{OnMessage: func(text string) { shown = append(shown, text) }})
	say := func(text string) string {
		return `{"id":null,"method":"client.show_message","params":["` + text + `"]}`
	}
	if err := s.handle([]byte(say("a") + say("b") + " " + say("c") + ",\t" + say("d") + "\x00" + say("e") + "; " + say("f"))); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(shown, " "); got != "a b c d e" {
		t.Errorf("shown: %s", got)
	}
}

// TestFloodOfMessages: people are shown as much as they can read.
func TestFloodOfMessages(t *testing.T) {
	shown := 0
	s := idleSession(ClientOptions{OnMessage: func(string) { shown++ }})
	for range 10_000 {
		if err := s.handle([]byte(`{"id":null,"method":"client.show_message","params":["buy"]}`)); err != nil {
			t.Fatal(err)
		}
	}
	if shown != maxMessages {
		t.Errorf("%d messages were shown", shown)
	}
}

// TestFloodIsReadSlowly: a pool that sends more than anybody needs is read at a pace; its
// replies, and what usual pools send, are not.
func TestFloodIsReadSlowly(t *testing.T) {
	for name, c := range map[string]struct {
		lines       int
		line        string
		least, most time.Duration
	}{
		"jobs":                 {20_000, notifyLine("j", nil), 25 * time.Second, 90 * time.Second},
		"difficulties":         {20_000, `{"id":null,"method":"mining.set_difficulty","params":[1]}`, 25 * time.Second, 90 * time.Second},
		"empty lines":          {20_000, "", 25 * time.Second, 90 * time.Second},
		"nonsense":             {20_000, "# hello", 25 * time.Second, 90 * time.Second},
		"replies to nothing":   {20_000, `{"id":99,"result":true,"error":null}`, 25 * time.Second, 90 * time.Second},
		"long lines":           {200, `{"id":null,"method":"x","params":["` + strings.Repeat("x", maxClientLine-100) + `"]}`, 50 * time.Second, 200 * time.Second},
		"a job with each line": {2000, notifyLine("j", nil), 0, 0},
		"the jobs of p2pool":   {40, notifyLine("j", func(j *Job) { j.Coinbase2 = make([]byte, 150<<10) }), 0, 0},
	} {
		inPool(t, func(p *poolConn) {
			p.login()
			start := time.Now()
			for range c.lines {
				p.send(c.line)
			}
			if took := time.Since(start); took < c.least || took > c.most {
				t.Errorf("%s: read in %v, want %v to %v", name, took, c.least, c.most)
			}
			p.rest()
		}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
			s, err := Dial(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			s.Close()
		})
	}
	inPool(t, func(p *poolConn) {
		p.login()
		p.send(notifyLine("j", nil))
		start := time.Now()
		for i := range 10_000 {
			p.read()
			p.send(fmt.Sprintf(`{"id":%d,"result":true,"error":null}`, 4+i))
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("replies were read in %v", took)
		}
		p.rest()
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		s := dialed(t, o)
		defer s.Close()
		for a := <-s.Assignments(); ; {
			err := s.Submit(t.Context(), a, make([]byte, 8), 1, 2, 3)
			if err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			n := s.nextID
			s.mu.Unlock()
			if n >= 10_003 {
				return
			}
		}
	})
}

func TestNumber(t *testing.T) {
	for raw, want := range map[string]float64{`1`: 1, `"2.5"`: 2.5, `-1e-3`: -0.001, `"0"`: 0} {
		if f, ok := number([]byte(raw)); !ok || f != want {
			t.Errorf("%s is %v, %v", raw, f, ok)
		}
	}
	for _, raw := range []string{`"nan"`, `"NaN"`, `"inf"`, `"-Infinity"`, `1e999`, `""`, `null`, `"1 2"`, `[1]`, `true`} {
		if f, ok := number([]byte(raw)); ok {
			t.Errorf("%s is %v", raw, f)
		}
	}
}

// TestFloodOfTrouble: a pool that has nothing to mine again and again says so once in a while.
func TestFloodOfTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := idleSession(ClientOptions{MaxClockSkew: -1})
		s.log = slog.New(slog.NewTextHandler(&log, nil))
		s.owner, s.dialed, s.fixedBits = owner{latest: newLatest()}, true, map[string]uint32{}
		var cancel context.CancelCauseFunc
		s.ctx, cancel = context.WithCancelCause(t.Context())
		defer cancel(nil)
		for range 60 {
			for range 100 {
				for _, d := range []string{"0", "1"} {
					for _, line := range []string{`{"id":null,"method":"mining.set_difficulty","params":[` + d + `]}`, notifyLine("j", nil)} {
						if err := s.handle([]byte(line)); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			time.Sleep(time.Second)
		}
		if lines := strings.Count(log.String(), "\n"); lines == 0 || lines > 15 {
			t.Errorf("%d lines in a minute", lines)
		}
	})
}
