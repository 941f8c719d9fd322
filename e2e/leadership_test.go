package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lode/scheduler/api"
	"lode/zookeeper/zktest"
)

// one of several schedulers of a framework.
type one struct {
	*process
	url string
}

// join starts another scheduler of the world's framework, with other flags where they
// are given.
func (w *world) join(flags ...string) *one {
	w.t.Helper()
	url := "http://" + freeAddress(w.t)
	args := slices.Clone(w.args)
	for _, flag := range append(flags, "--listen="+strings.TrimPrefix(url, "http://")) {
		name, _, _ := strings.Cut(flag, "=")
		for i, a := range args {
			if strings.HasPrefix(a, name+"=") {
				args[i] = flag
			}
		}
	}
	return &one{start(w.t, nil, lode(), args...), url}
}

// health is what a scheduler says of itself; "": nothing.
func (o *one) health() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url+"/healthz", nil)
	if err != nil {
		return ""
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

func (o *one) leads() bool { return strings.Contains(o.health(), "subscribed at") }

// follows waits until a standby knows its leader.
func (w *world) follows(o *one, leader string) {
	w.t.Helper()
	eventually(w.t, o.url+" stands by for "+leader, func() bool { return strings.Contains(o.health(), "standing by; the leader is "+leader) }, o.health)
}

// same checks that another scheduler goes on with everything.
func (w *world) same(before api.Status) {
	w.t.Helper()
	after := w.mining(2)
	if after.FrameworkID != before.FrameworkID {
		w.t.Errorf("framework id: got %s, want %s", after.FrameworkID, before.FrameworkID)
	}
	if got, want := ids(after.Tasks), ids(before.Tasks); !slices.Equal(got, want) {
		w.t.Errorf("tasks: got %v, want the same as before: %v", got, want)
	}
	w.notLost(before.Blocks)
	w.moreBlocks(1)
	w.noOrphans()
}

// Three schedulers: the leader is killed; the next one is stopped for longer than its
// session lasts, and goes on. No task is lost or doubled, no block is lost.
func TestLeaderKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	e := zktest.Start(t, 3)
	w := newWorld(t, options{state: "zk://lode:s3cret@" + e.Hosts() + "/lode"})
	w.mining(2)
	w.moreBlocks(1)
	first := &one{w.scheduler, w.url}
	others := []*one{w.join(), w.join()}
	for _, o := range others {
		w.follows(o, first.url)
	}
	var out []byte
	eventually(t, "lode status at a standby shows the leader's", func() bool { // which takes its time on a busy machine
		var err error
		out, err = exec.Command(lode(), "status", "--json", "--scheduler", others[0].url).Output()
		var through api.Status
		return err == nil && json.Unmarshal(out, &through) == nil && len(through.Tasks) == 3
	}, func() string { return string(out) })

	before := w.mining(2)
	killed := time.Now()
	first.kill()
	var second, third *one
	eventually(t, "a standby leads", func() bool {
		for i, o := range others {
			if o.leads() {
				second, third = o, others[1-i]
				return true
			}
		}
		return false
	}, func() string { return others[0].health() + others[1].health() })
	t.Logf("subscribed %v after the leader's end", time.Since(killed).Round(100*time.Millisecond))
	w.url = third.url // a standby: what is asked goes to the leader
	w.follows(third, second.url)
	w.same(before)

	before = w.mining(2)
	stopped := time.Now()
	second.cmd.Process.Signal(syscall.SIGSTOP)
	eventually(t, "the last one leads", third.leads, third.health)
	t.Logf("subscribed %v after the leader was stopped", time.Since(stopped).Round(100*time.Millisecond))
	w.same(before)
	before = w.mining(2)
	second.cmd.Process.Signal(syscall.SIGCONT)
	w.follows(second, third.url)
	if !second.running() {
		t.Error("who was stopped has ended")
	}
	w.same(before)
	if log := second.output(); !strings.Contains(log, "the term is over; standing by") {
		t.Error("who was stopped does not say that its term is over")
	}
	for _, o := range []*one{first, second, third} {
		if strings.Contains(o.output(), "s3cret") {
			t.Error("the log tells ZooKeeper's password")
		}
	}
	if !third.leads() {
		t.Errorf("who led does not any more: %s", third.health())
	}
}

// A standby is killed, and the leader is cut off from ZooKeeper, but from nothing else:
// it goes on until the last scheduler subscribes, and takes nothing back.
func TestLeaderCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	e := zktest.Start(t, 3)
	way := e.Through(t)
	place := func(hosts string) string { return "zk://lode:s3cret@" + hosts + "/lode" }
	w := newWorld(t, options{state: place(way.Hosts())})
	w.mining(2)
	w.moreBlocks(1)
	first := &one{w.scheduler, w.url}
	second := w.join("--state=" + place(e.Hosts()))
	w.follows(second, first.url)
	third := w.join("--state=" + place(e.Hosts()))
	w.follows(third, first.url)

	before := w.mining(2)
	second.kill()
	w.same(before)
	if !first.leads() {
		t.Errorf("a standby was killed, and the leader does not lead any more: %s", first.health())
	}

	before = w.mining(2)
	way.Cut(true)
	eventually(t, "the last scheduler leads", third.leads, third.health)
	w.url = third.url
	eventually(t, "who is cut off leads no more", func() bool {
		return strings.Contains(first.health(), "standing by, but cannot take over")
	}, first.health)
	w.same(before)
	before = w.mining(2)
	way.Cut(false)
	w.follows(first, third.url)
	w.same(before)
	if !first.running() || !third.leads() {
		t.Errorf("the former leader runs: %t; the leader says: %s", first.running(), third.health())
	}
}
