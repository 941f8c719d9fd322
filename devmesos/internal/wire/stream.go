package wire

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gogo/protobuf/proto"
)

// The bounds of a stream: a reader that is this far behind, or takes this long to
// take one record, is cut off instead of being felt by others.
const (
	maxQueued = 64 << 20 // bytes
	maxWrite  = 30 * time.Second
)

// ErrStreamClosed is returned for records that come after the end.
var ErrStreamClosed = errors.New("stream is closed")

// Stream is an HTTP answer without end: a sequence of RecordIO records, each written
// as one chunk (docs/recordio.md of Mesos). Send never blocks; Serve writes.
type Stream struct {
	codec Codec
	wake  chan struct{} // has room for one: there is something to do
	done  chan struct{} // closed when Serve has returned

	mu      sync.Mutex
	queue   [][]byte
	queued  int // bytes in queue
	ending  ending
	framing Framing
}

type ending int

const (
	open    ending = iota
	closing        // end properly when the queue is empty
	aborted        // break the connection at once
)

// Framing is how records are laid out in chunks. Clients must not care.
type Framing int

// The framings. Real masters and agents use Plain.
const (
	Plain  Framing = iota // one record, one chunk
	Split                 // a record is spread over several small chunks
	Joined                // several records share a chunk where possible
	Mute                  // nothing is written any more, the connection stays (half open)
)

// NewStream makes a stream; Serve runs it.
func NewStream(codec Codec) *Stream {
	return &Stream{codec: codec, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// Send queues a message. It fails with ErrStreamClosed if the stream has ended, and
// ends it if its reader is too far behind.
func (s *Stream) Send(m proto.Message) error {
	b, err := s.codec.Marshal(m)
	if err != nil {
		return err
	}
	return s.SendRecord(b)
}

// SendRecord queues the bytes of one record, whatever they are.
func (s *Stream) SendRecord(record []byte) error {
	framed := strconv.AppendInt(make([]byte, 0, len(record)+8), int64(len(record)), 10)
	framed = append(append(framed, '\n'), record...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending != open {
		return ErrStreamClosed
	}
	if s.framing == Mute {
		return nil
	}
	if s.queued+len(framed) > maxQueued {
		s.endLocked(aborted)
		return ErrStreamClosed
	}
	s.queue = append(s.queue, framed)
	s.queued += len(framed)
	s.wakeLocked()
	return nil
}

// Codec is the encoding of the records.
func (s *Stream) Codec() Codec { return s.codec }

// SetFraming changes how what follows is written.
func (s *Stream) SetFraming(f Framing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.framing = f
	if f == Mute {
		s.queue, s.queued = nil, 0
	}
}

// Close ends the stream properly once everything queued has been written.
func (s *Stream) Close() { s.end(closing) }

// Abort breaks the connection without the end of the chunked coding.
func (s *Stream) Abort() { s.end(aborted) }

// Done is closed when the stream has ended and Serve is about to return.
func (s *Stream) Done() <-chan struct{} { return s.done }

func (s *Stream) end(e ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(e)
}

func (s *Stream) endLocked(e ending) {
	s.ending = max(s.ending, e)
	s.wakeLocked()
}

func (s *Stream) wakeLocked() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Serve answers a request with the stream and returns when the stream or the client
// has ended. Headers that were set on w before go out with it. If the stream was
// aborted it panics with http.ErrAbortHandler, which net/http understands.
func (s *Stream) Serve(w http.ResponseWriter, r *http.Request) {
	defer close(s.done)
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", s.codec.mediaType)
	w.WriteHeader(http.StatusOK)
	if control.Flush() != nil {
		s.end(aborted)
		return
	}
	for {
		chunk, ended := s.next()
		switch {
		case ended == aborted:
			panic(http.ErrAbortHandler)
		case chunk != nil:
			if s.write(w, control, chunk) != nil {
				s.end(aborted)
				return
			}
		case ended == closing:
			extendDeadline(control) //nolint:errcheck // net/http writes the end and meets the error itself
			return
		default:
			select {
			case <-s.wake:
			case <-r.Context().Done():
				s.end(aborted)
				return
			}
		}
	}
}

// next takes what is to be written in one go.
func (s *Stream) next() ([][]byte, ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.framing == Mute && s.ending == closing:
		return nil, open // whoever reads a half-open connection never sees its end
	case s.ending == aborted || len(s.queue) == 0:
		return nil, s.ending
	}
	framing := s.framing
	if framing == Joined {
		var joined []byte
		for _, record := range s.queue {
			joined = append(joined, record...)
		}
		s.queue, s.queued = nil, 0
		return [][]byte{joined}, open
	}
	record := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	s.queued -= len(record)
	if framing == Split {
		return pieces(record), open
	}
	return [][]byte{record}, open
}

// pieces cuts a record at odd places: in the length, behind it, and in the middle.
func pieces(record []byte) [][]byte {
	var cut [][]byte
	for size := 1; len(record) > 0; size = size*2 + 1 {
		n := min(size, len(record))
		cut = append(cut, record[:n])
		record = record[n:]
	}
	return cut
}

func (s *Stream) write(w http.ResponseWriter, control *http.ResponseController, chunks [][]byte) error {
	for _, chunk := range chunks {
		if err := extendDeadline(control); err != nil {
			return err
		}
		if _, err := w.Write(chunk); err != nil {
			return err
		}
		if err := control.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func extendDeadline(control *http.ResponseController) error {
	err := control.SetWriteDeadline(time.Now().Add(maxWrite))
	if errors.Is(err, http.ErrNotSupported) {
		return nil // a recorder in a test
	}
	return err
}
