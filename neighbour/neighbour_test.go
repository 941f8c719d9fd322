package neighbour

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	JobMain()
	os.Exit(m.Run())
}

// The whole, with real processes: every figure is there, whatever the machine is busy with.
func TestRun(t *testing.T) {
	switch {
	case testing.Short():
		t.Skip("takes some seconds")
	case runtime.GOOS != "linux":
		t.Skip("binding processes to cpus is for Linux only")
	}
	steps := 0
	r, err := Run(t.Context(), Options{
		Rounds: 1, Time: 300 * time.Millisecond, Load: 0.3, CPU: -1, Yield: "sense", Kernel: "portable-roll",
		Beside: []string{"while :; do :; done"}, jobs: []string{Server}, Placements: []string{Same},
		Progress: func(step, of int, what string) {
			if steps++; step != steps || step > of || what == "" {
				t.Errorf("step %d of %d after %d: %q", step, of, steps, what)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Noisy || r.CPU == "" || r.KernelRelease == "" || len(r.Harvest) != 4 || len(r.Results) < 3 {
		t.Errorf("%+v", r)
	}
	for _, x := range r.Results {
		if x.Job != Server || x.P50 <= 0 || x.P99 < x.P50 || x.P999 < x.P99 || x.Throughput <= 0 {
			t.Errorf("%+v", x)
		}
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil || !strings.Contains(table.String(), "too noisy") {
		t.Errorf("%v:\n%s", err, &table)
	}
}

func TestInterruptedRun(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("binding processes to cpus is for Linux only")
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, Options{
		Rounds: 1, Time: time.Hour, Load: 0.3, CPU: -1, Yield: "sense",
		Progress: func(int, int, string) { time.AfterFunc(50*time.Millisecond, cancel) },
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	good := Options{Rounds: 1, Time: time.Second, Load: 0.5, CPU: -1, Yield: "sense"}
	for name, change := range map[string]func(*Options){
		"no rounds":     func(o *Options) { o.Rounds = 0 },
		"no time":       func(o *Options) { o.Time = 0 },
		"all load":      func(o *Options) { o.Load = 1 },
		"no load":       func(o *Options) { o.Load = 0 },
		"no such cpu":   func(o *Options) { o.CPU = 100_000 },
		"no such place": func(o *Options) { o.Placements = []string{Same, "moon"} },
	} {
		o := good
		change(&o)
		if bad := new(OptionError); runtime.GOOS == "linux" {
			if _, err := Run(t.Context(), o); !errors.As(err, &bad) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestPlaces(t *testing.T) {
	socket := func(int) []int { return []int{0, 1, 2, 3, 4, 5, 6, 7} }
	for name, c := range map[string]struct {
		cores  [][]int
		wanted int
		cpu    int
		places map[string][]int
	}{
		"two cores":         {[][]int{{0}, {1}}, -1, 1, map[string][]int{Same: {1}, Socket: {0}}},
		"SMT":               {[][]int{{0, 2}, {1, 3}}, -1, 3, map[string][]int{Same: {3}, Sibling: {1}, Socket: {0, 2}}},
		"a given one":       {[][]int{{0, 2}, {1, 3}}, 0, 0, map[string][]int{Same: {0}, Sibling: {2}, Socket: {1, 3}}},
		"one cpu":           {[][]int{{5}}, -1, 5, map[string][]int{Same: {5}}},
		"on another socket": {[][]int{{0}, {9}}, -1, 9, map[string][]int{Same: {9}, Socket: {0}}},
	} {
		cpu, places, err := choosePlaces(c.cores, socket, c.wanted)
		if err != nil || cpu != c.cpu || !reflect.DeepEqual(places, c.places) {
			t.Errorf("%s: cpu %d, %v, %v", name, cpu, places, err)
		}
	}
	if _, _, err := choosePlaces(nil, socket, -1); err == nil {
		t.Error("no cpus at all were accepted")
	}
}

func TestParseBusy(t *testing.T) {
	const text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu1 10 20 30 999 999 1 2 3 0 0\ncpu11 1 1 1 1 1 1 1 1 0 0\nintr 5\n"
	if ticks, ok := parseBusy(text, 1); !ok || ticks != 66 {
		t.Errorf("%d %v", ticks, ok)
	}
	if _, ok := parseBusy(text, 2); ok {
		t.Error("a cpu that is not there is busy")
	}
}

// lab is a bench with made-up samples.
func lab(rounds int) (b *bench, jobs []*measurement, harvests []harvest) {
	b = &bench{options: Options{Rounds: rounds, jobs: []string{Server, Batch}}, places: map[string][]int{Same: {1}}, taken: map[*measurement][]sample{}}
	jobs, harvests = b.plan()
	for round := range rounds {
		for _, m := range jobs {
			s := sample{outcome: outcome{Units: 5000, Wall: 2 * time.Second, P50: 200, P99: 900, P999: 1500 + float64(round), WakeP50: 5, WakeP99: 20}, window: 2 * time.Second}
			if m.beside != nil {
				s.P99, s.Units = 990, 4900
			}
			b.taken[m] = append(b.taken[m], s)
		}
		for _, h := range harvests {
			job := time.Duration(h.load * 2 * float64(time.Second))
			idle := 2*time.Second - job
			took := 1 - h.load/20 // what is left of the idle time after switches
			turns := idle.Seconds() * 7e8 * took
			b.taken[h.yardstick] = append(b.taken[h.yardstick], sample{job: job, window: 2 * time.Second, spent: idle, done: uint64(turns)})
			hashes := idle.Seconds() * 9e6 * took * (1 - h.load/10)
			b.taken[h.lode] = append(b.taken[h.lode], sample{job: job, window: 2 * time.Second, spent: idle, done: uint64(hashes)})
		}
	}
	return b, jobs, harvests
}

func TestReport(t *testing.T) {
	b, jobs, harvests := lab(3)
	r := b.report(jobs, harvests)
	if r.Noisy {
		t.Errorf("noisy: %+v", r.Noise)
	}
	if len(r.Results) != 4 || r.Yield != (Yield{5, 20, 5, 20}) {
		t.Errorf("%+v", r)
	}
	for i, want := range []float64{1, 0.98, 0.95, 0.92} {
		if got := r.Harvest[i]; got.Share < want-1e-6 || got.Share > want+1e-6 {
			t.Errorf("harvest %+v, want %v", got, want)
		}
	}
	if h := r.Harvest[2]; h.OfTime < 0.926 || h.OfTime > 0.927 || h.Yardstick < 0.974 || h.Yardstick > 0.976 {
		t.Errorf("of the time: %+v", h)
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"+10.0 %", "-2.0 %", "95.0 % was harvested (95.0–95.0 %): 92.6 % of the time, of which a loop got 97.5 %"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &table)
		}
	}
	for _, name := range []string{"p.svg"} {
		file := filepath.Join(t.TempDir(), name)
		if err := r.SavePlot(file); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(file); err != nil || info.Size() < 1000 {
			t.Errorf("%v %v", info, err)
		}
	}
	if r.SavePlot("p.png") == nil {
		t.Error("a .png was accepted")
	}
}

// On a busy machine a miner may have had no time at all: then nothing was harvested.
func TestStarvedMiner(t *testing.T) {
	b, jobs, harvests := lab(3)
	for _, h := range harvests {
		for i := range b.taken[h.lode] {
			b.taken[h.lode][i].spent, b.taken[h.lode][i].done = 0, 0
			b.taken[h.yardstick][i].spent, b.taken[h.yardstick][i].done = 0, 0
		}
	}
	r := b.report(jobs, harvests)
	for _, h := range r.Harvest {
		if h.Share != 0 {
			t.Errorf("%+v", h)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestNoisyMachines(t *testing.T) {
	for name, change := range map[string]func(*bench, []*measurement){
		"strangers":  func(b *bench, m []*measurement) { b.taken[m[0]][0].others = time.Second },
		"latencies":  func(b *bench, m []*measurement) { b.taken[m[0]][0].P99 = 1000 },
		"throughput": func(b *bench, m []*measurement) { b.taken[m[2]][0].Units = 5110 },
	} {
		b, jobs, harvests := lab(3)
		change(b, jobs)
		if r := b.report(jobs, harvests); !r.Noisy || r.Noise.Why == "" {
			t.Errorf("%s: %+v", name, r.Noise)
		}
	}
	b, jobs, harvests := lab(2)
	if r := b.report(jobs, harvests); !r.Noisy {
		t.Error("two rounds are enough")
	}
}

// Other programs rely on these names.
func TestShape(t *testing.T) {
	b, jobs, harvests := lab(3)
	text, err := json.Marshal(b.report(jobs, harvests))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	has := func(where string, object any, names ...string) {
		m, ok := object.(map[string]any)
		if !ok {
			t.Fatalf("%s is %T", where, object)
		}
		for _, name := range names {
			if _, ok := m[name]; !ok {
				t.Errorf("%s lacks %s: %v", where, name, m)
			}
		}
	}
	has("report", got, "cpu", "kernel_release", "rounds", "noisy", "results", "yield", "harvest")
	has("result", got["results"].([]any)[0], "job", "placement", "beside", "p50_us", "p99_us", "p999_us", "throughput")
	has("yield", got["yield"], "p50_us", "p99_us")
	has("harvest", got["harvest"].([]any)[0], "foreign_load", "share")
}

// A command that has ended leaves a job alone, which is not what was asked for; and what
// leaves its group, as a daemon does, ends with the rest.
func TestCommandsBeside(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("binding processes to cpus is for Linux only")
	}
	pidFile := filepath.Join(t.TempDir(), "pid")
	for name, c := range map[string]struct{ command, want string }{
		"there is none": {"no-such-miner-anywhere", "exit status 127"},
		"one that ends": {"sleep 0.4", "exit status 0"},
		"a daemon":      {"setsid sleep 600 & echo $! >" + pidFile, "foreground"},
		"it is killed":  {"sleep 0.1; kill -9 $$", "signal: killed"},
	} {
		_, err := Run(t.Context(), Options{
			Rounds: 1, Time: 500 * time.Millisecond, Load: 0.3, CPU: -1, Yield: "sense", Kernel: "portable-roll",
			Beside: []string{c.command}, jobs: []string{Batch}, Placements: []string{Same},
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	gone := func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(text)), "stat"))
		return err != nil || strings.Contains(string(stat), ") Z")
	}
	for deadline := time.Now().Add(30 * time.Second); !gone(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a process is left behind")
		}
	}
}

// Ctrl-C leaves no process behind, whatever a command does.
func TestInterruptedCommand(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("binding processes to cpus is for Linux only")
	}
	ctx, cancel := context.WithCancel(t.Context())
	mark := "LODE_TEST_MARK_" + filepath.Base(t.TempDir())
	t.Setenv(mark, "1")
	_, err := Run(ctx, Options{
		Rounds: 1, Time: time.Second, Load: 0.3, CPU: -1, Yield: "sense", jobs: []string{Batch}, Placements: []string{Same}, Kernel: "portable-roll",
		Beside: []string{"trap '' INT TERM HUP; setsid sh -c 'while :; do sleep 1; done' & while :; do sleep 1; done"},
		Progress: func(step, _ int, _ string) {
			if step == 3 { // beside the command
				time.AfterFunc(600*time.Millisecond, cancel)
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if bytes.Contains(environ, []byte(mark)) {
			cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
			t.Errorf("process %s is left: %q", e.Name(), cmdline)
		}
	}
}
