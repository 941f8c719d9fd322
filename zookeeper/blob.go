package zookeeper

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/go-zookeeper/zk"
)

// Below the path of an election is also:
//
//	blobs/NAME               its size and SHA-256, as JSON
//	blobs/NAME/0000000003    a piece of it
//
// It is complete when all pieces are there; a name is of one content for ever.
const (
	blobsNode = "blobs"
	// mostBlobs bounds all blobs together, in bytes: every server of ZooKeeper has all
	// of them in memory.
	mostBlobs = 64 << 20
)

type blob struct {
	Size   int64  `json:"size"`
	Pieces int    `json:"pieces"`
	Sum    string `json:"sha256"`

	whole bool
}

func (l *Log) blobPath(name string) string { return path.Join(l.root, blobsNode, name) }

func (l *Log) openBlobs() error {
	names, err := l.tree.children(path.Join(l.root, blobsNode))
	if err != nil {
		return err
	}
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = l.blobPath(name)
	}
	heads, err := l.readAll(paths)
	if err != nil {
		return err
	}
	l.blobs = make(map[string]blob, len(names))
	for i, name := range names {
		var b blob
		if err := json.Unmarshal(heads[i], &b); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, paths[i], err)
		}
		l.blobs[name] = b
	}
	return nil
}

// SaveBlob stores data under a name that no other data ever has. When it returns nil
// that is for good.
func (l *Log) SaveBlob(name string, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := sha256.Sum256(data)
	b := blob{Size: int64(len(data)), Pieces: (len(data) + l.piece - 1) / l.piece, Sum: hex.EncodeToString(sum[:])}
	known, there := l.blobs[name]
	switch {
	case there && known.Sum != b.Sum:
		return fmt.Errorf("blob %s is there with other content", name)
	case known.whole:
		return nil
	}
	if err := l.settle(); err != nil {
		return err
	}
	total := b.Size
	for other, o := range l.blobs {
		if other != name {
			total += o.Size
		}
	}
	if total > mostBlobs {
		return fmt.Errorf("blob of %d bytes: ZooKeeper would hold %d bytes of them, more than %d", b.Size, total, mostBlobs)
	}
	head, err := json.Marshal(b)
	if err != nil {
		return err
	}
	l.blobs[name] = b // as far as anybody knows
	ops := []any{&zk.CreateRequest{Path: l.blobPath(name), Data: head, Acl: l.acl}}
	for i := 0; ; i++ {
		if err := l.write(ops...); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
		if len(data) == 0 {
			break
		}
		n := min(len(data), l.piece)
		ops = []any{&zk.CreateRequest{Path: path.Join(l.blobPath(name), fmt.Sprintf("%010d", i)), Data: data[:n], Acl: l.acl}}
		data = data[n:]
	}
	b.whole = true
	l.blobs[name] = b
	return nil
}

// LoadBlob returns what was stored under a name.
func (l *Log) LoadBlob(name string) ([]byte, error) {
	l.mu.Lock()
	b, there := l.blobs[name]
	l.mu.Unlock()
	if !there {
		return nil, fmt.Errorf("there is no blob %s", name)
	}
	paths := make([]string, b.Pieces)
	for i := range paths {
		paths[i] = path.Join(l.blobPath(name), fmt.Sprintf("%010d", i))
	}
	pieces, err := l.readAll(paths)
	if err != nil {
		return nil, err
	}
	data := bytes.Join(pieces, nil)
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != b.Sum {
		return nil, fmt.Errorf("%w: blob %s is not what was stored", ErrDamaged, name)
	}
	return data, nil
}

// DropBlob deletes a blob; it is no error if there is none.
func (l *Log) DropBlob(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, there := l.blobs[name]
	if !there {
		return nil
	}
	if err := l.settle(); err != nil {
		return err
	}
	b.whole = false
	l.blobs[name] = b
	if err := l.clear(l.blobPath(name)); err != nil {
		return err
	}
	delete(l.blobs, name)
	return nil
}

// Blobs are the names of what is stored, or was begun to be.
func (l *Log) Blobs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.blobs))
}
