package journal

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
	"time"
)

// FuzzReplay reads anything as a journal, and what it found once more from a journal
// written anew.
func FuzzReplay(f *testing.F) {
	seed := []byte(magic)
	for kind, e := range map[byte]Entry{
		kindBlock:   {Hash: "00ff", Height: 7, Finder: "rig", FoundAt: time.Unix(1e9, 0).UTC(), Raw: []byte("raw")},
		kindSettled: {Hash: "00fe"},
	} {
		b, err := encode(kind, e)
		if err != nil {
			f.Fatal(err)
		}
		seed = append(seed, b...)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Add([]byte(magic + "\x05\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := &Journal{pending: make(map[string]Entry)}
		read := func(j *Journal, data []byte) (found, error) {
			return j.replay(bytes.NewReader(data), int64(len(data)))
		}
		was, err := read(j, data)
		if err != nil {
			return
		}
		if was.whole > int64(len(data)) {
			t.Fatalf("%d of %d bytes are sound", was.whole, len(data))
		}
		again := &Journal{pending: make(map[string]Entry)}
		if !was.damaged {
			// The sound part alone says the same.
			if _, err := read(again, data[:was.whole]); err != nil || !reflect.DeepEqual(j.pending, again.pending) {
				t.Fatalf("the sound part reads differently: %v", err)
			}
		}
		written := []byte(magic)
		for _, hash := range j.order {
			b, err := encode(kindBlock, j.pending[hash])
			if err != nil {
				t.Fatal(err)
			}
			written = append(written, b...)
		}
		again = &Journal{pending: make(map[string]Entry)}
		if now, err := read(again, written); err != nil || now.spoilt || now.whole != int64(len(written)) {
			t.Fatalf("what was written anew is not sound: %v at %d of %d: %s", err, now.whole, len(written), hex.Dump(written))
		}
		if len(again.pending) != len(j.pending) {
			t.Fatalf("%d blocks, written anew %d", len(j.pending), len(again.pending))
		}
	})
}
