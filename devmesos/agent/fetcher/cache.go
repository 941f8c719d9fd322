package fetcher

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// cache knows the files of the fetcher cache. Entries are keyed by user and exact URI, never
// checked for newer content, and thrown out least recently used first.
type cache struct {
	limit int64 // bytes

	mu      sync.Mutex
	entries map[key]*entry
	recent  *list.List // of *entry, most recently used first
	used    int64      // bytes
	serial  int
}

type key struct{ user, uri string }

// entry is one cached file. Done is closed when it is complete or failed; failed is only read then.
type entry struct {
	key      key
	filename string
	path     string
	done     chan struct{}
	failed   bool

	size    int64
	holders int
	closed  bool
	element *list.Element
}

var errNoSpace = errors.New("no space in the fetcher cache")

func newCache(limit int64) *cache {
	return &cache{limit: limit, entries: make(map[key]*entry), recent: list.New()}
}

// get finds the entry of a URI, or makes one that the caller has to fill. Either way it is held
// until release.
func (c *cache) get(user, uri, dir, name string) (e *entry, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := key{user, uri}
	if e := c.entries[k]; e != nil {
		e.holders++
		c.recent.MoveToFront(e.element)
		return e, false
	}
	c.serial++
	e = &entry{key: k, filename: fmt.Sprintf("c%d-%s", c.serial, name), done: make(chan struct{}), holders: 1}
	e.path = filepath.Join(dir, e.filename)
	e.element = c.recent.PushFront(e)
	c.entries[k] = e
	return e, true
}

// claim reserves space for an entry, throwing out others that nobody holds.
func (c *cache) claim(e *entry, size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.used+size > c.limit {
		if !c.evictLocked() {
			return errNoSpace
		}
	}
	c.used += size
	e.size = size
	return nil
}

func (c *cache) evictLocked() bool {
	for at := c.recent.Back(); at != nil; at = at.Prev() {
		e := at.Value.(*entry)
		if e.holders == 0 {
			c.removeLocked(e)
			return true
		}
	}
	return false
}

func (c *cache) removeLocked(e *entry) {
	if c.entries[e.key] == e {
		delete(c.entries, e.key)
		c.recent.Remove(e.element)
		c.used -= e.size
	}
	os.Remove(e.path) //nolint:errcheck // it may never have been written
}

func (c *cache) release(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.holders--
}

// complete makes an entry usable by others, with the size that the file really has.
func (c *cache) complete(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stat, err := os.Stat(e.path); err == nil {
		c.used += stat.Size() - e.size
		e.size = stat.Size()
	}
	e.closed = true
	close(e.done)
}

// fail forgets an entry that is not complete.
func (c *cache) fail(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.closed {
		return
	}
	e.failed, e.closed = true, true
	c.removeLocked(e)
	close(e.done)
}

func isNet(uri string) bool {
	for _, scheme := range []string{"http://", "https://", "ftp://", "ftps://"} {
		if strings.HasPrefix(uri, scheme) {
			return true
		}
	}
	return false
}
