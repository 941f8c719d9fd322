package zookeeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"lode/zookeeper/zktest"
)

// candidate contends in the background.
type candidate struct {
	t     *testing.T
	name  string
	stop  context.CancelFunc
	terms chan *Term
	errs  chan error
	seen  chan Standing
	log   *lockedBuffer
}

// lockedBuffer can be written to and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func stand(t *testing.T, url, name string) *candidate {
	t.Helper()
	u, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	c := &candidate{t: t, name: name, terms: make(chan *Term, 1), errs: make(chan error, 1), seen: make(chan Standing, 1000), log: new(lockedBuffer)}
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	done := make(chan struct{})
	go func() {
		defer close(done)
		term, err := NewElection(u, slog.New(slog.NewTextHandler(c.log, nil))).Stand(ctx, Member{URL: "http://" + name}, func(s Standing) {
			select {
			case c.seen <- s:
			default:
			}
		})
		if err != nil {
			c.errs <- err
			return
		}
		t.Cleanup(term.Resign)
		c.terms <- term
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return c
}

func (c *candidate) elected() *Term {
	c.t.Helper()
	select {
	case term := <-c.terms:
		return term
	case err := <-c.errs:
		c.t.Fatalf("%s: %v", c.name, err)
	case <-time.After(patience):
		c.t.Fatalf("%s is not elected", c.name)
	}
	return nil
}

// follows waits until the candidate knows who leads.
func (c *candidate) follows(leader string) {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case s := <-c.seen:
			if len(s.Members) > 0 && s.Members[0].URL == "http://"+leader {
				return
			}
		case <-timeout:
			c.t.Fatalf("%s does not see that %s leads", c.name, leader)
		}
	}
}

func (c *candidate) waits() {
	c.t.Helper()
	select {
	case <-c.terms:
		c.t.Fatalf("%s was elected beside another one", c.name)
	case <-time.After(100 * time.Millisecond):
	}
}

func over(t *testing.T, term *Term) {
	t.Helper()
	select {
	case <-term.Over():
	case <-time.After(patience):
		t.Fatal("the term goes on")
	}
	if err := term.Err(); !errors.Is(err, ErrDeposed) {
		t.Errorf("it ended for %v", err)
	}
}

func log(t *testing.T, term *Term) *Log {
	t.Helper()
	l, err := OpenLog(term)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestElectionInARealEnsemble(t *testing.T) {
	e := zktest.Start(t, 3)
	t.Run("one leads, the next follows", func(t *testing.T) { oneLeads(t, e) })
	t.Run("a former leader can write nothing", func(t *testing.T) { formerLeader(t, e) })
	t.Run("what is large", func(t *testing.T) { largeThings(t, e) })
	t.Run("many children", func(t *testing.T) { manyChildren(t, e) })
	t.Run("behind a password", func(t *testing.T) { electionBehindAPassword(t, e) })
	t.Run("with a password since lately", func(t *testing.T) { passwordSinceLately(t, e) })
	t.Run("a slow ensemble", func(t *testing.T) { slowEnsemble(t, e) })
	t.Run("a server that hangs", func(t *testing.T) { hungServer(t, e) })
	t.Run("without a quorum", func(t *testing.T) { withoutQuorum(t, e) }) // the last: it kills
}

func oneLeads(t *testing.T, e *zktest.Ensemble) {
	url := "zk://" + e.Hosts() + "/a/deep/place"
	first := stand(t, url, "first")
	term := first.elected()
	if err := term.Confirm(t.Context()); err != nil {
		t.Error(err)
	}
	second := stand(t, url, "second")
	second.follows("first")
	third := stand(t, url, "third")
	third.follows("first")
	if err := term.Announce(t.Context(), Member{URL: "http://moved", Executors: []string{"d"}}); err != nil {
		t.Fatal(err)
	}
	second.follows("moved")
	members, err := term.Members(t.Context())
	if err != nil || len(members) != 3 || !slices.Equal(members[0].Executors, []string{"d"}) {
		t.Errorf("%v, %v", members, err)
	}
	second.waits()
	third.waits()
	second.stop() // a candidate that goes leaves nothing in the way
	term.Resign()
	over(t, term)
	next := third.elected()
	if next.Number() <= term.Number() {
		t.Errorf("term %d after %d", next.Number(), term.Number())
	}
	if err := term.Confirm(t.Context()); !errors.Is(err, ErrDeposed) {
		t.Errorf("a term that is over: %v", err)
	}
}

// The node of who leads goes, as it does when the session expires, and another one is
// elected before the former leader notices anything.
func formerLeader(t *testing.T, e *zktest.Ensemble) {
	url := "zk://" + e.Hosts() + "/fence"
	term := stand(t, url, "first").elected()
	l := log(t, term)
	if err := l.Replace([][]byte{[]byte("a")}); err != nil {
		t.Fatal(err)
	}
	// It believes whatever it did before.
	blind := &Term{url: term.url, log: term.log, conn: term.conn, node: term.node, number: term.number, version: term.version, over: make(chan struct{})}
	stale := log(t, blind)
	second := stand(t, url, "second")
	second.follows("first")
	conn := e.Connect()
	defer conn.Close()
	if err := conn.Delete(term.node, -1); err != nil {
		t.Fatal(err)
	}
	next := second.elected()
	over(t, term)
	for what, err := range map[string]error{
		"append": stale.Append([]byte("b")), "replace": stale.Replace([][]byte{[]byte("b")}), "save": stale.SaveBlob("x", []byte("b")),
	} {
		if !errors.Is(err, ErrDeposed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	over(t, blind)
	if records, err := log(t, next).Records(); err != nil || len(records) != 1 || string(records[0]) != "a" {
		t.Errorf("%q, %v", records, err)
	}
}

func largeThings(t *testing.T, e *zktest.Ensemble) {
	url := "zk://" + e.Hosts() + "/large"
	term := stand(t, url, "first").elected()
	l := log(t, term)
	state := [][]byte{bytes.Repeat([]byte("state"), 500_000), []byte("small"), bytes.Repeat([]byte("x"), 3<<20)}
	block := bytes.Repeat([]byte("block"), 800_000) // as large as blocks get
	if err := errors.Join(l.Replace(state[:1]), l.Append(state[1]), l.Append(state[2]), l.SaveBlob("block", block)); err != nil {
		t.Fatal(err)
	}
	term.Resign()
	l = log(t, stand(t, url, "second").elected())
	records, err := l.Records()
	if err != nil || !slices.EqualFunc(records, state, bytes.Equal) {
		t.Errorf("%d records, %v", len(records), err)
	}
	if b, err := l.LoadBlob("block"); err != nil || !bytes.Equal(b, block) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func manyChildren(t *testing.T, e *zktest.Ensemble) {
	url := "zk://" + e.Hosts() + "/many"
	term := stand(t, url, "first").elected()
	conn := e.Connect()
	defer conn.Close()
	for i := range 20 {
		var ops []any
		for k := range 250 {
			ops = append(ops, &zk.CreateRequest{Path: fmt.Sprintf("/many/candidates/stranger-%s-%d-%d", strings.Repeat("x", 200), i, k), Acl: zk.WorldACL(zk.PermAll)})
		}
		if _, err := conn.Multi(ops...); err != nil {
			t.Fatal(err)
		}
	}
	second := stand(t, url, "second")
	second.follows("first")
	l := log(t, term)
	if err := l.Replace([][]byte{[]byte("a")}); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if err := l.Append(fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	term.Resign()
	if records, err := log(t, second.elected()).Records(); err != nil || len(records) != 51 || string(records[50]) != "49" {
		t.Errorf("%d records, %v", len(records), err)
	}
}

func electionBehindAPassword(t *testing.T, e *zktest.Ensemble) {
	conn := e.Connect()
	defer conn.Close()
	if _, err := conn.Create("/closed", nil, 0, zk.WorldACL(zk.PermAll)); err != nil { // somebody made it, open
		t.Fatal(err)
	}
	term := stand(t, "zk://lode:s3cret@"+e.Hosts()+"/closed", "first").elected()
	l := log(t, term)
	if err := errors.Join(l.Replace([][]byte{[]byte("key")}), l.SaveBlob("b", []byte("block"))); err != nil {
		t.Fatal(err)
	}
	look := func(at string) {
		if data, _, err := conn.Get(at); !errors.Is(err, zk.ErrNoAuth) {
			t.Errorf("a stranger reads %s: %q, %v", at, data, err)
		}
		if _, err := conn.Create(path.Join(at, "stranger"), nil, 0, zk.WorldACL(zk.PermAll)); !errors.Is(err, zk.ErrNoAuth) {
			t.Errorf("a stranger writes below %s: %v", at, err)
		}
	}
	for _, at := range []string{"/closed", "/closed/epoch", "/closed/candidates", "/closed/log", "/closed/log/0000000001/0000000000", "/closed/blobs/b", "/closed/blobs/b/0000000000"} {
		look(at)
	}
	wrong := stand(t, "zk://lode:wr0ng@"+e.Hosts()+"/closed", "wrong")
	select {
	case err := <-wrong.errs:
		if !strings.Contains(err.Error(), "user and password") || strings.Contains(err.Error(), "wr0ng") {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("a wrong password is tried for ever")
	}
}

// What stood there before there was a password is ours alone afterwards, too, and stays
// what it was; that others knew it is told.
func passwordSinceLately(t *testing.T, e *zktest.Ensemble) {
	first := stand(t, "zk://"+e.Hosts()+"/lately", "first").elected()
	l := log(t, first)
	if err := errors.Join(l.Replace([][]byte{[]byte("key")}), l.Append([]byte("task")), l.SaveBlob("b", []byte("block"))); err != nil {
		t.Fatal(err)
	}
	first.Resign()
	for round, told := range []bool{true, false} {
		s := stand(t, "zk://lode:s3cret@"+e.Hosts()+"/lately", fmt.Sprint("second ", round))
		term := s.elected()
		l := log(t, term)
		if records, err := l.Records(); err != nil || len(records) != 2 || string(records[1]) != "task" {
			t.Errorf("%q, %v", records, err)
		}
		if b, err := l.LoadBlob("b"); err != nil || string(b) != "block" {
			t.Errorf("%q, %v", b, err)
		}
		if got := strings.Contains(s.log.String(), "was open to others"); got != told {
			t.Errorf("round %d: it is told: %t, want %t\n%s", round, got, told, s.log)
		}
		term.Resign()
	}
	conn := e.Connect()
	defer conn.Close()
	if err := conn.AddAuth("digest", []byte("lode:s3cret")); err != nil {
		t.Fatal(err)
	}
	acl := zk.DigestACL(zk.PermAll, "lode", "s3cret")
	nodes := 0
	var look func(at string)
	look = func(at string) {
		nodes++
		if have, _, err := conn.GetACL(at); err != nil || !slices.Equal(have, acl) {
			t.Errorf("%s: %v, %v", at, have, err)
		}
		names, _, err := conn.Children(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			look(path.Join(at, name))
		}
	}
	look("/lately")
	if nodes < 10 {
		t.Errorf("%d nodes", nodes)
	}

	// A stranger has made a node that we cannot have: it is no place for secrets.
	open := e.Connect()
	defer open.Close()
	if err := open.AddAuth("digest", []byte("stranger:x")); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"/laid", "/laid/log"} {
		if _, err := open.Create(at, nil, 0, append(zk.DigestACL(zk.PermAll, "stranger", "x"), zk.WorldACL(zk.PermRead|zk.PermCreate)...)); err != nil {
			t.Fatal(err)
		}
	}
	s := stand(t, "zk://lode:s3cret@"+e.Hosts()+"/laid", "third")
	select {
	case <-s.terms:
		t.Error("it leads where a stranger reads along")
	case err := <-s.errs:
		if !strings.Contains(err.Error(), "user and password") {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("nothing is said")
	}
}

// Each answer takes long, as from a disk that has too much to do.
func slowEnsemble(t *testing.T, e *zktest.Ensemble) {
	slow := e.Through(t)
	term := stand(t, "zk://"+slow.Hosts()+"/slow", "first").elected()
	l := log(t, term)
	slow.Delay(700 * time.Millisecond)
	if err := l.Replace([][]byte{[]byte("a")}); err != nil {
		t.Fatal(err)
	}
	if err := l.Append([]byte("b")); err != nil {
		t.Error(err)
	}
	if err := term.Confirm(t.Context()); err != nil {
		t.Error(err)
	}
	slow.Delay(0)
	// Cut off it cannot write, and does not hang; what failed can be tried again.
	slow.Cut(true)
	if err := l.Append([]byte("c")); err == nil {
		t.Error("written to nobody")
	}
	slow.Cut(false)
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := l.Append([]byte("c"))
		if err == nil || errors.Is(err, ErrDeposed) {
			break // the session may have expired meanwhile on a slow machine
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A server that takes connections and says nothing costs no session while there are
// others.
func hungServer(t *testing.T, e *zktest.Ensemble) {
	slow := e.Through(t)
	term := stand(t, "zk://"+slow.Hosts()+"/hung", "first").elected()
	l := log(t, term)
	if err := l.Replace([][]byte{[]byte("a")}); err != nil {
		t.Fatal(err)
	}
	for i := range e.Servers { // ours is among them
		slow.Hang(i, true)
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			if err := l.Append([]byte("b")); err == nil || errors.Is(err, ErrDeposed) {
				break // on a machine that is as slow the session may be over
			} else if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		slow.Hang(i, false)
	}
}

func withoutQuorum(t *testing.T, e *zktest.Ensemble) {
	url := "zk://" + e.Hosts() + "/quorum"
	first := stand(t, url, "first")
	term := first.elected()
	l := log(t, term)
	if err := l.Replace([][]byte{[]byte("a")}); err != nil {
		t.Fatal(err)
	}
	second := stand(t, url, "second")
	second.follows("first")
	e.Servers[0].Kill()
	e.Servers[1].Kill()
	if err := l.Append([]byte("b")); err == nil {
		t.Error("stored without a quorum")
	}
	if err := term.Confirm(t.Context()); err == nil {
		t.Error("confirmed without a quorum")
	}
	second.waits()
	e.Again(e.Servers[0])
	e.Again(e.Servers[1])
	e.Await()
	// Whoever leads then: one does, and has what was stored.
	leader := term
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := l.Append([]byte("b"))
		if err == nil {
			break
		}
		if errors.Is(err, ErrDeposed) {
			leader = second.elected()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if leader == term {
		l = log(t, leader)
	} else {
		l = log(t, leader)
		if err := l.Append([]byte("b")); err != nil {
			t.Fatal(err)
		}
	}
	records, err := l.Records()
	if err != nil || len(records) < 2 || string(records[0]) != "a" || string(records[len(records)-1]) != "b" {
		t.Errorf("%q, %v", records, err)
	}
}

func TestCandidatesAreOrderedByNumber(t *testing.T) {
	got := inOrder([]string{
		"_c_ffff-scheduler-0000000010", "x", "_c_aaaa-scheduler-0000000011", "scheduler-0000000009", "scheduler-", "_c_scheduler-x", "_c_0-scheduler-2147483648",
	})
	want := []string{"scheduler-0000000009", "_c_ffff-scheduler-0000000010", "_c_aaaa-scheduler-0000000011", "_c_0-scheduler-2147483648"}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
