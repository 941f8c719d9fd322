package stratum

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
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
