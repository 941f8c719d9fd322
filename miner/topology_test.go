package miner

import (
	"os"
	"path/filepath"
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
