package zookeeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"sync"

	"github.com/go-zookeeper/zk"
)

// Below the path of an election is, too:
//
//	log                          which generation is the log, as JSON
//	log/0000000007/0000000042    a piece of a record of generation 7
//	blobs                        see blob
//
// A record is one piece or several; a piece begins with a byte that says whether more
// follow. Pieces of a record that was never completed count for nothing. A generation
// is complete when log names it; others are what a crash left.
const (
	logNode   = "log"
	logFormat = 1

	// pieceSize bounds a node, in bytes, to a quarter of what ZooKeeper takes unless an
	// operator sets jute.maxbuffer.
	pieceSize = 256 << 10
	// readers is how many pieces are asked for at the same time, and deletions how
	// many nodes go with one write.
	readers, deletions = 16, 200

	pieceLast, pieceMore = 0, 1
)

// ErrDamaged says that what stands in ZooKeeper is not as it was written.
var ErrDamaged = errors.New("the state in ZooKeeper is damaged")

// ErrNewer says that a newer program wrote it.
var ErrNewer = errors.New("the state in ZooKeeper was written by a newer program")

// Log keeps records, and blobs beside them, as long as a term lasts. It is safe for
// concurrent use.
type Log struct {
	tree  tree
	root  string
	acl   []zk.ACL
	piece int // bytes of what is written
	// readers is how many pieces are asked for at the same time.
	readers int

	mu      sync.Mutex
	current uint64 // generation
	version int32  // of the node log
	pieces  int    // of the generation
	size    int64  // of them, in bytes
	unsure  bool   // a write may have happened: look before the next one
	blobs   map[string]blob
}

// pointer is what stands in the node log.
type pointer struct {
	Format     int    `json:"format"`
	Generation uint64 `json:"generation"` // 0: there is none yet
}

// OpenLog opens the log of a term. Close ends the session.
func OpenLog(t *Term) (*Log, error) {
	l, err := openLog(newRemote(t), t.url.Path, t.url.acl())
	if err != nil {
		return nil, fmt.Errorf("open the state in ZooKeeper: %w", err)
	}
	return l, nil
}

func openLog(tree tree, root string, acl []zk.ACL, change ...func(*Log)) (*Log, error) {
	l := &Log{tree: tree, root: root, acl: acl, piece: pieceSize, readers: readers, unsure: true}
	for _, c := range change {
		c(l)
	}
	if err := l.open(); err != nil {
		tree.close()
		return nil, err
	}
	return l, nil
}

func (l *Log) open() error {
	if err := l.tree.sync(); err != nil {
		return err
	}
	data, err := json.Marshal(pointer{Format: logFormat})
	if err != nil {
		return err
	}
	if err := l.make(path.Join(l.root, logNode), data); err != nil {
		return err
	}
	if err := l.make(path.Join(l.root, blobsNode), nil); err != nil {
		return err
	}
	if err := l.openBlobs(); err != nil {
		return err
	}
	if err := l.settle(); err != nil {
		return err
	}
	return l.sweep()
}

// make makes a node unless it is there.
func (l *Log) make(at string, data []byte) error {
	if _, _, err := l.tree.get(at); !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	err := l.tree.write(&zk.CreateRequest{Path: at, Data: data, Acl: l.acl})
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}

func (l *Log) dir(generation uint64) string {
	return path.Join(l.root, logNode, fmt.Sprintf("%010d", generation))
}

func (l *Log) pieceAt(generation uint64, n int) string {
	return path.Join(l.dir(generation), fmt.Sprintf("%010d", n))
}

// write does ops unless settle came between: what was sent before that, and is on its
// way still, comes too late.
func (l *Log) write(ops ...any) error {
	check := &zk.CheckVersionRequest{Path: path.Join(l.root, logNode), Version: l.version}
	if err := l.tree.write(append([]any{check}, ops...)...); err != nil {
		l.unsure = true
		return err
	}
	return nil
}

// settle finds out what there is, after a start or after a write of which nobody knows
// whether it happened, and sees to it that none of before can happen any more.
func (l *Log) settle() error {
	if !l.unsure {
		return nil
	}
	if err := l.tree.sync(); err != nil {
		return err
	}
	at := path.Join(l.root, logNode)
	data, version, err := l.tree.get(at)
	if err != nil {
		return err
	}
	if err := l.tree.write(&zk.SetDataRequest{Path: at, Data: data, Version: version}); err != nil {
		return err
	}
	l.version = version + 1
	var p pointer
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if p.Format != logFormat {
		return fmt.Errorf("%w: format %d, this program reads %d", ErrNewer, p.Format, logFormat)
	}
	pieces := 0
	if p.Generation != 0 {
		if pieces, err = l.count(p.Generation); err != nil {
			return err
		}
	}
	// What was not completed goes.
	for ; pieces > 0; pieces-- {
		last, _, err := l.tree.get(l.pieceAt(p.Generation, pieces-1))
		if err != nil {
			return err
		}
		if len(last) > 0 && last[0] == pieceLast {
			break
		}
		if err := l.write(&zk.DeleteRequest{Path: l.pieceAt(p.Generation, pieces-1), Version: -1}); err != nil {
			return err
		}
	}
	if p.Generation != 0 && pieces == 0 {
		return fmt.Errorf("%w: generation %d has no record", ErrDamaged, p.Generation)
	}
	l.current, l.pieces, l.unsure = p.Generation, pieces, false
	return nil
}

// count returns how many pieces a generation has, of which none may be missing.
func (l *Log) count(generation uint64) (int, error) {
	names, err := l.tree.children(l.dir(generation))
	if errors.Is(err, zk.ErrNoNode) {
		return 0, fmt.Errorf("%w: generation %d is gone", ErrDamaged, generation)
	}
	if err != nil {
		return 0, err
	}
	slices.Sort(names)
	for i, name := range names {
		if name != fmt.Sprintf("%010d", i) {
			return 0, fmt.Errorf("%w: generation %d has %q where piece %d was expected", ErrDamaged, generation, name, i)
		}
	}
	return len(names), nil
}

// Records returns all records; none: nothing was ever stored.
func (l *Log) Records() ([][]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.settle(); err != nil {
		return nil, err
	}
	paths := make([]string, l.pieces)
	for i := range paths {
		paths[i] = l.pieceAt(l.current, i)
	}
	pieces, err := l.readAll(paths)
	if err != nil {
		return nil, err
	}
	var records [][]byte
	var record []byte
	l.size = 0
	for i, piece := range pieces {
		if len(piece) == 0 || piece[0] > pieceMore {
			return nil, fmt.Errorf("%w: piece %d of generation %d makes no sense", ErrDamaged, i, l.current)
		}
		l.size += int64(len(piece))
		record = append(record, piece[1:]...)
		if piece[0] == pieceLast {
			records, record = append(records, record), nil
		}
	}
	return records, nil
}

// readAll reads nodes, several at a time.
func (l *Log) readAll(paths []string) ([][]byte, error) {
	data := make([][]byte, len(paths))
	errs := make([]error, len(paths))
	var wg sync.WaitGroup
	for first := range min(l.readers, len(paths)) {
		wg.Go(func() {
			for i := first; i < len(paths); i += l.readers {
				if data[i], _, errs[i] = l.tree.get(paths[i]); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		switch {
		case errors.Is(err, zk.ErrNoNode):
			return nil, fmt.Errorf("%w: %s is gone", ErrDamaged, paths[i])
		case err != nil:
			return nil, err
		}
	}
	return data, nil
}

// Append adds a record. When it returns nil the record is stored for good; after an
// error it may be or may come to be: who tries again must not mind a record twice.
func (l *Log) Append(record []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.settle(); err != nil {
		return err
	}
	if l.current == 0 {
		return errors.New("there is no log to append to: Replace begins one")
	}
	n, size, err := l.add(l.current, l.pieces, record)
	if err != nil {
		return err
	}
	l.pieces, l.size = n, l.size+size
	return nil
}

// add writes a record behind n pieces and returns how many there are then.
func (l *Log) add(generation uint64, n int, record []byte) (int, int64, error) {
	size := int64(0)
	for {
		kind, rest := byte(pieceLast), []byte(nil)
		if len(record) > l.piece-1 {
			kind, record, rest = pieceMore, record[:l.piece-1], record[l.piece-1:]
		}
		piece := append([]byte{kind}, record...)
		if err := l.write(&zk.CreateRequest{Path: l.pieceAt(generation, n), Data: piece, Acl: l.acl}); err != nil {
			return 0, 0, err
		}
		n++
		size += int64(len(piece))
		if kind == pieceLast {
			return n, size, nil
		}
		record = rest
	}
}

// Replace puts records in the place of all that there are, at once or, after an error,
// perhaps not. There must be one at least.
func (l *Log) Replace(records [][]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(records) == 0 {
		return errors.New("a log has a record at least")
	}
	if err := l.settle(); err != nil {
		return err
	}
	former, next := l.current, l.current+1
	if err := l.drop(next); err != nil { // what was left of an attempt
		return err
	}
	if err := l.write(&zk.CreateRequest{Path: l.dir(next), Acl: l.acl}); err != nil {
		return err
	}
	n, size := 0, int64(0)
	for _, record := range records {
		var more int64
		var err error
		if n, more, err = l.add(next, n, record); err != nil {
			return err
		}
		size += more
	}
	data, err := json.Marshal(pointer{logFormat, next})
	if err != nil {
		return err
	}
	if err := l.tree.write(&zk.SetDataRequest{Path: path.Join(l.root, logNode), Data: data, Version: l.version}); err != nil {
		l.unsure = true
		return err
	}
	l.current, l.version, l.pieces, l.size = next, l.version+1, n, size
	if former != 0 {
		_ = l.drop(former) // or else the next sweep does it
	}
	return nil
}

// sweep deletes generations that are not the log.
func (l *Log) sweep() error {
	names, err := l.tree.children(path.Join(l.root, logNode))
	if err != nil {
		return err
	}
	for _, name := range names {
		if n, err := strconv.ParseUint(name, 10, 64); err == nil && n != l.current && n != 0 {
			if err := l.drop(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop deletes a generation, if there is one.
func (l *Log) drop(generation uint64) error { return l.clear(l.dir(generation)) }

// clear deletes a node and its children, if there is one.
func (l *Log) clear(at string) error {
	names, err := l.tree.children(at)
	if errors.Is(err, zk.ErrNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	var ops []any
	for _, name := range names {
		ops = append(ops, &zk.DeleteRequest{Path: path.Join(at, name), Version: -1})
	}
	ops = append(ops, &zk.DeleteRequest{Path: at, Version: -1})
	for some := range slices.Chunk(ops, deletions) {
		if err := l.write(some...); err != nil {
			return err
		}
	}
	return nil
}

// Extent is how many nodes the log has, and how many bytes.
func (l *Log) Extent() (nodes int, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pieces, l.size
}

// Close ends the session. The term goes on.
func (l *Log) Close() error {
	l.tree.close()
	return nil
}
