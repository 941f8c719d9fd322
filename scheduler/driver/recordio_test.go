package driver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFramesAtAnyBorder(t *testing.T) {
	records := []string{"a", "", strings.Repeat("b", 100_000), "\n\n", "c"}
	var stream bytes.Buffer
	for _, r := range records {
		fmt.Fprintf(&stream, "%d\n%s", len(r), r)
	}
	for name, r := range map[string]io.Reader{
		"whole":        bytes.NewReader(stream.Bytes()),
		"single bytes": iotest.OneByteReader(bytes.NewReader(stream.Bytes())),
		"halves":       iotest.HalfReader(bytes.NewReader(stream.Bytes())),
	} {
		frames := newFrameReader(r)
		for i, want := range records {
			got, err := frames.ReadFrame()
			if err != nil || string(got) != want {
				t.Fatalf("%s: record %d: %d bytes, %v", name, i, len(got), err)
			}
		}
		if _, err := frames.ReadFrame(); err != io.EOF {
			t.Fatalf("%s: %v at the end", name, err)
		}
	}
}

func TestBrokenFrames(t *testing.T) {
	for _, test := range []struct {
		in   string
		want error
	}{
		{"", io.EOF},
		{"12", io.ErrUnexpectedEOF},
		{"12\nabc", io.ErrUnexpectedEOF},
		{"\n", errFrame},
		{"x\n", errFrame},
		{"+1\na", errFrame},
		{"1 \na", errFrame},
		{"268435457\n", errFrame},
		{"99999999999999999999999999\n", errFrame},
		{"000000000000000000000000000001\na", errFrame},
	} {
		if _, err := newFrameReader(strings.NewReader(test.in)).ReadFrame(); !errors.Is(err, test.want) {
			t.Errorf("%q: %v, want %v", test.in, err, test.want)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("5\nhello0\n3\nabc"))
	f.Add([]byte("268435456\n"))
	f.Add([]byte("7\nshort"))
	f.Add([]byte("\n\n1"))
	f.Fuzz(func(t *testing.T, in []byte) {
		frames := newFrameReader(bytes.NewReader(in))
		var again bytes.Buffer
		for {
			frame, err := frames.ReadFrame()
			if err != nil {
				break
			}
			fmt.Fprintf(&again, "%d\n%s", len(frame), frame)
		}
		if again.Len() > len(in) {
			t.Errorf("%d bytes were read out of %d", again.Len(), len(in))
		}
	})
}
