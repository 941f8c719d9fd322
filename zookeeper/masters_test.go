package zookeeper

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"lode/zookeeper/zktest"
)

const patience = time.Minute

func info(host string, port int) []byte {
	return fmt.Appendf(nil, `{"address":{"hostname":%q,"ip":"127.0.0.1","port":%d},"id":"x","ip":16777343,"port":%d}`, host, port, port)
}

// contend makes a node that outlives the session, which may expire on a busy machine.
func contend(t *testing.T, conn *zk.Conn, data []byte) string {
	t.Helper()
	path, err := conn.Create("/mesos/json.info_", data, zk.FlagSequence, zk.WorldACL(zk.PermAll))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func masters(t *testing.T, url string) *Masters {
	t.Helper()
	u, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	m := NewMasters(u, false, slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(m.Close)
	return m
}

func find(t *testing.T, m *Masters) ([]string, <-chan struct{}) {
	t.Helper()
	urls, changed, err := m.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return urls, changed
}

func wait(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(patience):
		t.Fatal("the change is not told")
	}
}

func TestMastersOfARealEnsemble(t *testing.T) {
	e := zktest.Start(t, 3)
	m := masters(t, "zk://"+e.Hosts()+"/mesos")
	if _, _, err := m.Find(t.Context()); err == nil || !strings.Contains(err.Error(), "no such path") {
		t.Errorf("without the path: %v", err)
	}
	conn := e.Connect()
	defer conn.Close()
	if _, err := conn.Create("/mesos", nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	urls, changed := find(t, m)
	if len(urls) > 0 {
		t.Errorf("nobody leads, but %v", urls)
	}
	first := contend(t, conn, info("m1", 5051))
	wait(t, changed)
	contend(t, conn, []byte("garbage"))
	contend(t, conn, info("m2", 5052))
	if _, err := conn.Create("/mesos/log_replicas", nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	// The server that was asked may hear of the last changes a moment later than ours.
	quiet := false
	for deadline := time.Now().Add(patience); !quiet; {
		urls, changed = find(t, m)
		select {
		case <-changed:
			if time.Now().After(deadline) {
				t.Fatal("changes are told that are not")
			}
		case <-time.After(300 * time.Millisecond):
			quiet = true
		}
	}
	if want := []string{"http://127.0.0.1:5051", "http://127.0.0.1:5052"}; !slices.Equal(urls, want) {
		t.Errorf("%v, want %v", urls, want)
	}
	// A server dies: nothing changes but the connection. A leader goes.
	e.Servers[0].Kill()
	for deadline := time.Now().Add(patience); ; {
		// Nobody knows whether the request of a connection that broke was carried out.
		err := conn.Delete(first, -1)
		if err == nil || err == zk.ErrNoNode {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience); ; {
		wait(t, changed)
		ctx, cancel := context.WithDeadline(t.Context(), deadline)
		urls, c, err := m.Find(ctx)
		cancel()
		if err == nil && slices.Equal(urls, []string{"http://127.0.0.1:5052"}) {
			break
		}
		if err == nil {
			changed = c
		} else if time.Now().After(deadline) {
			t.Fatalf("%v, %v", urls, err)
		}
	}
	// Without a quorum nobody is taken for the leader who was not; with one again
	// changes are told again.
	e.Servers[1].Kill()
	if urls, _, err := m.Find(t.Context()); err == nil && !slices.Equal(urls, []string{"http://127.0.0.1:5052"}) {
		t.Errorf("without a quorum: %v", urls)
	}
	e.Again(e.Servers[1])
	e.Await()
	again := e.Connect()
	defer again.Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		_, err := again.Create("/mesos/json.info_", info("m3", 5053), zk.FlagSequence, zk.WorldACL(zk.PermAll))
		if err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		urls, _, err := m.Find(t.Context())
		if err == nil && slices.Contains(urls, "http://127.0.0.1:5053") {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%v, %v", urls, err)
		}
	}
}

func TestMastersBehindAPassword(t *testing.T) {
	e := zktest.Start(t, 1)
	conn := e.Connect()
	defer conn.Close()
	acl := zk.DigestACL(zk.PermAll, "mesos", "s3cret")
	if err := conn.AddAuth("digest", []byte("mesos:s3cret")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Create("/mesos", nil, 0, acl); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Create("/mesos/json.info_", info("m1", 5051), zk.FlagEphemeral|zk.FlagSequence, acl); err != nil {
		t.Fatal(err)
	}
	if urls, _ := find(t, masters(t, "zk://mesos:s3cret@"+e.Hosts()+"/mesos")); len(urls) != 1 {
		t.Errorf("%v", urls)
	}
	for _, url := range []string{"zk://mesos:wr0ng@" + e.Hosts() + "/mesos", "zk://" + e.Hosts() + "/mesos"} {
		_, _, err := masters(t, url).Find(t.Context())
		if err == nil || !strings.Contains(err.Error(), "user and password") || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%v", err)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	m := masters(t, "zk://127.0.0.1:1/mesos")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := m.Find(ctx); err == nil {
		t.Error("an answer of nobody")
	}
}
