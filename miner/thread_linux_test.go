package miner

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lode/miner/internal/scan"
)

// tasks counts the threads of this process whose niceness and policy are these
// (fields 19 and 41 of /proc/self/task/*/stat, see proc(5)).
func tasks(t *testing.T, nice, policy int) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ") // the name may hold anything
		fields := strings.Fields(rest)                // from field 3
		if fields[19-3] == strconv.Itoa(nice) && fields[41-3] == strconv.Itoa(policy) {
			n++
		}
	}
	return n
}

// hasPriorities says whether this system lets a thread have such a priority, and shows it.
func hasPriorities(t *testing.T, nice, policy int) bool {
	done := make(chan bool)
	go func() {
		runtime.LockOSThread() // for good: the thread ends
		tid := unix.Gettid()
		ok := unix.Setpriority(unix.PRIO_PROCESS, tid, nice) == nil
		if policy != 0 {
			attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: uint32(policy), Nice: int32(nice)}
			ok = ok && unix.SchedSetAttr(0, &attr, 0) == nil
		}
		done <- ok && tasks(t, nice, policy) > 0
	}()
	return <-done
}

func TestThreadsHaveTheirPriority(t *testing.T) {
	for _, o := range []Options{{Nice: 7}, {Nice: 5, Idle: true}, {Nice: 3, Pin: true}} {
		o.Threads = 3
		policy := 0
		if o.Idle {
			policy = schedIdle
		}
		if !hasPriorities(t, o.Nice+10, policy) {
			t.Logf("left out: this system lets no thread have niceness %d and policy %d, or does not show it", o.Nice, policy)
			continue
		}
		e := newEngine(o, portablePair(t), allNonces)
		e.SetWork(easyWork(32))
		t.Run("", func(t *testing.T) {
			start(t, e)
			eventually(t, "three threads with their priority", func() bool { return tasks(t, o.Nice, policy) == 3 })
		})
		// The threads end with the engine: no other goroutine inherits them.
		eventually(t, fmt.Sprintf("%+v: no threads are left", o), func() bool { return tasks(t, o.Nice, policy) == 0 })
	}
}

// noting notes the niceness of the threads that scan.
type noting struct {
	scan.Scanner
	most *atomic.Int32
}

func (n noting) Scan(nonce uint32, count int) []scan.Candidate {
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil { // the system call tells 20 less the niceness
		n.most.Store(max(n.most.Load(), int32(20-nice)))
	}
	return n.Scanner.Scan(nonce, count)
}

// Kernels are measured with the priority that the threads will have.
func TestCalibrationIsNice(t *testing.T) {
	if !hasPriorities(t, 19, 0) {
		t.Skip("this system lets no thread have niceness 19, or does not show it")
	}
	all := scan.Kernels()
	var most atomic.Int32
	for i := range all {
		made := all[i].New
		all[i].New = func() scan.Scanner { return noting{made(), &most} }
	}
	if _, _, err := calibrate(all, ground{nice: 19}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if most.Load() != 19 {
		t.Errorf("niceness %d", most.Load())
	}
}

func TestDescribeGroup(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  Host
	}{
		"none": {nil, Host{}},
		"version 2": {map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.weight": "1\n", "sys/fs/cgroup/a/b/cpu.idle": "1\n",
			"sys/fs/cgroup/a/b/cpu.max": "150000 100000\n", "sys/fs/cgroup/a/cpu.weight": "100\n",
		}, Host{Cgroup: 2, Weight: 1, IdleGroup: true, Quota: 1.5}},
		"version 1 beside version 2 without a controller": {map[string]string{
			"proc/self/cgroup":                   "1:cpu:/m\n0::/\n",
			"sys/fs/cgroup/cpu/m/cpu.shares":     "10\n",
			"sys/fs/cgroup/unified/cgroup.procs": "",
		}, Host{Cgroup: 1, Weight: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := describeGroup(rootWith(t, c.files)); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// What control groups and the kernel tell of a starved process, on the machines of testdata/hosts.
func TestStarvation(t *testing.T) {
	type throttling struct {
		periods, throttled uint64
		ok                 bool
	}
	type pressure struct {
		machine, own time.Duration
		ok           bool
	}
	const us = time.Microsecond
	for _, c := range []struct {
		host       string
		quota      float64
		throttling throttling
		pressure   pressure
	}{
		{"container-with-quota-v2", 1.5, throttling{1210, 1188, true}, pressure{88123456 * us, 61234567 * us, true}},
		{"nested-on-busy-host-v2", 3, throttling{400, 12, true}, pressure{912345678 * us, 4321 * time.Millisecond, true}},
		{"path-of-the-host-v2", 0, throttling{}, pressure{70 * time.Second, 20 * time.Second, true}},
		{"no-pressure-v2", 0.5, throttling{9, 0, true}, pressure{}},
		{"v1", 2, throttling{77, 33, true}, pressure{}},
		{"v1-beside-v2", 0, throttling{}, pressure{912345678 * us, 4321 * time.Millisecond, true}},
		{"rubbish", 0, throttling{}, pressure{}},
		{"missing", 0, throttling{}, pressure{}},
	} {
		t.Run(c.host, func(t *testing.T) {
			root := filepath.Join("testdata/hosts", c.host)
			if got := cgroupQuota(root); got != c.quota {
				t.Errorf("quota %v, want %v", got, c.quota)
			}
			var th throttling
			if th.periods, th.throttled, th.ok = cgroupThrottling(root); th != c.throttling {
				t.Errorf("%+v, want %+v", th, c.throttling)
			}
			var p pressure
			if p.machine, p.own, p.ok = cpuPressure(root); p != c.pressure {
				t.Errorf("%+v, want %+v", p, c.pressure)
			}
		})
	}
	folders, err := os.ReadDir("testdata/hosts")
	if err != nil || len(folders) != 7 {
		t.Errorf("%d machines, %v: each is to be in the table", len(folders), err)
	}
}

func FuzzParsePressure(f *testing.F) {
	for _, s := range []string{
		"some avg10=0.22 avg60=0.17 avg300=1.11 total=58761459\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"some total=9223372036854775807\n", "some total=9223372036854775\n", "some total=-1\n", "full total=5\n", "some\n", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if total, ok := parsePressure(text); total < 0 || total%time.Microsecond != 0 || !ok && total != 0 {
			t.Errorf("%v, %v", total, ok)
		}
	})
}

// Whatever the list of groups says, files are looked for below the mount only.
func FuzzParseGroups(f *testing.F) {
	for _, s := range []string{"0::/a/b\n", "4:cpu,cpuacct:/x\n0::/\n", "0::/../../../etc\n", "1:cpu,..:/\n", "1:../cpu,cpu:/\n", "1:cpu,/..:/..\n", "::\n:cpu:\n", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		for _, g := range parseGroups(list) {
			if g.version != 1 && g.version != 2 {
				t.Errorf("version %d", g.version)
			}
			if path := filepath.Join("/mount", g.folder); path != "/mount" && !strings.HasPrefix(path, "/mount/") {
				t.Errorf("%q leads to %s", list, path)
			}
		}
	})
}

func FuzzStatField(f *testing.F) {
	for _, s := range []string{"nr_periods 70\nnr_throttled 7\n", "nr_throttled 99999999999999999999\n", "nr_throttled -1\n", "nr_throttled", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if n := field(text, "nr_throttled"); n != 0 && !bytes.Contains(text, []byte("nr_throttled ")) {
			t.Errorf("%d", n)
		}
	})
}

func TestCgroupQuota(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  float64
	}{
		{"none", nil, 0},
		{"version 2", map[string]string{
			"proc/self/cgroup":          "0::/a/b\n",
			"sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
			"sys/fs/cgroup/a/cpu.max":   "150000 100000\n",
		}, 1.5},
		{"version 2 in a container", map[string]string{
			"proc/self/cgroup":      "0::/of/the/host\n",
			"sys/fs/cgroup/cpu.max": "50000 100000\n",
		}, 0.5},
		{"version 1", map[string]string{
			"proc/self/cgroup": "12:memory:/m\n4:cpu,cpuacct:/mesos/x\n1:name=systemd:/\n",
			"sys/fs/cgroup/cpu,cpuacct/mesos/x/cpu.cfs_quota_us":  "300000\n",
			"sys/fs/cgroup/cpu,cpuacct/mesos/x/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":          "-1\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":         "100000\n",
		}, 3},
		{"rubbish", map[string]string{
			"proc/self/cgroup":      "0::/\nnot a line\n",
			"sys/fs/cgroup/cpu.max": "many 0\n",
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range c.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := cgroupQuota(root); got != c.want {
				t.Errorf("quota %v, want %v", got, c.want)
			}
		})
	}
}
