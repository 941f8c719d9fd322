package miner

import (
	"reflect"
	"testing"
)

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
