package scheduler_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
	"lode/scheduler"
	"lode/scheduler/api"
	"lode/scheduler/internal/fakemaster"
)

// ready reports that a proxy serves.
func (i *instance) ready(proxy mesos.TaskInfo) {
	i.t.Helper()
	i.say(proxy, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true, Height: 5}},
	}}})
}

// launch offers an agent and returns what is launched there.
func (i *instance) launch(agent string) mesos.TaskInfo {
	i.t.Helper()
	i.offer("O-"+agent, agent)
	return i.call(mesossched.Call_ACCEPT).Accept.Operations[0].Launch.TaskInfos[0]
}

func fetch(t *testing.T, info mesos.TaskInfo) string {
	t.Helper()
	resp, err := http.Get(info.Executor.Command.URIs[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", info.Executor.Command.URIs[0].Value, resp.Status, err)
	}
	return unpacked(b)
}

// An upgrade to an executor that does not run ends after one miner, says so wherever
// operators look, and new tasks get the one of before. A restart does not try it again.
func TestUpgradeThatDoesNotRun(t *testing.T) {
	i := start(t)
	proxy, miner := i.mines()
	before := i.s.Status().Artifact
	if err := os.WriteFile(i.config.Executor, []byte("an executor that does not run"), 0o755); err != nil {
		t.Fatal(err)
	}
	i.ready(proxy)
	i.operate(api.UpgradePath, `{"action":"start"}`, 200)
	if k := i.call(mesossched.Call_KILL).Kill; k.TaskID.Value != miner.TaskID.Value {
		t.Fatalf("killed %s", k.TaskID.Value)
	}
	i.update(miner, mesos.TASK_KILLED)
	for n := range 3 {
		i.ready(proxy)
		bad := i.launch(fmt.Sprint("B", n))
		if got := fetch(t, bad); got != "an executor that does not run" {
			t.Fatalf("the new task gets %q", got)
		}
		i.update(bad, mesos.TASK_FAILED)
	}
	status := i.eventually("it says that it stopped", func(s api.Status) bool {
		return slices.ContainsFunc(s.Problems, func(p api.Problem) bool {
			return strings.Contains(p.Text, "replacing tasks stopped: 3 new tasks failed")
		})
	})
	if status.Artifact != before {
		t.Errorf("new tasks get %+v, want %+v", status.Artifact, before)
	}
	if u := i.controls().Upgrade; u.State != "stopped" || !strings.Contains(u.Why, "3 new tasks failed") || u.Digest != before.Digest {
		t.Errorf("%+v", u)
	}
	i.logged("replacing tasks stops: the new ones do not work")
	i.told("of it", func(e scheduler.Event) bool {
		return e.Type == scheduler.EventNotice && strings.Contains(e.Message, "replacing tasks stops")
	})
	i.ready(proxy)
	good := i.launch("G1")
	if got := fetch(t, good); got != "pretended executor" {
		t.Errorf("the next task gets %q", got)
	}
	i.update(good, mesos.TASK_RUNNING)
	i.stop()
	if err := i.ended(); err != nil {
		t.Fatal(err)
	}

	i = run(t, i.master, i.config)
	i.subscribe()
	i.eventually("a restart remembers", func(s api.Status) bool { return s.Artifact.Digest == before.Digest })
	i.stop()
	if err := i.ended(); err != nil {
		t.Fatal(err)
	}

	// A third one is tried; should it not run either, the first is still there.
	if err := os.WriteFile(i.config.Executor, []byte("a third executor"), 0o755); err != nil {
		t.Fatal(err)
	}
	i = run(t, i.master, i.config)
	if got := i.s.Status().Artifact; got.Digest == before.Digest {
		t.Error("the third executor is not tried")
	}
	if got := i.controls().Upgrade.Previous; got != before.Digest {
		t.Errorf("a rollback goes to %s, want the one that ran, %s", got, before.Digest)
	}
}

// --new-framework that is left in a unit file begins one framework, not one at every
// restart. A start without it makes the next one count again, and so does the end of
// the framework.
func TestNewFrameworkOnce(t *testing.T) {
	m := fakemaster.New(t)
	c := config(t, m.URL())
	subscribed := func(flag bool, as, id string) *instance {
		t.Helper()
		c.NewFramework = flag
		i := run(t, m, c)
		info := i.call(mesossched.Call_SUBSCRIBE).Subscribe.FrameworkInfo
		if got := info.GetID().GetValue(); got != as {
			t.Fatalf("subscribes as %q, want %q", got, as)
		}
		m.Send(fakemaster.Subscribed(id, 15))
		i.eventually("the framework", func(s api.Status) bool { return s.FrameworkID == id })
		return i
	}
	end := func(i *instance) {
		t.Helper()
		i.stop()
		if err := i.ended(); err != nil {
			t.Fatal(err)
		}
	}
	end(subscribed(true, "", "F1")) // of an empty folder
	i := subscribed(true, "F1", "F1")
	i.logged("start once without it") // the flag does nothing
	end(i)
	end(subscribed(false, "F1", "F1"))
	i = subscribed(true, "", "F2")
	i.logged("lode teardown") // it says how to end the old framework
	i.logged("old=F1")
	end(i)
	i = subscribed(true, "F2", "F2")
	m.Send(mesosError("Framework has been removed"))
	m.Break()
	_ = i.ended()
	end(subscribed(true, "", "F3"))
	end(subscribed(true, "F3", "F3"))
}

// A copy elsewhere is fetched instead of ours, and kept by agents only if its address
// names the content.
func TestExecutorURL(t *testing.T) {
	for url, test := range map[string]struct {
		want                      string // in which DIGEST stands for the digest; "": refused
		cache, executable, unpack bool
	}{
		"":                                  {"ours", true, false, true},
		"https://cdn.example/l/{digest}/x":  {"https://cdn.example/l/DIGEST/x", true, true, false},
		"https://cdn.example/lode-executor": {"https://cdn.example/lode-executor", false, true, false},
		"hdfs://name:8020/{digest}.tar.gz":  {"hdfs://name:8020/DIGEST.tar.gz", true, false, true},
		"/srv/lode/{digest}/lode-executor":  {"/srv/lode/DIGEST/lode-executor", true, true, false},
		"https://u:p@cdn.example/x":         {},
		"lode-executor":                     {},
		"https://cdn.example/a b":           {},
	} {
		t.Run(url, func(t *testing.T) {
			m := fakemaster.New(t)
			c := config(t, m.URL())
			c.ExecutorURL = url
			if test.want == "" {
				if s, err := scheduler.New(c); err == nil || !strings.Contains(err.Error(), "--executor-url") {
					t.Errorf("%v", err)
					if err == nil {
						s.Close()
					}
				}
				return
			}
			i := run(t, m, c)
			i.subscribe()
			info := i.launch("S0")
			a, uri := i.s.Status().Artifact, info.Executor.Command.URIs[0]
			want := strings.ReplaceAll(test.want, "DIGEST", a.Digest)
			if url == "" {
				want = "http://" + i.s.Addr() + "/artifacts/" + a.Digest + "/" + filepath.Base(c.Executor)
				if a.URL != want || a.Archive != want+".tar.gz" {
					t.Errorf("%s, and the archive %s", a.URL, a.Archive)
				}
				want, a.URL = want+".tar.gz", a.Archive
			}
			if a.URL != want || uri.Value != want || uri.GetCache() != test.cache || uri.GetExecutable() != test.executable || uri.GetExtract() != test.unpack {
				t.Errorf("status %s, task %v", a.URL, uri)
			}
		})
	}
}
