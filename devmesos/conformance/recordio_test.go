package conformance

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// rawStream is one of the two subscriptions of R01b: what came over the wire and what it means.
type rawStream struct {
	chunks  [][]byte
	records [][]byte
	enc     Encoding
}

func recordedStreams(t *testing.T) []rawStream {
	t.Helper()
	b, err := os.ReadFile("testdata/01b-subscribe-protobuf.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var streams []rawStream
	for line := range strings.Lines(string(b)) {
		var e struct {
			Dir     string
			Headers header
			Body    struct {
				Chunk  string `json:"chunk_base64"`
				Record string `json:"base64"`
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Dir == "request" {
			streams = append(streams, rawStream{enc: Encoding(e.Headers["Accept"])})
			continue
		}
		s := &streams[len(streams)-1]
		for text, to := range map[string]*[][]byte{e.Body.Chunk: &s.chunks, e.Body.Record: &s.records} {
			if text == "" {
				continue
			}
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			*to = append(*to, raw)
		}
	}
	if len(streams) != 2 {
		t.Fatalf("%d streams recorded, expected 2", len(streams))
	}
	return streams
}

func readRecords(r io.Reader) ([][]byte, error) {
	var all [][]byte
	for d := newRecordReader(r); ; {
		rec, err := d.next()
		if errors.Is(err, io.EOF) && err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, rec)
	}
}

func TestRecordedBytes(t *testing.T) {
	for _, s := range recordedStreams(t) {
		wire := bytes.Join(s.chunks, nil)
		for name, r := range map[string]io.Reader{
			"at once": bytes.NewReader(wire), "byte by byte": iotest.OneByteReader(bytes.NewReader(wire)), "halves": iotest.HalfReader(bytes.NewReader(wire)),
		} {
			t.Run(string(s.enc)+" "+name, func(t *testing.T) {
				got, err := readRecords(r)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, s.records) {
					t.Errorf("records differ from the recorded ones:\n%q\n%q", got, s.records)
				}
			})
		}
	}
}

// Both encodings of the same events must come out as the same documents, ids apart.
func TestEncodingsAgree(t *testing.T) {
	var docs [2][]Doc
	for i, s := range recordedStreams(t) {
		for _, rec := range s.records {
			d, err := s.enc.decode(schedulerAPI, rec)
			if err != nil {
				t.Fatal(err)
			}
			docs[i] = append(docs[i], d)
		}
	}
	for i, d := range docs[0] {
		a, b := shape(d), shape(docs[1][i])
		if a != b {
			t.Errorf("event %d:\nprotobuf %s\nJSON     %s", i, a, b)
		}
	}
	sub := docs[0][0]
	if got := number(sub, "subscribed.heartbeat_interval_seconds"); got != 15 {
		t.Errorf("heartbeat interval %v", got)
	}
	if got := items(sub, "subscribed.master_info.capabilities"); len(got) != 3 {
		t.Errorf("capabilities %v: the unknown one (QUOTA_V2) must not break the decoding", got)
	}
}

// shape writes the field names of a document, not the values.
func shape(v any) string {
	switch x := v.(type) {
	case Doc:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k+":"+shape(x[k]))
		}
		return fmt.Sprint(sorted(keys))
	case []any:
		if len(x) == 0 {
			return "[]"
		}
		return "[" + shape(x[0]) + "]"
	}
	return "."
}

func TestBadRecords(t *testing.T) {
	for _, in := range []string{"x\n", "\n", "-1\n", "5\nabc", "12", "99999999999\n", "1 \na"} {
		if _, err := readRecords(strings.NewReader(in)); err == nil {
			t.Errorf("%q was read without an error", in)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte("3\nabc0\n1\nx"))
	f.Add([]byte("12"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		all, err := readRecords(bytes.NewReader(in))
		var out []byte
		for _, r := range all {
			out = fmt.Appendf(out, "%d\n%s", len(r), r)
		}
		again, _ := readRecords(bytes.NewReader(out))
		if !reflect.DeepEqual(all, again) {
			t.Errorf("%q was read as %q, which reads as %q", in, all, again)
		}
		if err == nil && len(out) > len(in) {
			t.Errorf("%q made %d bytes out of %d", in, len(out), len(in))
		}
	})
}
