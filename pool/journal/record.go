package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// The file is a magic line and records: length of the body and CRC-32C of the body,
// 4 bytes little-endian each, then the body. The body is a kind byte followed by a
// JSON header with its length (4 bytes) before it, then the raw block.
const (
	magic     = "lode journal 1\n"
	frameSize = 8
	// maxBody bounds a record: the largest block is 4 MB of weight.
	maxBody = 8 << 20
)

const (
	kindBlock   = 1
	kindSettled = 2
)

// replay reads records into pending. whole is the end of the last sound record;
// damaged tells that records follow a spoilt one.
func (j *Journal) replay(data []byte) (whole int64, damaged bool, err error) {
	if len(data) < len(magic) || string(data[:len(magic)]) != magic {
		if len(data) >= len(magic) {
			return 0, false, errors.New("not a block journal of this version: move the file away")
		}
		return 0, false, nil
	}
	whole = int64(len(magic))
	for at := len(magic); at < len(data); {
		body, size := record(data[at:])
		if size > 0 && j.apply(body) {
			at += size
			if !damaged {
				whole = int64(at)
			}
			continue
		}
		// Look for the next sound record: if there is one, this was no torn tail.
		next := nextRecord(data[at+1:])
		if next < 0 {
			break
		}
		damaged = true
		at += 1 + next
	}
	return whole, damaged, nil
}

// record returns the body of the record that data begins with, and the record's
// size, 0 if there is no whole and sound one.
func record(data []byte) (body []byte, size int) {
	if len(data) < frameSize {
		return nil, 0
	}
	length := binary.LittleEndian.Uint32(data)
	if length == 0 || length > maxBody || int(length) > len(data)-frameSize {
		return nil, 0
	}
	body = data[frameSize : frameSize+int(length)]
	if crc32.Checksum(body, castagnoli()) != binary.LittleEndian.Uint32(data[4:]) {
		return nil, 0
	}
	return body, frameSize + int(length)
}

func nextRecord(data []byte) int {
	for at := range data {
		if _, size := record(data[at:]); size > 0 {
			return at
		}
	}
	return -1
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
			e.Raw = append([]byte(nil), raw...)
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
