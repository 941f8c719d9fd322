package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lode/scheduler/core"
)

// memory is a store in memory that is slow and fails where it is told to.
type memory struct {
	values map[string]string
	blocks map[string]string
	writes atomic.Int64
	slow   time.Duration
	fail   atomic.Pointer[error] // what each attempt ends with, nil: it succeeds
}

// turn makes the disk sick, or well again (nil).
func (m *memory) turn(err error) {
	if err == nil {
		m.fail.Store(nil)
		return
	}
	m.fail.Store(&err)
}

func (m *memory) Load() (map[string][]byte, error) { return nil, nil }
func (m *memory) Close() error                     { return nil }
func (m *memory) Apply(changes map[string][]byte) error {
	time.Sleep(m.slow)
	m.writes.Add(1)
	if err := m.fail.Load(); err != nil {
		return *err
	}
	for k, v := range changes {
		if m.values[k] = string(v); v == nil {
			delete(m.values, k)
		}
	}
	return nil
}

func (m *memory) SaveBlock(hash string, b []byte) error {
	if err := m.fail.Load(); err != nil {
		return *err
	}
	m.blocks[hash] = string(b)
	return nil
}
func (m *memory) LoadBlock(hash string) ([]byte, error) { return []byte(m.blocks[hash]), nil }
func (m *memory) DropBlock(hash string) error           { delete(m.blocks, hash); return nil }

func TestLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{values: make(map[string]string), blocks: make(map[string]string), slow: 10 * time.Millisecond}
		l := newLedger(m, slog.New(slog.NewTextHandler(io.Discard, nil)))
		var stored uint64
		var told []core.Event
		l.stored = func(n uint64) { stored = n }
		l.tell = func(e core.Event) { told = append(told, e) }
		l.took = func(time.Duration) {}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.run(ctx)
		}()
		change := func(key, value string) []core.Change {
			c := core.Change{Key: key}
			if value != "" {
				c.Value = []byte(value)
			}
			return []core.Change{c}
		}
		// What comes while the disk is busy shares one write.
		for i := range 1000 {
			l.enter(change("a", fmt.Sprint(i)), nil, nil)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if stored != 1000 || m.values["a"] != "999" || m.writes.Load() > 3 {
			t.Errorf("stored up to %d, %q, %d writes", stored, m.values["a"], m.writes.Load())
		}
		if n := l.enter(nil, nil, nil); n != 1000 {
			t.Errorf("nothing has the number %d", n)
		}
		// A block is first, and its failure is told. A block goes when that is stored.
		l.enter(change("block", "1"), []core.StoreBlock{{Hash: "h", Data: []byte("data")}}, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if m.blocks["h"] != "data" || len(told) != 1 || told[0] != (core.Stored{Hash: "h"}) {
			t.Errorf("%v, told %v", m.blocks, told)
		}
		// A sick disk is tried again, seldom; newer values win; nothing is lost.
		m.turn(errors.New("sick"))
		before := m.writes.Load()
		n := l.enter(change("a", "old"), nil, nil)
		l.enter(change("b", "B"), []core.StoreBlock{{Hash: "i"}}, []string{"h"})
		time.Sleep(time.Second)
		synctest.Wait()
		last := l.enter(change("a", "new"), nil, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if stored >= n || m.blocks["h"] == "" {
			t.Errorf("stored up to %d, blocks %v", stored, m.blocks)
		}
		if told[1] != (core.Stored{Hash: "i", Err: "sick"}) {
			t.Errorf("told %v", told)
		}
		if since, err := l.trouble(); err == nil || time.Since(since) < time.Minute || m.writes.Load()-before > 30 {
			t.Errorf("%v since %v, %d attempts", err, since, m.writes.Load()-before)
		}
		m.turn(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, err := l.trouble(); err != nil || stored != last || m.blocks["h"] != "" ||
			!maps.Equal(m.values, map[string]string{"a": "new", "b": "B", "block": "1"}) {
			t.Errorf("%v, stored up to %d, %v, %v", err, stored, m.values, m.blocks)
		}
		// The end stores what is left.
		l.enter(change("a", ""), nil, nil)
		stop()
		<-done
		if _, there := m.values["a"]; there {
			t.Errorf("%v", m.values)
		}
	})
}
