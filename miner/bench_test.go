package miner

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestBench(t *testing.T) {
	var steps []BenchStep
	var report *BenchReport
	// A busy machine may leave samples without a hash, but not all, however long they are.
	for length := 300 * time.Millisecond; ; length *= 4 {
		steps = nil
		var err error
		report, err = Bench(context.Background(), BenchOptions{
			Kernels: []string{"portable", "portable-roll"}, Threads: []int{1, 2}, Time: length,
			Progress: func(s BenchStep) { steps = append(steps, s) },
		})
		if err != nil {
			t.Fatal(err)
		}
		hashed := !slices.ContainsFunc(report.Results, func(r BenchResult) bool { return r.Greatest == 0 })
		if hashed || length > 10*time.Second {
			break
		}
	}
	if len(report.Results) != 4 || len(steps) != 5 || steps[0] != (BenchStep{Count: 4}) || report.CPU == "" {
		t.Fatalf("report %+v, steps %+v", report, steps)
	}
	for i, r := range report.Results {
		if r.Greatest <= 0 || r.Least > r.HashesPerSecond || r.Greatest < r.HashesPerSecond ||
			r.VersionRolling != (r.Kernel == "portable-roll") {
			t.Errorf("result %+v", r)
		}
		if s := steps[i+1]; s.Index != i+1 || s.Count != 4 || s.Kernel != r.Kernel || s.Threads != r.Threads {
			t.Errorf("step %+v for result %+v", s, r)
		}
	}
}

func TestFast(t *testing.T) {
	many := make([]float64, 100)
	for i := range many {
		many[i] = float64(100 - i)
	}
	for name, test := range map[string]struct {
		cycles []float64
		want   float64
	}{
		"none":                                {nil, 0},
		"few: the least":                      {[]float64{80, 75, 90}, 75},
		"many: not the two that are too good": {many, 3},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fast(test.cycles); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestBenchIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	report, err := Bench(ctx, BenchOptions{
		Kernels: []string{"portable"}, Threads: []int{1}, Time: time.Hour,
		Progress: func(BenchStep) { cancel() },
	})
	if !errors.Is(err, context.Canceled) || report == nil || len(report.Results) != 0 {
		t.Errorf("%v, %+v", err, report)
	}
}

func TestBenchRefuses(t *testing.T) {
	for _, o := range []BenchOptions{{Threads: []int{0}}, {Kernels: []string{"no-such-kernel"}}} {
		if _, err := Bench(context.Background(), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
