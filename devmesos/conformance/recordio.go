package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// maxRecord bounds one record. Mesos knows no limit; offers of a very large
// cluster stay far below this one.
const maxRecord = 64 << 20

// recordReader splits a byte stream into RecordIO records: the length in decimal ASCII,
// a newline, and that many bytes (Mesos docs, recordio.md).
type recordReader struct{ r *bufio.Reader }

func newRecordReader(r io.Reader) *recordReader { return &recordReader{bufio.NewReader(r)} }

// next returns the next record; io.EOF at a record border, io.ErrUnexpectedEOF inside.
func (d *recordReader) next() ([]byte, error) {
	n, digits := 0, 0
	for {
		b, err := d.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) && digits > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if b == '\n' && digits > 0 {
			break
		}
		if b < '0' || b > '9' {
			return nil, fmt.Errorf("RecordIO: %q where a decimal length was expected", b)
		}
		n = n*10 + int(b-'0')
		if digits++; n > maxRecord {
			return nil, fmt.Errorf("RecordIO: record of more than %d bytes", maxRecord)
		}
	}
	rec := make([]byte, n)
	if _, err := io.ReadFull(d.r, rec); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return rec, nil
}
