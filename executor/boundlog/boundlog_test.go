package boundlog

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestHandlerLimitsRepetitions(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	log := slog.New(NewHandler(slog.NewTextHandler(&out, nil), Limits{Burst: 3, Window: time.Minute, Now: func() time.Time { return now }}))
	for i := range 10 {
		log.With("i", i).Info("again")
	}
	log.Warn("again") // another level is another message
	log.Info("other")
	if n := strings.Count(out.String(), "msg=again"); n != 4 {
		t.Errorf("%d records of the repeated message, expected 3 and 1:\n%s", n, &out)
	}
	if !strings.Contains(out.String(), "msg=other") {
		t.Errorf("another message was suppressed:\n%s", &out)
	}
	out.Reset()
	now = now.Add(time.Minute)
	log.Info("again")
	log.Info("again")
	if got := strings.Count(out.String(), "suppressed=7"); got != 1 {
		t.Errorf("the number of suppressed records is told %d times:\n%s", got, &out)
	}
}

func TestHandlerForgetsOldMessages(t *testing.T) {
	var out bytes.Buffer
	h := NewHandler(slog.NewTextHandler(&out, nil), Limits{})
	log := slog.New(h.WithGroup("g").WithAttrs([]slog.Attr{slog.Int("a", 1)}))
	for i := range 10 * maxKeys {
		log.Info(fmt.Sprint("message ", i))
	}
	if n := len(h.shared.seen); n > maxKeys {
		t.Errorf("%d messages remembered", n)
	}
	if !strings.Contains(out.String(), "g.a=1") {
		t.Error("attributes lost")
	}
}

func TestWriterEnds(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out, 1000)
	for range 100 {
		if n, err := fmt.Fprintln(w, strings.Repeat("x", 99)); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	}
	if out.Len() > 1100 || !strings.HasSuffix(out.String(), "log ends here: its limit of 1000 bytes is reached\n") {
		t.Errorf("%d bytes, end %q", out.Len(), out.String()[max(0, out.Len()-80):])
	}
	if n := strings.Count(out.String(), "log ends here"); n != 1 {
		t.Errorf("the end is told %d times", n)
	}
}

func TestWriterHidesSecrets(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out, 1000)
	w.Hide("hunter22")
	w.Hide("hunter22")
	w.Hide("x") // too short to be hidden without harm
	fmt.Fprintln(w, "password hunter22 x")
	if got, want := out.String(), "password *** x\n"; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
	if got, want := w.Redact("url http://u:hunter22@node"), "url http://u:***@node"; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
}
