package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A log begins with magic. Records follow, each a header and a body:
//
//	length of the body   uint32
//	number of the record uint64, one more than that of the one before
//	CRC-32C of the body  uint32
//	CRC-32C of the above uint32
//
// all little-endian. A body is changes, of which each is: length of the key, the key,
// length of the value plus one or 0 for a deletion, the value; lengths as varints.
// A record is there as a whole or not at all.
const (
	magicName  = "lode scheduler state "
	magic      = magicName + "2\n"
	headerSize = 20
	// splitBody is about how long a body gets when a whole state is written.
	splitBody = 1 << 20
	maxBody   = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecords appends changes as one record or, for a whole state that becomes
// visible at once anyway (number 0), as several.
func appendRecords(b []byte, changes map[string][]byte, number uint64) ([]byte, uint64) {
	split := number == 0
	start := len(b)
	b = append(b, make([]byte, headerSize)...)
	for _, key := range sortedKeys(changes) {
		if split && len(b)-start > splitBody {
			seal(b[start:], number)
			number++
			start = len(b)
			b = append(b, make([]byte, headerSize)...)
		}
		b = appendChanges(b, changes, []string{key})
	}
	seal(b[start:], number)
	return b, number + 1
}

// appendChanges appends what becomes of keys.
func appendChanges(b []byte, changes map[string][]byte, keys []string) []byte {
	for _, key := range keys {
		value := changes[key]
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		if value == nil {
			b = binary.AppendUvarint(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(value))+1)
		b = append(b, value...)
	}
	return b
}

func seal(record []byte, number uint64) {
	body := record[headerSize:]
	binary.LittleEndian.PutUint32(record, uint32(len(body)))
	binary.LittleEndian.PutUint64(record[4:], number)
	binary.LittleEndian.PutUint32(record[12:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(record[16:], crc32.Checksum(record[:16], castagnoli))
}

// unseal returns the body of the record that b begins with and its number; nil: there
// is no sound record.
func unseal(b []byte) (body []byte, number uint64) {
	if len(b) < headerSize || crc32.Checksum(b[:16], castagnoli) != binary.LittleEndian.Uint32(b[16:]) {
		return nil, 0
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n > maxBody || n > int64(len(b)-headerSize) {
		return nil, 0
	}
	body = b[headerSize : headerSize+n : headerSize+n]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[12:]) {
		return nil, 0
	}
	return body, binary.LittleEndian.Uint64(b[4:])
}

// replay reads a log. What a crash tore at its end is left out: nobody was promised
// that. Anything else that is not as it was written is an error, for to go on with
// part of the state would lose track of running tasks.
func (s *Store) replay(b []byte) error {
	if !bytes.HasPrefix(b, []byte(magic)) {
		if line, _, ok := bytes.Cut(b, []byte("\n")); ok && bytes.HasPrefix(line, []byte(magicName)) {
			return fmt.Errorf("its version is %q, this program reads 2: it was written by a newer one", line[len(magicName):])
		}
		return fmt.Errorf("%w: it does not begin with %q", ErrDamaged, magic[:len(magic)-1])
	}
	s.values = make(map[string][]byte)
	at := len(magic)
	for at < len(b) {
		body, number := unseal(b[at:])
		if body == nil {
			if later(b[at+1:], s.next) {
				return fmt.Errorf("%w: the record at byte %d is spoilt, and sound ones follow", ErrDamaged, at)
			}
			break
		}
		if number != s.next {
			return fmt.Errorf("%w: record %d at byte %d, where %d was expected", ErrDamaged, number, at, s.next)
		}
		if err := takeChanges(s.values, body); err != nil {
			return fmt.Errorf("%w: record %d: %w", ErrDamaged, number, err)
		}
		at += headerSize + len(body)
		s.next++
	}
	if s.next == 0 {
		return fmt.Errorf("%w: it has no record", ErrDamaged) // Apply writes a whole state first
	}
	s.size, s.torn, s.cut = int64(at), at < len(b), int64(len(b)-at)
	s.live = weight(s.values)
	s.shorten = max(leastLog, 4*s.live)
	return nil
}

// later says whether there is a sound record in b that belongs behind number.
func later(b []byte, number uint64) bool {
	for at := range b {
		if body, n := unseal(b[at:]); body != nil && n > number {
			return true
		}
	}
	return false
}

var errBody = errors.New("its body makes no sense")

// takeChanges does to values what a body says.
func takeChanges(values map[string][]byte, body []byte) error {
	for len(body) > 0 {
		n, used := binary.Uvarint(body)
		if used <= 0 || n > uint64(len(body)-used) {
			return errBody
		}
		key := string(body[used : used+int(n)])
		body = body[used+int(n):]
		n, used = binary.Uvarint(body)
		if used <= 0 || n > uint64(len(body)-used)+1 {
			return errBody
		}
		body = body[used:]
		if n == 0 {
			delete(values, key)
			continue
		}
		values[key] = bytes.Clone(body[:n-1])
		body = body[n-1:]
	}
	return nil
}
