package miner

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

// rootWith writes files of /sys and /proc into a folder.
func rootWith(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func siblings(lists ...string) map[string]string {
	files := make(map[string]string)
	for cpu, list := range lists {
		files["sys/devices/system/cpu/cpu"+string(rune('0'+cpu))+"/topology/thread_siblings_list"] = list + "\n"
	}
	return files
}

func TestReadCores(t *testing.T) {
	hybrid := siblings("0-1", "0-1", "2", "3")
	hybrid["sys/devices/cpu_core/cpus"] = "0-1\n"
	hybrid["sys/devices/cpu_atom/cpus"] = "2-3\n"
	littleFirst := siblings("0", "1", "2-3", "2-3")
	littleFirst["sys/devices/cpu_atom/cpus"] = "0-1\n"
	for name, c := range map[string]struct {
		files   map[string]string
		allowed []int
		want    cores
	}{
		"no SMT":              {siblings("0", "1"), []int{0, 1}, cores{{0}, {1}}},
		"neighbours":          {siblings("0-1", "0-1", "2-3", "2-3"), []int{0, 1, 2, 3}, cores{{0, 1}, {2, 3}}},
		"far apart":           {siblings("0,2", "1,3", "0,2", "1,3"), []int{0, 1, 2, 3}, cores{{0, 2}, {1, 3}}},
		"a cpuset":            {siblings("0,2", "1,3", "0,2", "1,3"), []int{1, 2, 3}, cores{{1, 3}, {2}}},
		"two kinds":           {hybrid, []int{0, 1, 2, 3}, cores{{0, 1}, {2}, {3}}},
		"the slow ones first": {littleFirst, []int{0, 1, 2, 3}, cores{{2, 3}, {0}, {1}}},
		"nothing is told":     {nil, []int{4, 7}, cores{{4}, {7}}},
		"rubbish":             {siblings("5-,x,-3,99999999-999999999"), []int{0}, cores{{0}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := readCores(rootWith(t, c.files), c.allowed); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestReadKinds(t *testing.T) {
	hybrid := siblings("0-1", "0-1", "2", "3", "4")
	hybrid["sys/devices/cpu_core/cpus"] = "0-1\n"
	hybrid["sys/devices/cpu_atom/cpus"] = "2-3\n"
	hybrid["sys/devices/cpu_lowpower/cpus"] = "4\n"
	big := siblings("0", "1", "2", "3")
	for cpu, model := range []string{"0x410fd050", "0x410fd050", "0x410fd440", "0x410fd440"} {
		folder := "sys/devices/system/cpu/cpu" + string(rune('0'+cpu))
		big[folder+"/regs/identification/midr_el1"] = model + "\n"
		big[folder+"/cpu_capacity"] = []string{"200\n", "200\n", "1000\n", "1024\n"}[cpu]
	}
	one := siblings("0", "1")
	one["sys/devices/system/cpu/cpu0/regs/identification/midr_el1"] = "1"
	one["sys/devices/system/cpu/cpu1/regs/identification/midr_el1"] = "1"
	for name, c := range map[string]struct {
		files   map[string]string
		allowed []int
		want    []kind
	}{
		"Intel, three kinds":   {hybrid, []int{0, 1, 2, 3, 4}, []kind{{"cpu_core", []int{0, 1}}, {"cpu_atom", []int{2, 3}}, {"cpu_lowpower", []int{4}}}},
		"only the small ones":  {hybrid, []int{2, 3}, []kind{{}}},
		"ARM, the big ones":    {big, []int{0, 1, 2, 3}, []kind{{"0x410fd440", []int{3, 2}}, {"0x410fd050", []int{0, 1}}}},
		"ARM, all of one kind": {one, []int{0, 1}, []kind{{}}},
		"nothing is told":      {nil, []int{0, 1}, []kind{{}}},
	} {
		t.Run(name, func(t *testing.T) {
			root := rootWith(t, c.files)
			if got := readKinds(root, readCores(root, c.allowed)); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func FuzzParseCPUList(f *testing.F) {
	for _, s := range []string{"0", "0-3,8\n", "", "-", "3-1", "0-8191", "1-99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, cpu := range parseCPUList(text) {
			if cpu < 0 || cpu >= maxCPU {
				t.Errorf("cpu %d", cpu)
			}
		}
	})
}

func TestDutyOfAQuota(t *testing.T) {
	for _, c := range []struct {
		threads     int
		quota, want float64
	}{{2, 0, 1}, {2, 1.5, 0.75}, {1, 0.5, 0.5}, {2, 2, 1}, {2, 3, 1}, {0, 1, 1}} {
		if got := dutyOf(c.threads, c.quota); got != c.want {
			t.Errorf("%d threads on %v cpus: %v, want %v", c.threads, c.quota, got, c.want)
		}
	}
}

func TestPlaces(t *testing.T) {
	smt := cores{{0, 4}, {1, 5}, {2, 6}, {3, 7}}
	for name, c := range map[string]struct {
		options Options
		cores   cores
		taken   []int // by others
		want    [][]int
		alone   []bool
		paired  int // threads that share a core with another one
	}{
		"one a core first":             {Options{Threads: 3, Pin: true}, smt, nil, [][]int{{0}, {1}, {2}}, []bool{true, true, true}, 0},
		"then the second ones":         {Options{Threads: 6, Pin: true}, smt, nil, [][]int{{0}, {1}, {2}, {3}, {4}, {5}}, []bool{false, false, true, true, false, false}, 4},
		"others were first":            {Options{Threads: 2, Pin: true}, smt, []int{0, 1}, [][]int{{2}, {3}}, []bool{true, true}, 0},
		"others have all of them":      {Options{Threads: 2, Pin: true}, cores{{0}, {1}, {2}}, []int{0, 1, 2}, [][]int{{2}, {0}}, []bool{false, false}, 0},
		"others have some":             {Options{Threads: 3, Pin: true}, cores{{0}, {1}, {2}}, []int{0}, [][]int{{1}, {2}, {0}}, nil, 0},
		"more threads than cpus":       {Options{Threads: 3, Pin: true}, cores{{0}, {1}}, nil, [][]int{{0}, {1}, {0}}, nil, 0},
		"bound to cores":               {Options{Threads: 2, OneACore: true}, smt, nil, [][]int{{0, 4}, {1, 5}}, []bool{true, true}, 0},
		"pinned, and no second ones":   {Options{Threads: 2, OneACore: true, Pin: true}, smt, nil, [][]int{{0}, {1}}, []bool{true, true}, 0},
		"nothing is known of the cpus": {Options{Threads: 2, Pin: true}, nil, nil, [][]int{nil, nil}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			places := make([]place, c.options.Threads)
			c.options.placeOn(c.cores, func(cpu int) bool { return !slices.Contains(c.taken, cpu) }, 2, places)
			paired := 0
			for i, p := range places {
				if !slices.Equal(p.cpus, c.want[i]) {
					t.Errorf("thread %d is on %v, want %v", i, p.cpus, c.want[i])
				}
				if c.alone != nil && p.alone != c.alone[i] {
					t.Errorf("thread %d: alone %v", i, p.alone)
				}
				if p.shared != nil {
					paired++
				}
			}
			if paired != c.paired {
				t.Errorf("%d threads share a core, want %d", paired, c.paired)
			}
		})
	}
}
