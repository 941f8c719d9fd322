package neighbour

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"lode/miner"
)

// job is what a child process is to do.
type job struct {
	Kind    string        `json:"kind"` // Server, Batch, Memory, Lode, or:
	CPUs    []int         `json:"cpus"`
	Time    time.Duration `json:"time"`
	Load    float64       `json:"load"`
	Seed    uint64        `json:"seed"`
	Turns   int           `json:"turns"` // of spin, in a request or a piece of work
	Command string        `json:"command"`
	Yield   string        `json:"yield"`
	Kernel  string        `json:"kernel"`
}

const (
	calibrateKind = "calibrate" // how many turns a microsecond has
	commandKind   = "command"
	yardstickKind = "yardstick"
)

// answers says whether a job tells what it did whenever it is asked.
func (j job) answers() bool { return j.Kind == Lode || j.Kind == yardstickKind }

// outcome is what a job says at its end; a miner and the yardstick whenever they are asked.
type outcome struct {
	Turns float64       `json:"turns,omitempty"` // a microsecond
	Units float64       `json:"units,omitempty"` // requests, pieces of work, accesses
	Wall  time.Duration `json:"wall,omitempty"`
	CPU   time.Duration `json:"cpu,omitempty"`  // of a miner and the yardstick
	Done  uint64        `json:"done,omitempty"` // hashes, or turns
	// Quantiles in microseconds.
	P50     float64 `json:"p50,omitempty"`
	P99     float64 `json:"p99,omitempty"`
	P999    float64 `json:"p999,omitempty"`
	WakeP50 float64 `json:"wake_p50,omitempty"`
	WakeP99 float64 `json:"wake_p99,omitempty"`
}

const jobEnv, boundEnv = "LODE_NEIGHBOUR_JOB", "LODE_NEIGHBOUR_BOUND"

// JobMain does a job and ends the program, if that is what it was started for.
func JobMain() {
	text := os.Getenv(jobEnv)
	if text == "" {
		return
	}
	if err := runJob(text); err != nil {
		fmt.Fprintln(os.Stderr, "lode neighbour:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runJob(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return fmt.Errorf("the job %q: %w", text, err)
	}
	if os.Getenv(boundEnv) == "" {
		// Threads that there are already are not bound; those of a new program are.
		return bind(j)
	}
	debug.SetGCPercent(-1) // what these jobs allocate is little, and their pauses count
	out := json.NewEncoder(os.Stdout)
	switch j.Kind {
	case calibrateKind:
		return out.Encode(calibrateSpin())
	case Server:
		return out.Encode(serve(j))
	case Batch:
		return out.Encode(work(j))
	case Memory:
		return out.Encode(walk(j))
	case Lode:
		return mine(j, out)
	case yardstickKind:
		return count(out)
	}
	return fmt.Errorf("no job is called %q", j.Kind)
}

// spin computes for a while that depends on nothing but the core's clock.
func spin(turns int) (x uint64) {
	x = 88172645463325252
	for range turns {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

func calibrateSpin() outcome {
	const turns = 20_000
	best := time.Duration(1 << 62)
	for range 200 {
		begin := time.Now()
		runtime.KeepAlive(spin(turns)) // else the compiler leaves it out
		best = min(best, time.Since(begin))
	}
	return outcome{Turns: turns / (float64(best) / float64(time.Microsecond))}
}

// serve is a server with one thread. Requests come when they come, whether it is ready
// or not, and a latency counts from then.
func serve(j job) outcome {
	lockThread()
	r := rand.New(rand.NewPCG(j.Seed, 1))
	perRequest := float64(serviceTime)
	count := int(float64(j.Time)/perRequest*j.Load) + 1
	latencies, wakes := make([]time.Duration, 0, 2*count), make([]time.Duration, 0, 2*count)
	next := clock()
	began := next + settleTime
	for {
		next += time.Duration(r.ExpFloat64() * perRequest / j.Load)
		if next-began > j.Time {
			break
		}
		settled := next >= began
		if clock() < next {
			sleepUntil(next)
			if settled {
				wakes = append(wakes, clock()-next)
			}
		}
		runtime.KeepAlive(spin(j.Turns))
		if settled {
			latencies = append(latencies, clock()-next)
		}
	}
	sleepUntil(began + j.Time)
	wall := clock() - began
	slices.Sort(latencies)
	slices.Sort(wakes)
	return outcome{
		Units: float64(len(latencies)), Wall: wall,
		P50: micros(latencies, 0.5), P99: micros(latencies, 0.99), P999: micros(latencies, 0.999),
		WakeP50: micros(wakes, 0.5), WakeP99: micros(wakes, 0.99),
	}
}

// settleTime is how long a job, and what runs beside it, works before it is measured: what
// they have to learn of each other is done by then.
const settleTime = 500 * time.Millisecond

// serviceTime is how long a request takes on a free core.
const serviceTime = 200 * time.Microsecond

// micros is a quantile of sorted times.
func micros(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]) / float64(time.Microsecond)
}

// work computes pieces of work until the time is over.
func work(j job) outcome {
	lockThread()
	units, took := repeat(j.Time, func() { runtime.KeepAlive(spin(j.Turns)) })
	return outcome{Units: units, Wall: took}
}

// repeat does something until a time is over, and says how often: once it has settled.
func repeat(all time.Duration, do func()) (times float64, took time.Duration) {
	for began := clock(); clock()-began < settleTime; {
		do()
	}
	for began := clock(); took < all; took = clock() - began {
		do()
		times++
	}
	return times, took
}

// walk follows a chain through more memory than caches hold.
func walk(j job) outcome {
	lockThread()
	type line [8]uint64 // of a cache
	const size = 64 << 20 / 64
	chain := make([]line, size)
	// One cycle through all, at random (Sattolo).
	for i := range chain {
		chain[i][0] = uint64(i)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for i := size - 1; i > 0; i-- {
		k := r.IntN(i)
		chain[i], chain[k] = chain[k], chain[i]
	}
	at := uint64(0)
	const steps = 10_000
	times, took := repeat(j.Time, func() {
		for range steps {
			at = chain[at][0]
		}
	})
	runtime.KeepAlive(at)
	return outcome{Units: times * steps / 1e6, Wall: took}
}

// mine hashes until its input ends, and tells how much for each line of it.
func mine(j job, out *json.Encoder) error {
	o := miner.Options{Threads: len(j.CPUs), Kernel: j.Kernel}
	if err := o.YieldBy(j.Yield); err != nil {
		return err
	}
	e, err := miner.New(o)
	if err != nil {
		return err
	}
	e.SetWork(&miner.Work{
		Version: 0x20000000, VersionMask: 0x1fffe000, Extranonce2Size: 8,
		MerkleRoot: func(extranonce2 uint64) [32]byte { return [32]byte{byte(extranonce2), byte(extranonce2 >> 8)} },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	answer(out, func() outcome {
		s := e.Stats()
		return outcome{Done: s.Hashes, CPU: s.Yielded.CPU, Wall: clock()}
	})
	cancel()
	return <-done
}

// answer tells what was done for each line of the input until that ends.
func answer(out *json.Encoder, now func() outcome) {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if out.Encode(now()) != nil {
			return
		}
	}
}

// count is the yardstick: turns that need nothing but the cpu, in a thread of SCHED_IDLE. It
// ends with the process.
func count(out *json.Encoder) error {
	const turns = 100_000 // between 0.1 and 0.3 ms
	var done, cpu atomic.Int64
	failed := make(chan error, 1)
	go func() {
		lockThread()
		if err := becomeIdle(); err != nil {
			failed <- err
			return
		}
		for {
			runtime.KeepAlive(spin(turns))
			cpu.Store(int64(cpuTime()))
			done.Add(turns)
		}
	}()
	answer(out, func() outcome {
		return outcome{Done: uint64(done.Load()), CPU: time.Duration(cpu.Load()), Wall: clock()}
	})
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}
