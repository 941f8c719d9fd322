package mesoswire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// ErrRecord says that a stream is not RecordIO, or has a record that is too long.
var ErrRecord = errors.New("bad RecordIO")

// Records reads RecordIO: the length in decimal digits, a newline, and that many
// bytes. Borders of HTTP chunks mean nothing. (docs/recordio.md)
type Records struct {
	r    *bufio.Reader
	most int
	buf  []byte
}

// keptBuffer is how much memory is kept for the next record, in bytes.
const keptBuffer = 1 << 20

// NewRecords reads from r. No record may have more than most bytes.
func NewRecords(r io.Reader, most int) *Records {
	return &Records{r: bufio.NewReaderSize(r, 64<<10), most: most}
}

// Next returns the next record, which is valid until the next call. The end between
// records is io.EOF, within a record io.ErrUnexpectedEOF.
func (r *Records) Next() ([]byte, error) {
	if cap(r.buf) > keptBuffer {
		r.buf = nil
	}
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	// The buffer grows with what arrives: a length alone must not cost memory.
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		start := len(r.buf)
		chunk := min(n-start, max(4<<10, cap(r.buf)-start, start))
		r.buf = append(r.buf, make([]byte, chunk)...)
		if _, err := io.ReadFull(r.r, r.buf[start:]); err != nil {
			return nil, fmt.Errorf("record of %d bytes: %w", n, unexpected(err))
		}
	}
	return r.buf, nil
}

func (r *Records) length() (int, error) {
	n := 0
	for digits := 0; ; digits++ {
		b, err := r.r.ReadByte()
		switch {
		case err != nil && digits == 0:
			return 0, err
		case err != nil:
			return 0, fmt.Errorf("length of a record: %w", unexpected(err))
		case b == '\n' && digits > 0:
			return n, nil
		case b < '0' || b > '9':
			return 0, fmt.Errorf("%w: byte %q in the length of a record, where a digit was expected", ErrRecord, b)
		}
		if n = 10*n + int(b-'0'); n > r.most || digits >= 20 {
			return 0, fmt.Errorf("%w: a record of more than %d bytes", ErrRecord, r.most)
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
