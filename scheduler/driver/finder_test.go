package driver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler/driver"
	"lode/scheduler/internal/fakemaster"
	"lode/zookeeper/zktest"
)

// election is who leads, in a test.
type election struct {
	mu      sync.Mutex
	urls    []string
	err     error
	changed chan struct{}
}

func (e *election) find(context.Context) ([]string, <-chan struct{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.urls, e.changed, e.err
}

func (e *election) set(err error, urls ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.changed
	e.urls, e.err, e.changed = urls, err, make(chan struct{})
	if old != nil {
		close(old)
	}
}

func TestElectedMasterIsFollowed(t *testing.T) {
	a, b := fakemaster.New(t), fakemaster.New(t)
	b.Redirect(a.Host())
	var e election
	e.set(errors.New("no quorum"))
	l := startWith(t, func(c *driver.Config) { c.LeaderCheck = 20 * time.Millisecond }, func(d *driver.Driver) { d.SetFinder(e.find) }, "http://unused")
	if err := l.lost(); !strings.Contains(err.Error(), "no quorum") {
		t.Error(err)
	}
	e.set(nil)
	for err := l.lost(); !strings.Contains(err.Error(), "no master leads"); err = l.lost() {
		if !strings.Contains(err.Error(), "no quorum") {
			t.Error(err)
		}
	}
	e.set(nil, a.URL(), b.URL())
	l.subscribe(a)
	// As long as nobody else was elected the subscription is kept.
	for _, change := range []func(){
		func() { e.set(errors.New("connection lost")) },
		func() { e.set(nil) },
		func() { e.set(nil, a.URL()) },
		func() { e.set(nil, a.URL(), b.URL()) },
	} {
		change()
		time.Sleep(50 * time.Millisecond)
	}
	l.send(revive())
	if c := nextCall(t, a); c.Type != scheduler.Call_REVIVE {
		t.Fatalf("%s call, want REVIVE on the same stream", c.Type)
	}
	a.Redirect(b.Host())
	b.Redirect("")
	e.set(nil, b.URL())
	if err := l.lost(); !strings.Contains(err.Error(), "was elected") {
		t.Error(err)
	}
	l.subscribe(b)
}

func TestMasterOfARealZooKeeper(t *testing.T) {
	ensemble := zktest.Start(t, 1)
	a, b := fakemaster.New(t), fakemaster.New(t)
	conn := ensemble.Connect()
	defer conn.Close()
	if _, err := conn.Create("/mesos", nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	contend := func(m *fakemaster.Master) string {
		_, port, _ := strings.Cut(m.Host(), ":")
		info := fmt.Appendf(nil, `{"address":{"hostname":"localhost","ip":"127.0.0.1","port":%s}}`, port)
		node, err := conn.Create("/mesos/json.info_", info, zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
		if err != nil {
			t.Fatal(err)
		}
		return node
	}
	leader := contend(a)
	contend(b)
	b.Redirect(a.Host())
	l := start(t, nil, strings.Split("zk://"+ensemble.Hosts()+"/mesos", ",")...)
	l.subscribe(a)
	// It is frozen: it neither ends nor answers. ZooKeeper forgets it, and another leads.
	a.Answer(hang)
	b.Redirect("")
	if err := conn.Delete(leader, -1); err != nil {
		t.Fatal(err)
	}
	if err := l.lost(); !strings.Contains(err.Error(), "was elected") && !strings.Contains(err.Error(), "leads") {
		t.Error(err)
	}
	l.subscribe(b)
}

func TestMastersFromAFile(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		name := filepath.Join(dir, "masters")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file://" + name
	}
	for _, test := range []struct {
		text string
		want []string
	}{
		{"http://m1:5050,m2\n", []string{"m1:5050", "m2:5050"}},
		{"m1\nm2\n", []string{"m1:5050", "m2:5050"}},
		{"zk://u:p@z1,z2:2182/mesos\n", []string{"z1:2181", "z2:2182"}},
	} {
		if got := driver.Hosts([]string{write(test.text)}); !slices.Equal(got, test.want) {
			t.Errorf("%q: %v", test.text, got)
		}
	}
	for _, text := range []string{"", "\n", "file:///x", "zk://u:s3cret@z1,z2"} {
		_, err := driver.New(driver.Config{Masters: []string{write(text)}})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := driver.New(driver.Config{Masters: []string{"file:///none/there"}}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
