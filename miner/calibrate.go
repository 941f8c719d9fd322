package miner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/cpuid/v2"

	"lode/miner/internal/limits"
	"lode/miner/internal/scan"
)

// A calibration is what is known of the kernels on one machine.
type calibration struct {
	// Machine is the digest that the file stands for; see machineID.
	Machine string `json:"machine"`
	Plain   string `json:"plain"`
	Roll    string `json:"roll"`
	// Runs is how often the best kernels were told from the others.
	Runs int `json:"runs"`
	// CyclesPerHash is the least that was found of each kernel; nanoseconds where there
	// is no clock of the core.
	CyclesPerHash map[string]float64 `json:"cycles_per_hash"`
	// guesses are of kernels whose samples did not agree: not stored, but better than
	// to leave out what may be the best one.
	guesses map[string]float64
}

// settled is the number of runs after which there are no more. One may meet a core
// whose other half is busy all the while, which slows each kernel down by another
// factor.
const settled = 4

// merge adds what a run has found. Whatever disturbs it makes a kernel dearer, so the
// least cost of all runs is the true one.
func (c calibration) merge(found calibration, all []scan.Kernel) (kernelPair, calibration) {
	costs := maps.Clone(found.CyclesPerHash)
	for name, cost := range c.CyclesPerHash {
		if now, ok := costs[name]; !ok || cost < now {
			costs[name] = cost
		}
	}
	merged := calibration{Machine: found.Machine, Plain: found.Plain, Roll: found.Roll, Runs: c.Runs + found.Runs, CyclesPerHash: costs}
	for _, rolling := range []bool{false, true} {
		var names []string
		var costOf []float64
		for _, k := range all {
			cost, ok := costs[k.Name]
			if !ok {
				cost, ok = found.guesses[k.Name]
			}
			if ok && k.Rolling == rolling && k.Missing == "" {
				names, costOf = append(names, k.Name), append(costOf, cost)
			}
		}
		switch {
		case len(names) == 0:
		case rolling:
			merged.Roll = names[preferred(costOf)]
		default:
			merged.Plain = names[preferred(costOf)]
		}
	}
	pair, err := merged.pair(all)
	if err != nil { // a kernel of the past; what was found now can be used
		pair, _ = found.pair(all)
		return pair, found
	}
	return pair, merged
}

// The search for the best kernel of those that roll versions, and of those that do not,
// ends after so much time of the cpu or of the clock. Nobody waits for it.
const calibrationCPU, calibrationTime = 50 * time.Millisecond, 10 * time.Second

func (g *ground) over() bool { return g.ended != nil && g.ended() }

// ground is where kernels are measured.
type ground struct {
	// ended, unless it is nil, says that nobody waits for the outcome any more.
	ended func() bool
	// crowded: as they are when both cpus of a core hash.
	crowded bool
	// nice is the niceness of those who measure: as that of the threads, for neighbours are not to
	// feel this either.
	nice int
	kind kind // of core
}

// calibrate measures all kernels that pass their self-test. The portable kernels are
// measured only when there is no other.
func calibrate(all []scan.Kernel, on ground, log *slog.Logger) (kernelPair, calibration, error) {
	var groups [2][]*trial // that do not roll, and that do
	for i := range all {
		k := &all[i]
		group := &groups[0]
		if k.Rolling {
			group = &groups[1]
		}
		if k.Missing != "" || len(*group) > 0 && k.Fallback {
			continue
		}
		if err := k.Verify(); err != nil {
			log.Error("kernel failed its self-test", "kernel", k.Name, "error", err)
			continue
		}
		*group = append(*group, newTrial(k))
	}
	if len(groups[0]) == 0 || len(groups[1]) == 0 {
		return kernelPair{}, calibration{}, errNoKernel
	}
	found := calibration{CyclesPerHash: make(map[string]float64), guesses: make(map[string]float64), Runs: 1}
	var pair kernelPair
	done := make(chan struct{})
	go func() { // its thread ends with it, and may be pinned
		defer close(done)
		runtime.LockOSThread()
		beside, leave := on.enter()
		defer leave()
		var w stopwatch
		for i, best := range []**scan.Kernel{&pair.plain, &pair.roll} {
			group := groups[i]
			begin, cpu := time.Now(), cpuClock()
			c := choose(len(group), func(i int) float64 {
				if on.over() { // a sample can take seconds where others have the cpu
					return 0
				}
				beside.run(group[i].kernel)
				return group[i].cost(&w)
			}, func() bool {
				return cpuClock()-cpu < calibrationCPU && time.Since(begin) < calibrationTime && !on.over()
			})
			*best = found.conclude(group, c)
		}
	}()
	<-done
	found.Plain, found.Roll = pair.plain.Name, pair.roll.Name
	return pair, found, nil
}

// conclude takes in what a choice between kernels of a sort gave, and says which one is to be
// used. A machine that is too busy for samples enough tells nothing: one sample may be twice
// what it should be, so the first kernel, which is likely to be the best, stays.
func (c *calibration) conclude(group []*trial, made choice) *scan.Kernel {
	if !made.sure {
		c.Runs = 0
	}
	if made.samples < choiceLeast {
		return group[0].kernel
	}
	for i, t := range group {
		if made.agreed(i) {
			c.CyclesPerHash[t.kernel.Name] = made.costs[i]
		} else {
			c.guesses[t.kernel.Name] = made.costs[i]
		}
	}
	return group[made.best].kernel
}

// trial is the measurement of one kernel.
type trial struct {
	kernel  *scan.Kernel
	scanner scan.Scanner
	nonce   uint32
}

func newTrial(k *scan.Kernel) *trial {
	t := &trial{kernel: k, scanner: k.New()}
	t.scanner.Reset(&scan.Job{States: make([]scan.State, k.States), Mask: ^uint32(0)})
	return t
}

// batch hashes once and says how long that took, in seconds, and how many hashes it
// was. Time in which others had the cpu does not count.
func (t *trial) batch() (seconds float64, hashes int) {
	count := t.kernel.Batch / t.kernel.States / t.kernel.Nonces * t.kernel.Nonces
	begin := cpuClock()
	t.scanner.Scan(t.nonce, count)
	t.nonce += uint32(count)
	return (cpuClock() - begin).Seconds(), count * t.kernel.States
}

// epoch is of the clock where threads have none of their own.
var epoch = time.Now()

// cpuClock is the cpu time of the calling thread.
func cpuClock() time.Duration {
	if t := threadTime(); t > 0 {
		return t
	}
	return time.Since(epoch)
}

// cost is the cycles a hash of one batch, or nanoseconds where there is no clock of the
// core.
func (t *trial) cost(w *stopwatch) float64 {
	var hashes int
	cycles := w.cycles(func() (seconds float64) {
		seconds, hashes = t.batch()
		return seconds
	})
	return cycles / float64(hashes)
}

// stopwatch turns times that follow each other into cycles.
type stopwatch struct{ cycle float64 } // seconds that one took after the time before

// cycles measures run, which says how many seconds something took. As limits.Cycles it
// goes by the faster clock of those right before and after it, but the one before is the
// one after what was measured last: that is a third of the time that a calibration takes.
func (w *stopwatch) cycles(run func() float64) float64 {
	if w.cycle == 0 {
		w.cycle = limits.Cycle()
	}
	before, seconds := w.cycle, run()
	if before == 0 {
		return seconds * 1e9
	}
	w.cycle = limits.Cycle()
	return seconds / min(before, w.cycle)
}

// companion runs the kernel that is being measured on the other cpu of the core.
type companion struct {
	kernel atomic.Pointer[scan.Kernel]
	ended  atomic.Bool
}

// enter binds the calling thread to cores of the kind, or pins it, if both cpus of a core
// are to hash, to one cpu whose core's other one runs what it is told, until leave is called.
func (g ground) enter() (c *companion, leave func()) {
	c = new(companion)
	o := &Options{Nice: g.nice}
	if !g.crowded {
		o.placeThread(place{cpus: g.kind.cpus})
		return c, func() {}
	}
	for _, cpus := range usableCores() {
		if len(cpus) < 2 || len(g.kind.cpus) > 0 && !slices.Contains(g.kind.cpus, cpus[0]) {
			continue
		}
		o.placeThread(place{cpus: cpus[:1]})
		var thread sync.WaitGroup
		thread.Go(func() {
			runtime.LockOSThread()
			o.placeThread(place{cpus: cpus[1:2]})
			c.loop()
		})
		return c, func() {
			c.ended.Store(true)
			thread.Wait()
		}
	}
	o.placeThread(place{cpus: g.kind.cpus})
	return c, func() {}
}

func (c *companion) run(k *scan.Kernel) { c.kernel.Store(k) }

func (c *companion) loop() {
	var t *trial
	for !c.ended.Load() {
		k := c.kernel.Load()
		if k == nil {
			continue
		}
		if t == nil || t.kernel != k {
			t = newTrial(k)
		}
		t.batch()
	}
}

// crowded says whether the engine's threads share cores with each other.
func (o *Options) crowded() bool {
	all := usableCores()
	threads := o.Threads
	if threads == 0 {
		threads = o.availableThreads()
	}
	return !o.OneACore && all.smt() && threads > len(all)
}

const (
	// contradiction is by how much a kernel is slower, on a free core, than it was
	// measured, or faster, when the measurement is not believed any more.
	contradiction = 1.15
	// contradictions is how often in a row.
	contradictions = 6
)

// contradicted says whether a kernel that needs this many cycles was measured wrong, in
// a way that could have led to another choice.
func (c *calibration) contradicted(kernel *scan.Kernel, cycles float64, all []scan.Kernel) bool {
	measured, ok := c.CyclesPerHash[kernel.Name]
	if !ok {
		return false
	}
	rival := slices.ContainsFunc(all, func(k scan.Kernel) bool {
		cost, ok := c.CyclesPerHash[k.Name]
		return ok && k.Rolling == kernel.Rolling && k.Name != kernel.Name && cost < max(cycles, contradiction*contradiction*measured)
	})
	return rival && (cycles > contradiction*measured || contradiction*cycles < measured)
}

// calibrationStore keeps one calibration in a file that stands for one machine, its
// processor, microcode and kernels, and one build of this program. An empty path keeps
// nothing.
type calibrationStore struct{ path, machine string }

// userCalibrations is the store in the user's cache folder; where there is no such
// folder (no HOME, as in a bare container) nothing is kept.
func userCalibrations(all []scan.Kernel, on ground) calibrationStore {
	folder, err := os.UserCacheDir()
	if err != nil {
		return calibrationStore{}
	}
	id := machineID("/", all, on)
	return calibrationStore{filepath.Join(folder, "lode", "kernels-"+id[:16]+".json"), id}
}

// machineID is a digest of everything that a calibration depends on. root is "/" except
// in tests.
func machineID(root string, all []scan.Kernel, on ground) string {
	id := sha256.New()
	c := &cpuid.CPU
	fmt.Fprintln(id, runtime.GOARCH, c.VendorString, c.BrandName, c.Family, c.Model, c.Stepping, c.FeatureSet(), on.crowded)
	if on.kind.name != "" {
		fmt.Fprintln(id, on.kind.name)
	}
	for _, k := range all {
		fmt.Fprintln(id, k.Name, k.Revision, k.Missing)
	}
	// Homes and images are shared between machines: there are many of this kind.
	name, err := os.ReadFile(filepath.Join(root, "etc/machine-id"))
	if err != nil {
		host, _ := os.Hostname()
		name = []byte(host)
	}
	fmt.Fprintf(id, "%q %q\n", name, microcode(root))
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, s := range build.Settings {
			if s.Key == "vcs.revision" || s.Key == "vcs.modified" {
				fmt.Fprintln(id, s.Key, s.Value)
			}
		}
	}
	return hex.EncodeToString(id.Sum(nil))
}

// microcode is what /proc/cpuinfo says of the first processor, or nothing.
func microcode(root string) string {
	text, _ := os.ReadFile(filepath.Join(root, "proc/cpuinfo"))
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "microcode" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (s calibrationStore) load() (c calibration, ok bool) {
	if s.path == "" {
		return c, false
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return c, false
	}
	return c, json.Unmarshal(text, &c) == nil && c.Machine == s.machine
}

func (s calibrationStore) save(c calibration) error {
	if s.path == "" {
		return nil
	}
	c.Machine = s.machine
	text, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return err
	}
	// A rename makes it whole for others; there is no need to survive a crash.
	file, err := os.CreateTemp(filepath.Dir(s.path), ".kernels-*")
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), s.path)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}
