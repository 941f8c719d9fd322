package driver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// maxFrame bounds one record, in bytes. mesos-go's reader stops at 4 MiB, which the
// OFFERS event of a cluster with some thousand agents exceeds.
const maxFrame = 256 << 20

// errFrame says that a stream is not RecordIO.
var errFrame = errors.New("bad RecordIO frame")

// frameReader reads RecordIO: the length in decimal, a newline, and that many bytes
// (docs/recordio.md). It implements mesos-go's framing.Reader.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// ReadFrame returns the next record, which is valid until the next call. At the end
// of the stream it returns io.EOF, within a record io.ErrUnexpectedEOF.
func (f *frameReader) ReadFrame() ([]byte, error) {
	n, err := f.length()
	if err != nil {
		return nil, err
	}
	// The buffer grows with what arrives: a length alone must not cost memory.
	f.buf = f.buf[:0]
	for len(f.buf) < n {
		chunk := min(n-len(f.buf), max(64<<10, len(f.buf)))
		start := len(f.buf)
		f.buf = append(f.buf, make([]byte, chunk)...)
		if _, err := io.ReadFull(f.r, f.buf[start:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return f.buf, nil
}

func (f *frameReader) length() (int, error) {
	n, digits := 0, 0
	for {
		b, err := f.r.ReadByte()
		switch {
		case err != nil:
			if errors.Is(err, io.EOF) && digits > 0 {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		case b == '\n' && digits > 0:
			return n, nil
		case b < '0' || b > '9':
			return 0, fmt.Errorf("%w: byte %q in its length", errFrame, b)
		}
		digits++
		n = 10*n + int(b-'0')
		if n > maxFrame || digits > 20 {
			return 0, fmt.Errorf("%w: longer than %d bytes", errFrame, maxFrame)
		}
	}
}
