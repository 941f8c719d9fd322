package driver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mesos/mesos-go/api/v1/lib/executor"
	"pgregory.net/rapid"
)

func TestRecords(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
		err      string // "": io.EOF
	}{
		{"empty stream", "", nil, ""},
		{"one", "3\nabc", []string{"abc"}, ""},
		{"empty record", "0\n1\nx", []string{"", "x"}, ""},
		{"leading zeros", "003\nabc", []string{"abc"}, ""},
		{"newlines inside", "3\n\n\n\n2\nab", []string{"\n\n\n", "ab"}, ""},
		{"cut in the length", "12", nil, "unexpected EOF"},
		{"cut in the record", "3\nabc5\nab", []string{"abc"}, "unexpected EOF"},
		{"no length", "\nabc", nil, "digit was expected"},
		{"negative length", "-1\na", nil, "digit was expected"},
		{"hex length", "a\n", nil, "digit was expected"},
		{"HTML", "<html>", nil, "digit was expected"},
		{"too long", fmt.Sprint(maxRecord+1, "\n"), nil, "more than"},
		{"far too long", strings.Repeat("9", 30) + "\n", nil, "more than"},
		{"endless zeros", strings.Repeat("0", 100), nil, "more than"},
		{"huge record that does not come", fmt.Sprint(maxRecord, "\n"), nil, "unexpected EOF"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range []io.Reader{
				strings.NewReader(test.in), iotest.OneByteReader(strings.NewReader(test.in)), iotest.DataErrReader(strings.NewReader(test.in)),
			} {
				records := newRecords(r)
				var got []string
				var err error
				for {
					var record []byte
					if record, err = records.next(); err != nil {
						break
					}
					got = append(got, string(record))
				}
				if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
					t.Errorf("%q, expected %q", got, test.want)
				}
				if test.err == "" && err != io.EOF || test.err != "" && !strings.Contains(err.Error(), test.err) {
					t.Errorf("ended with %v, expected %q", err, test.err)
				}
			}
		})
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 20000)).Draw(t, "records")
		var stream bytes.Buffer
		for _, record := range want {
			fmt.Fprintf(&stream, "%d\n%s", len(record), record)
		}
		records := newRecords(iotest.HalfReader(&stream))
		for i, record := range want {
			got, err := records.next()
			if err != nil || !bytes.Equal(got, record) {
				t.Fatalf("record %d: %d bytes, %v; expected %d bytes", i, len(got), err, len(record))
			}
		}
		if _, err := records.next(); err != io.EOF {
			t.Fatal(err)
		}
	})
}

func FuzzStream(f *testing.F) {
	for _, e := range []*executor.Event{
		{Type: executor.Event_HEARTBEAT},
		{Type: executor.Event_MESSAGE, Message: &executor.Event_Message{Data: []byte("x")}},
		{Type: executor.Event_LAUNCH, Launch: &executor.Event_Launch{Task: launched("a")}},
		{Type: 99},
	} {
		record, err := e.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(fmt.Appendf(nil, "%d\n%s", len(record), record))
	}
	f.Add([]byte("5\nab"))
	f.Add([]byte("18446744073709551616\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := newRecorder()
		d, err := New(testConfig(roundTripper(nil)), h)
		if err != nil {
			t.Fatal(err)
		}
		s := &stream{records: newRecords(bytes.NewReader(data))}
		for {
			event, err := s.next()
			var bad *eventError
			switch {
			case errors.As(err, &bad):
				continue
			case err != nil || event.LaunchGroup != nil && len(event.LaunchGroup.TaskGroup.Tasks) > cap(h.events):
				return
			}
			d.dispatch(event)
			for len(h.events) > 0 {
				<-h.events
			}
		}
	})
}
