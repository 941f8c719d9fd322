package journal

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
)

// The file is a magic line and records: length of the body and CRC-32C of the body,
// 4 bytes little-endian each, then the body. The body is a kind byte followed by a
// JSON header with its length (4 bytes) before it, then the raw block.
const (
	magicName = "lode journal "
	magic     = magicName + "1\n"
	frameSize = 8
	// headSize is of what each record begins with: frame, kind, length of the header, and
	// the brace that begins that.
	headSize = frameSize + 6
	// maxBody bounds a record. The largest block that can be made of a node's template has
	// 12 MB: Bitcoin is not the only chain.
	maxBody = 64 << 20
)

const (
	kindBlock   = 1
	kindSettled = 2
)

// found is what replay has made of a file.
type found struct {
	whole   int64 // end of the last sound record before what is spoilt
	spoilt  bool  // something is
	damaged bool  // and sound records follow it, or the file does not begin as one
	foreign bool  // there is no sound record at all where it does not begin as one
}

// replay reads records into pending. It has one of them in memory at a time, besides the
// pending ones: most of a long journal is history.
func (j *Journal) replay(r io.ReaderAt, size int64) (f found, err error) {
	begin := make([]byte, min(size, int64(len(magic))))
	if err := readFull(r, begin, 0); err != nil {
		return f, err
	}
	at := int64(len(magic))
	switch {
	case string(begin) == magic:
		f.whole = at
	case size < at:
		return f, nil // a crash came before the first record
	case bytes.HasPrefix(begin, []byte(magicName)):
		return f, fmt.Errorf("its version is another one than this program reads (it begins with %.15q): move the file away, or use the program that wrote it", begin)
	default:
		f.spoilt, f.damaged, f.foreign, at = true, true, true, 0
	}
	for at < size {
		body, err := record(r, at, size)
		if err != nil {
			return f, err
		}
		if body != nil && j.apply(body) {
			f.foreign = false
			at += frameSize + int64(len(body))
			if !f.spoilt {
				f.whole = at
			}
			f.damaged = f.spoilt
			continue
		}
		f.spoilt = true
		if at, err = nextRecord(r, at+1, size); err != nil {
			return f, err
		}
	}
	return f, nil
}

// record returns the body of the record at a place; nil: there is no whole and sound one.
func record(r io.ReaderAt, at, size int64) ([]byte, error) {
	head := make([]byte, min(size-at, headSize))
	if err := readFull(r, head, at); err != nil {
		return nil, err
	}
	if !mayBegin(head, size-at) {
		return nil, nil
	}
	body := make([]byte, binary.LittleEndian.Uint32(head))
	if err := readFull(r, body, at+frameSize); err != nil {
		return nil, err
	}
	if crc32.Checksum(body, castagnoli()) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, nil
	}
	return body, nil
}

// mayBegin says whether a record may begin with head, and end within size: most of what is
// none is told from one so, without its checksum.
func mayBegin(head []byte, size int64) bool {
	if len(head) < headSize {
		return false
	}
	length, header := int64(binary.LittleEndian.Uint32(head)), int64(binary.LittleEndian.Uint32(head[9:]))
	kind := head[frameSize]
	return length <= min(maxBody, size-frameSize) && header <= length-5 &&
		(kind == kindBlock || kind == kindSettled) && head[headSize-1] == '{'
}

// nextRecord is where the next sound record begins, from a place on; size: there is none.
func nextRecord(r io.ReaderAt, at, size int64) (int64, error) {
	const step = 1 << 20
	for window := make([]byte, step+headSize-1); at < size; at += step {
		part := window[:min(size-at, int64(len(window)))]
		if err := readFull(r, part, at); err != nil {
			return 0, err
		}
		for i := range min(len(part), step) {
			place := at + int64(i)
			if !mayBegin(part[i:min(i+headSize, len(part))], size-place) {
				continue
			}
			if body, err := record(r, place, size); body != nil || err != nil {
				return place, err
			}
		}
	}
	return size, nil
}

// readFull fills b with what is at a place, all of which is there.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return cmp.Or(err, io.ErrUnexpectedEOF)
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// apply takes over a sound record; false if it makes no sense.
func (j *Journal) apply(body []byte) bool {
	kind, header, raw, ok := splitBody(body)
	if !ok {
		return false
	}
	var e Entry
	if json.Unmarshal(header, &e) != nil || e.Hash == "" {
		return false
	}
	switch kind {
	case kindBlock:
		if _, known := j.pending[e.Hash]; !known {
			e.Raw = raw
			j.pending[e.Hash] = e
			j.order = append(j.order, e.Hash)
		}
	case kindSettled:
		j.forget(e.Hash)
		j.settled++
	default:
		return false
	}
	return true
}

func splitBody(body []byte) (kind byte, header, raw []byte, ok bool) {
	if len(body) < 5 {
		return 0, nil, nil, false
	}
	length := binary.LittleEndian.Uint32(body[1:])
	if int64(length) > int64(len(body)-5) {
		return 0, nil, nil, false
	}
	return body[0], body[5 : 5+length], body[5+length:], true
}

func encode(kind byte, e Entry) ([]byte, error) {
	header, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	b := make([]byte, frameSize, frameSize+5+len(header)+len(e.Raw))
	b = append(b, kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	b = append(b, header...)
	if kind == kindBlock {
		b = append(b, e.Raw...)
	}
	body := b[frameSize:]
	if len(body) > maxBody {
		return nil, fmt.Errorf("record of %d bytes, at most %d", len(body), maxBody)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(body)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(body, castagnoli()))
	return b, nil
}
