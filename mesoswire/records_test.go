package mesoswire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRecords(t *testing.T) {
	const most = 200_000
	long := strings.Repeat("b", 100_000)
	for _, test := range []struct {
		name, in string
		want     []string
		err      error
	}{
		{"empty stream", "", nil, io.EOF},
		{"one", "3\nabc", []string{"abc"}, io.EOF},
		{"empty record", "0\n1\nx", []string{"", "x"}, io.EOF},
		{"leading zeros", "003\nabc", []string{"abc"}, io.EOF},
		{"newlines inside", "3\n\n\n\n2\nab", []string{"\n\n\n", "ab"}, io.EOF},
		{"longer than any buffer", "100000\n" + long + "1\nc", []string{long, "c"}, io.EOF},
		{"cut in the length", "12", nil, io.ErrUnexpectedEOF},
		{"cut in the record", "3\nabc5\nab", []string{"abc"}, io.ErrUnexpectedEOF},
		{"no length", "\nabc", nil, ErrRecord},
		{"negative length", "-1\na", nil, ErrRecord},
		{"positive length", "+1\na", nil, ErrRecord},
		{"length with a space", "1 \na", nil, ErrRecord},
		{"hex length", "a\n", nil, ErrRecord},
		{"HTML", "<html>", nil, ErrRecord},
		{"JSON without RecordIO", `{"type":"SUBSCRIBED"}`, nil, ErrRecord},
		{"too long", fmt.Sprint(most+1, "\n"), nil, ErrRecord},
		{"far too long", strings.Repeat("9", 30) + "\n", nil, ErrRecord},
		{"beyond 64 bits", "18446744073709551617\na", nil, ErrRecord},
		{"endless zeros", strings.Repeat("0", 100), nil, ErrRecord},
		{"huge record that does not come", fmt.Sprint(most, "\n"), nil, io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, in := range []io.Reader{
				strings.NewReader(test.in), iotest.OneByteReader(strings.NewReader(test.in)),
				iotest.HalfReader(strings.NewReader(test.in)), iotest.DataErrReader(strings.NewReader(test.in)),
			} {
				got, err := readAll(NewRecords(in, most))
				if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
					t.Errorf("%d records, want %d, or others", len(got), len(test.want))
				}
				if !errors.Is(err, test.err) || test.err == io.EOF && err != io.EOF {
					t.Errorf("ended with %v, want %v", err, test.err)
				}
			}
		})
	}
}

func readAll(r *Records) (records []string, err error) {
	for {
		record, err := r.Next()
		if err != nil {
			return records, err
		}
		records = append(records, string(record))
	}
}

func TestLengthAloneCostsNoMemory(t *testing.T) {
	r := NewRecords(strings.NewReader("268435456\nabc"), 256<<20)
	if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if cap(r.buf) > 1<<20 {
		t.Errorf("%d bytes for 3", cap(r.buf))
	}
}

func TestMemoryOfALongRecordIsGivenBack(t *testing.T) {
	r := NewRecords(strings.NewReader("5000000\n"+strings.Repeat("x", 5_000_000)+"1\na"), 256<<20)
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if cap(r.buf) > keptBuffer {
		t.Errorf("%d bytes are kept", cap(r.buf))
	}
}

func FuzzRecords(f *testing.F) {
	for _, seed := range []string{"5\nhello0\n3\nabc", "268435456\n", "7\nshort", "\n\n1", "-1\n", "00000000000000000000001\na"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		records, err := readAll(NewRecords(bytes.NewReader(in), 1<<20))
		if err == nil {
			t.Error("no end")
		}
		again := ""
		for _, r := range records {
			again += fmt.Sprintf("%d\n%s", len(r), r)
		}
		if len(again) > len(in) {
			t.Errorf("%d bytes were read out of %d", len(again), len(in))
		}
	})
}
