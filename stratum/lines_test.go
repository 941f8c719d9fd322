package stratum

import (
	"errors"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	l, err := ParseLine([]byte(subscribeReply))
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := l.RequestID(); !ok || id != 1 || l.MethodName() != nil || l.Refusal() != nil {
		t.Errorf("reply to subscribe: id %d %v, method %q, refusal %v", id, ok, l.MethodName(), l.Refusal())
	}
	sub, err := ParseSubscription(l.Result)
	if err != nil || sub.SessionID != "s1" || string(sub.Extranonce1) != "\xa1\xb2\xc3\xd4" || sub.Extranonce2Size != 8 {
		t.Errorf("subscription %+v, %v", sub, err)
	}

	job := simnetJob()
	l, err = ParseLine(EncodeJob(job).Line())
	if err != nil || string(l.MethodName()) != "mining.notify" {
		t.Fatalf("method %q, %v", l.MethodName(), err)
	}
	back, err := ParseNotify(l.Params)
	if err != nil || string(EncodeJob(back).Line()) != string(EncodeJob(job).Line()) {
		t.Errorf("job %+v, %v", back, err)
	}

	if d, err := ParseDifficulty([]byte(`["0.25"]`)); d != 0.25 || err != nil {
		t.Errorf("difficulty %v, %v", d, err)
	}
	if _, err := ParseDifficulty([]byte(`[-1]`)); err == nil {
		t.Error("a negative difficulty was taken")
	}
	if mask, err := ParseVersionMask([]byte(`["1fffe000"]`)); mask != DefaultVersionMask || err != nil {
		t.Errorf("mask %x, %v", mask, err)
	}
	if e1, size, err := ParseExtranonce([]byte(`["0a0b",4]`), 8); string(e1) != "\x0a\x0b" || size != 4 || err != nil {
		t.Errorf("extranonce %x %d, %v", e1, size, err)
	}
	l, _ = ParseLine([]byte(configureReply))
	if mask := ParseConfigured(l.Result); mask != DefaultVersionMask {
		t.Errorf("configured mask %x", mask)
	}
	if mask := ParseConfigured([]byte(`{"version-rolling":false}`)); mask != 0 {
		t.Errorf("refused mask %x", mask)
	}
	if _, err := ParseLine([]byte("GET / HTTP/1.1")); !errors.Is(err, ErrProtocol) {
		t.Errorf("HTTP: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for line, want := range map[string]string{
		`{"id":4,"result":true,"error":null}`:                       "",
		`{"id":4,"result":{"version-rolling":false},"error":null}`:  "",
		`{"id":4,"result":false,"error":[21,"Job not found",null]}`: "Job not found",
		`{"id":4,"result":null,"error":"stale"}`:                    "stale",
		`{"id":4,"result":false,"error":null}`:                      "refused without a reason",
	} {
		l, err := ParseLine([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := l.Refusal(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: refusal %q, want %q", line, got, want)
		}
	}
}

func TestAppendSubmitIsWhatTheServerReads(t *testing.T) {
	var got Share
	c := loggedIn(t, &testPool{submit: func(_ *Conn, s *Share) error {
		got = *s
		got.Extranonce2 = append([]byte(nil), s.Extranonce2...)
		return nil
	}}, ServerOptions{})
	want := Share{
		Worker: "me", JobID: "4f1a", Extranonce2: []byte{1, 2, 3, 4, 5, 6, 7, 8},
		Time: 0x6553f100, Nonce: 0x15793, VersionBits: 0xc0e000, HasVersionBits: true,
	}
	line := string(AppendSubmit(nil, 77, &want))
	submitOnce(t, c, []byte(strings.TrimSuffix(line, "\n")))
	if got.Worker != want.Worker || got.JobID != want.JobID || string(got.Extranonce2) != string(want.Extranonce2) ||
		got.Time != want.Time || got.Nonce != want.Nonce || got.VersionBits != want.VersionBits || !got.HasVersionBits {
		t.Errorf("the server read %+v from %s", got, line)
	}
}
