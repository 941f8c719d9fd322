package memory

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestGroupLimit(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no groups": {nil, 0},
		"version 2": {map[string]string{
			"proc/self/cgroup": "0::/task/1\n", "sys/fs/cgroup/task/1/memory.max": "268435456\n", "sys/fs/cgroup/task/memory.max": "max\n",
		}, 256 << 20},
		"version 2, limit above": {map[string]string{
			"proc/self/cgroup": "0::/task/1\n", "sys/fs/cgroup/task/1/memory.max": "max\n", "sys/fs/cgroup/task/memory.max": "1000\n",
		}, 1000},
		"version 2, seen from inside": {map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "12345\n",
		}, 12345},
		"version 2, not ours to see": {map[string]string{
			"proc/self/cgroup": "0::/../../task\n", "sys/fs/cgroup/memory.max": "777\n",
		}, 777},
		"version 1": {map[string]string{
			"proc/self/cgroup": "11:cpu,cpuacct:/x\n4:memory:/mesos/a\n1:name=systemd:/y\n",
			"sys/fs/cgroup/memory/mesos/a/memory.limit_in_bytes": "536870912\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 512 << 20},
		"version 2, both": {map[string]string{
			"proc/self/cgroup": "0::/task/1\n", "sys/fs/cgroup/task/1/memory.max": "1000\n", "sys/fs/cgroup/task/memory.max": "2000\n",
		}, 1000},
		"version 2, less above": {map[string]string{
			"proc/self/cgroup": "0::/task/1\n", "sys/fs/cgroup/task/1/memory.max": "2000\n", "sys/fs/cgroup/task/memory.max": "1000\n",
		}, 1000},
		"version 1, none": {map[string]string{
			"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0},
		"none":     {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		"nonsense": {map[string]string{"proc/self/cgroup": "what\n::\n0::/\n", "sys/fs/cgroup/memory.max": "-5\n"}, 0},
	} {
		if got := groupLimit(rootWith(t, c.files)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// rootWith is a folder with files.
func rootWith(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestContainer: a process in a container keeps nine tenths of what that may have, or to
// GOMEMLIMIT if that is less, and has the runtime keep to it if nobody has set another limit.
func TestContainer(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	const none = math.MaxInt64
	group := map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "10000000000\n"}
	for name, c := range map[string]struct {
		files                  map[string]string
		runtime, limit, obeyed int64
	}{
		"no limit":            {nil, none, 0, none},
		"a container's":       {group, none, 9_000_000_000, 9_000_000_000},
		"GOMEMLIMIT, less":    {group, 8_000_000_000, 8_000_000_000, 8_000_000_000},
		"GOMEMLIMIT, greater": {group, 20_000_000_000, 9_000_000_000, 20_000_000_000},
		"GOMEMLIMIT alone":    {nil, 8_000_000_000, 8_000_000_000, 8_000_000_000},
	} {
		root := rootWith(t, c.files)
		debug.SetMemoryLimit(c.runtime)
		if got := limitBelow(root); got != c.limit {
			t.Errorf("%s: %d, want %d", name, got, c.limit)
		}
		obey(root)
		if got := debug.SetMemoryLimit(-1); got != c.obeyed {
			t.Errorf("%s: the runtime keeps to %d, want %d", name, got, c.obeyed)
		}
	}
}

func TestLimit(t *testing.T) {
	before := debug.SetMemoryLimit(1 << 20)
	defer debug.SetMemoryLimit(before)
	if got := Limit(); got > 1<<20 || got <= 0 {
		t.Errorf("limit %d, want that of the runtime", got)
	}
	Obey()
	if got := debug.SetMemoryLimit(-1); got != 1<<20 {
		t.Errorf("the limit was changed to %d", got)
	}
}

func TestNeeded(t *testing.T) {
	before := Needed()
	ballast := make([]byte, 64<<20)
	debug.FreeOSMemory() // collects garbage
	if after := Needed(); before <= 0 || after-before < 32<<20 {
		t.Errorf("%d bytes needed, then %d with 64 MiB more", before, after)
	}
	ballast[0] = 1
}

func TestGuard(t *testing.T) {
	var g Guard
	for i, step := range []struct {
		needed, limit int64
		full, changed bool
	}{
		{84, 100, false, false},
		{85, 100, true, true},
		{200, 100, true, false},
		{75, 100, true, false},
		{74, 100, false, true},
		{84, 100, false, false},
		{1 << 40, 0, false, false},
		{85, 100, true, true},
		{85, 0, false, true},
	} {
		if full, changed := g.Look(step.needed, step.limit); full != step.full || changed != step.changed {
			t.Errorf("step %d: full %v, changed %v", i, full, changed)
		}
	}
}
