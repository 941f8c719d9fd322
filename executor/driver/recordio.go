package driver

import (
	"bufio"
	"fmt"
	"io"
)

// maxRecord bounds one record, in bytes. The largest legitimate events are
// framework messages, which Lode keeps below 300 KiB, and SUBSCRIBED.
const maxRecord = 16 << 20

// records reads RecordIO: a record's length in decimal ASCII, a newline, the
// record. Borders of HTTP chunks mean nothing. (docs/recordio.md of Apache Mesos)
type records struct {
	r   *bufio.Reader
	buf []byte
}

func newRecords(r io.Reader) *records {
	return &records{r: bufio.NewReader(r)}
}

// next returns the next record, which is valid until the next call. The end
// between records is io.EOF, inside of one io.ErrUnexpectedEOF.
func (r *records) next() ([]byte, error) {
	size, err := r.size()
	if err != nil {
		return nil, err
	}
	// The buffer grows with what arrives, not with what was announced.
	r.buf = r.buf[:0]
	for len(r.buf) < size {
		n := min(size-len(r.buf), max(4096, cap(r.buf)-len(r.buf)))
		start := len(r.buf)
		r.buf = append(r.buf, make([]byte, n)...)
		if _, err := io.ReadFull(r.r, r.buf[start:]); err != nil {
			return nil, fmt.Errorf("record of %d bytes: %w", size, unexpected(err))
		}
	}
	return r.buf, nil
}

func (r *records) size() (int, error) {
	size := 0
	for digits := 0; ; digits++ {
		c, err := r.r.ReadByte()
		switch {
		case err != nil && digits == 0:
			return 0, err
		case err != nil:
			return 0, fmt.Errorf("length of a record: %w", unexpected(err))
		case c == '\n' && digits > 0:
			return size, nil
		case c < '0' || c > '9':
			return 0, fmt.Errorf("length of a record: byte %q where a digit was expected: this is no RecordIO", c)
		}
		if size = size*10 + int(c-'0'); size > maxRecord || digits > 20 {
			return 0, fmt.Errorf("a record of more than %d bytes", maxRecord)
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
