package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"unicode/utf8"

	"lode/disk"
)

// The file: magic; for each ring the newest step (int64) and the number of series
// (uint32), for each series its name (uint8 length, bytes) and its values (float32);
// CRC-32C of all that. Little-endian.
const (
	magic   = "lode history 1\n"
	maxName = 100 // bytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Save writes the rings to a file, atomically.
func (r *Recorder) Save(path string) error {
	r.mu.Lock()
	b := r.encode()
	r.mu.Unlock()
	if err := disk.Replace(disk.OS, path, b); err != nil {
		return fmt.Errorf("save history: %w", err)
	}
	return nil
}

func (r *Recorder) encode() []byte {
	b := []byte(magic)
	for i := range r.rings {
		g := &r.rings[i]
		b = binary.LittleEndian.AppendUint64(b, uint64(g.newest))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(g.series)))
		for _, name := range slices.Sorted(maps.Keys(g.series)) {
			b = append(append(b, byte(len(name))), name...)
			for _, v := range g.series[name].values {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
			}
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Load reads what Save wrote; where there is no file the Recorder stays empty. A
// damaged file is an error, and leaves it empty too: history is no reason not to start.
func (r *Recorder) Load(path string) error {
	const limit = 64 << 20
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load history: %w", err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit))
	if err != nil {
		return fmt.Errorf("load history: %w", err)
	}
	fresh, err := decode(b)
	if err != nil {
		return fmt.Errorf("load history: %s: %w", path, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rings = fresh.rings
	return nil
}

var errDamaged = errors.New("the file is damaged")

func decode(b []byte) (*Recorder, error) {
	body, found := bytes.CutPrefix(b, []byte(magic))
	if !found {
		return nil, errors.New("it is no history of this version")
	}
	if len(body) < 4 || crc32.Checksum(b[:len(b)-4], castagnoli) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return nil, errDamaged
	}
	body = body[:len(body)-4]
	next := func(n int) []byte {
		if n > len(body) {
			body = nil
			return nil
		}
		taken := body[:n]
		body = body[n:]
		return taken
	}
	r := New()
	for i := range r.rings {
		g := &r.rings[i]
		head := next(12)
		if head == nil {
			return nil, errDamaged
		}
		newest := binary.LittleEndian.Uint64(head)
		count := binary.LittleEndian.Uint32(head[8:])
		if newest > math.MaxInt64/uint64(g.step) || count > MaxSeries {
			return nil, errDamaged
		}
		g.newest = int64(newest)
		for range count {
			length := next(1)
			if length == nil {
				return nil, errDamaged
			}
			name := next(int(length[0]))
			values := next(4 * int(g.slots))
			if len(name) == 0 || len(name) > maxName || !utf8.Valid(name) || values == nil {
				return nil, errDamaged
			}
			s := newSeries(g.slots)
			for j := range s.values {
				if v := math.Float32frombits(binary.LittleEndian.Uint32(values[4*j:])); !math.IsInf(float64(v), 0) {
					s.values[j] = v
				}
			}
			g.series[string(name)] = s
		}
	}
	if len(body) != 0 {
		return nil, errDamaged
	}
	return r, nil
}
