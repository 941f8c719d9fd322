package miner

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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

func TestThrottling(t *testing.T) {
	files := map[string]string{
		"proc/self/cgroup":          "0::/a/b\n",
		"sys/fs/cgroup/a/cpu.max":   "150000 100000\n",
		"sys/fs/cgroup/a/cpu.stat":  "usage_usec 5\nnr_periods 70\nnr_throttled 7\nthrottled_usec 1\n",
		"sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
	}
	if periods, throttled, ok := cgroupThrottling(rootWith(t, files)); periods != 70 || throttled != 7 || !ok {
		t.Errorf("%d, %d, %v", periods, throttled, ok)
	}
	delete(files, "sys/fs/cgroup/a/cpu.max")
	if _, _, ok := cgroupThrottling(rootWith(t, files)); ok {
		t.Error("a group without a quota is throttled")
	}
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
