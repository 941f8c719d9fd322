package zookeeper

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"lode/scheduler/store"
)

func always() fate { return fine }

func openFake(t interface {
	Helper()
	Fatal(...any)
}, s *fakeServer, term int,
) (*Log, *fakeTree) {
	t.Helper()
	tree := &fakeTree{server: s, term: term, fate: always}
	l, err := openLog(tree, "/lode", nil)
	if err != nil {
		t.Fatal(err)
	}
	return l, tree
}

func TestLog(t *testing.T) {
	s := newFakeServer()
	l, _ := openFake(t, s, 0)
	if records, err := l.Records(); err != nil || len(records) != 0 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if l.Append([]byte("a")) == nil {
		t.Error("appended to nothing")
	}
	large := bytes.Repeat([]byte("large"), pieceSize)
	want := [][]byte{[]byte("first"), large, {}, []byte("last")}
	if err := l.Replace(want[:2]); err != nil {
		t.Fatal(err)
	}
	for _, record := range want[2:] {
		if err := l.Append(record); err != nil {
			t.Fatal(err)
		}
	}
	same := func(l *Log, want [][]byte) {
		t.Helper()
		got, err := l.Records()
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d records, want %d: %v", len(got), len(want), err)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("record %d has %d bytes, want %d", i, len(got[i]), len(want[i]))
			}
		}
	}
	same(l, want)
	again, _ := openFake(t, s, 0)
	same(again, want)
	if nodes, size := again.Extent(); nodes != 9 || size < int64(len(large)) {
		t.Errorf("%d nodes, %d bytes", nodes, size)
	}
	for name, n := range s.nodes {
		if len(n.data) > pieceSize {
			t.Errorf("%s has %d bytes", name, len(n.data))
		}
	}
	if err := again.Replace([][]byte{[]byte("short")}); err != nil {
		t.Fatal(err)
	}
	same(again, [][]byte{[]byte("short")})
	for name := range s.nodes {
		if strings.HasPrefix(name, "/lode/log/0000000001") {
			t.Errorf("%s is left", name)
		}
	}
}

func TestLogOfAFormerTerm(t *testing.T) {
	s := newFakeServer()
	former, _ := openFake(t, s, 0)
	if err := former.Replace([][]byte{[]byte("a")}); err != nil {
		t.Fatal(err)
	}
	if err := former.SaveBlob("known", []byte("b")); err != nil {
		t.Fatal(err)
	}
	s.term = 1 // another one was elected
	now, _ := openFake(t, s, 1)
	for what, err := range map[string]error{
		"append": former.Append([]byte("b")), "replace": former.Replace([][]byte{[]byte("b")}),
		"save": former.SaveBlob("x", []byte("b")), "drop": former.DropBlob("known"),
	} {
		if !errors.Is(err, ErrDeposed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if records, err := now.Records(); err != nil || len(records) != 1 || string(records[0]) != "a" {
		t.Errorf("%q, %v", records, err)
	}
}

func TestDamagedLogIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*fakeServer){
		"a piece is gone":      func(s *fakeServer) { delete(s.nodes, "/lode/log/0000000001/0000000001") },
		"a piece is strange":   func(s *fakeServer) { s.nodes["/lode/log/0000000001/0000000001"].data = []byte{7} },
		"a piece is empty":     func(s *fakeServer) { s.nodes["/lode/log/0000000001/0000000001"].data = nil },
		"the generation is":    func(s *fakeServer) { s.nodes["/lode/log"].data = []byte(`{"format":1,"generation":9}`) },
		"the pointer is":       func(s *fakeServer) { s.nodes["/lode/log"].data = []byte("garbage") },
		"a stranger's in it":   func(s *fakeServer) { s.nodes["/lode/log/0000000001/x"] = &fakeNode{} },
		"it is of a newer one": func(s *fakeServer) { s.nodes["/lode/log"].data = []byte(`{"format":2}`) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeServer()
			l, _ := openFake(t, s, 0)
			if err := l.Replace([][]byte{[]byte("a"), []byte("b"), []byte("c")}); err != nil {
				t.Fatal(err)
			}
			spoil(s)
			l, err := openLog(&fakeTree{server: s, fate: always}, "/lode", nil)
			if err == nil {
				_, err = l.Records()
			}
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestBlobs(t *testing.T) {
	s := newFakeServer()
	l, tree := openFake(t, s, 0)
	large := bytes.Repeat([]byte("block"), pieceSize)
	n := 0
	tree.fate = func() fate {
		if n++; n == 3 {
			return unknown
		}
		return fine
	}
	if l.SaveBlob("x", large) == nil {
		t.Fatal("the connection was cut")
	}
	if _, err := l.LoadBlob("x"); err == nil {
		t.Error("half a blob is one")
	}
	for range 2 {
		if err := l.SaveBlob("x", large); err != nil {
			t.Fatal(err)
		}
	}
	if l.SaveBlob("x", []byte("other")) == nil {
		t.Error("other content has the same name")
	}
	if err := l.SaveBlob("empty", nil); err != nil {
		t.Error(err)
	}
	l, _ = openFake(t, s, 0)
	if b, err := l.LoadBlob("x"); err != nil || !bytes.Equal(b, large) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if b, err := l.LoadBlob("empty"); err != nil || len(b) != 0 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if err := l.SaveBlob("y", make([]byte, mostBlobs)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too much: %v", err)
	}
	s.nodes["/lode/blobs/x/0000000002"].data[0]++
	if _, err := l.LoadBlob("x"); !errors.Is(err, ErrDamaged) {
		t.Errorf("spoilt: %v", err)
	}
	if err := errors.Join(l.DropBlob("x"), l.DropBlob("x"), l.DropBlob("never")); err != nil {
		t.Error(err)
	}
	if _, err := l.LoadBlob("x"); err == nil || len(l.Blobs()) != 1 {
		t.Errorf("%v, %v", err, l.Blobs())
	}
}

// Whatever request fails, happens though it fails, or happens later, whoever takes over
// between any two of them: what was called stored is there, and nothing else is but
// what an attempt asked for.
func TestStoreSurvivesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newFakeServer()
		trouble := rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "trouble") // in 20
		calm := false
		fates := func() fate {
			if calm {
				return fine
			}
			if rapid.IntRange(1, 20).Draw(t, "dice") > trouble {
				return fine
			}
			return rapid.SampledFrom([]fate{lost, unknown, late, late}).Draw(t, "fate")
		}
		var r *store.Remote
		var tree *fakeTree
		stored := map[string]string{} // for certain
		// pending are attempts of which nobody knows, each with all of those before.
		var pending []map[string][]byte
		blobs := map[string]string{}
		with := func(changes map[string][]byte) map[string]string {
			m := maps.Clone(stored)
			for k, v := range changes {
				if m[k] = string(v); v == nil {
					delete(m, k)
				}
			}
			return m
		}
		start := func() {
			tree = &fakeTree{server: s, term: s.term, fate: fates}
			small := func(l *Log) { l.piece, l.readers = 16, 1 }
			l, err := openLog(tree, "/lode", nil, small)
			for err != nil {
				if !errors.Is(err, errCut) {
					t.Fatalf("open: %v", err)
				}
				l, err = openLog(tree, "/lode", nil, small)
			}
			r, err = store.OpenRemote(l)
			for err != nil {
				if !errors.Is(err, errCut) {
					t.Fatalf("read: %v", err)
				}
				r, err = store.OpenRemote(l)
			}
			values, err := r.Load()
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string, len(values))
			for k, v := range values {
				got[k] = string(v)
			}
			ok := maps.Equal(got, stored)
			for _, p := range pending {
				ok = ok || maps.Equal(got, with(p))
			}
			if !ok {
				t.Fatalf("state is %s, want %s or one of the attempts %v", short(got), short(stored), pending)
			}
			stored, pending = got, nil
			for hash, content := range blobs {
				b, err := r.LoadBlock(hash)
				for err != nil && errors.Is(err, errCut) {
					b, err = r.LoadBlock(hash)
				}
				if err != nil || string(b) != content {
					t.Fatalf("block %s: %d bytes, %v", hash[:4], len(b), err)
				}
			}
		}
		start()
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				changes := map[string][]byte{}
				if len(pending) > 0 {
					changes = maps.Clone(pending[len(pending)-1])
				}
				for range rapid.IntRange(1, 4).Draw(t, "n") {
					key := rapid.SampledFrom([]string{"head", "task/a", "task/b", "task/c"}).Draw(t, "key")
					changes[key] = nil
					if rapid.IntRange(0, 3).Draw(t, "delete") > 0 {
						size := rapid.SampledFrom([]int{1, 10, 16, 50}).Draw(t, "size")
						changes[key] = bytes.Repeat([]byte{byte(rapid.IntRange(1, 200).Draw(t, "value"))}, size)
					}
				}
				err := r.Apply(maps.Clone(changes))
				switch {
				case err == nil:
					stored, pending = with(changes), nil
				case errors.Is(err, ErrDeposed):
					t.Fatal("deposed by nobody")
				default:
					pending = append(pending, changes)
				}
			},
			"when all is well again it is stored": func(t *rapid.T) {
				if len(pending) == 0 {
					t.Skip("it is")
				}
				changes := map[string][]byte{"head": []byte("again")}
				for key, value := range pending[len(pending)-1] {
					changes[key] = value[:min(len(value), 10)]
				}
				calm = true
				defer func() { calm = false }()
				if err := r.Apply(changes); err != nil {
					if err := r.Apply(changes); err != nil { // what was late may have come between
						t.Fatalf("not stored: %v", err)
					}
				}
				stored, pending = with(changes), nil
				tree.arrive()
				start()
			},
			"save": func(t *rapid.T) {
				hash := fmt.Sprintf("%064x", rapid.IntRange(1, 3).Draw(t, "block"))
				content := strings.Repeat(hash, rapid.SampledFrom([]int{1, 3}).Draw(t, "size"))
				if known := blobs[hash]; known != "" {
					content = known
				}
				if r.SaveBlock(hash, []byte(content)) == nil {
					blobs[hash] = content
				}
			},
			"drop": func(t *rapid.T) {
				hash := fmt.Sprintf("%064x", rapid.IntRange(1, 3).Draw(t, "block"))
				if r.DropBlock(hash); blobs[hash] != "" { // or half of it
					delete(blobs, hash)
				}
			},
			"what was late arrives": func(*rapid.T) { tree.arrive() },
			"another takes over": func(t *rapid.T) {
				former := tree
				s.mu.Lock()
				s.term++
				s.mu.Unlock()
				if err := r.Apply(map[string][]byte{"head": []byte("of a former leader")}); err == nil {
					t.Fatal("a former leader has stored something")
				}
				start()
				former.arrive() // which changes nothing
			},
			"a crash, and the same again": func(*rapid.T) {
				former := tree
				s.mu.Lock()
				s.term++
				s.mu.Unlock()
				former.arrive()
				start()
			},
		})
	})
}

func short(m map[string]string) string {
	var b strings.Builder
	for k, v := range m {
		fmt.Fprintf(&b, "%s=%.3q(%d) ", k, v, len(v))
	}
	return b.String()
}
