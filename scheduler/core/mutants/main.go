// Command mutants puts deliberate faults into the scheduler's core, one at a time, and
// runs the simulation on each: a fault that no history finds is one that the simulation
// would let pass. The files of the tree are not touched: the compiler is given others in
// their place (go build -overlay), with all faults at once, of which an environment
// variable chooses one.
//
//	go run ./scheduler/core/mutants [-run regexp] [-seeds n] [-jobs n]
//
// Its last line is "killed N of N"; it exits with 1 when a fault lives on. A fault that
// does not compile, or that makes the core panic, is not killed: no invariant saw it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// folder of the core, from the root of the module.
const folder = "scheduler/core"

func main() {
	seeds := flag.Int("seeds", 20000, "histories that each fault is to survive")
	jobs := flag.Int("jobs", 2, "faults at a time")
	only := flag.String("run", "", "only faults whose name matches this regular expression")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *seeds, *jobs, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, seeds, jobs int, only string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "lode-mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)

	names, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var chosen []mutant
	for _, m := range mutants {
		if names.MatchString(m.name) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no fault has a name like %q", only)
	}
	binaries, err := build(ctx, root, tmp, chosen)
	if err != nil {
		return err
	}
	switch found, err := try(ctx, root, filepath.Join(tmp, "all"), 0, 20); {
	case err != nil:
		return err
	case found != "":
		return fmt.Errorf("the core fails without a fault, so nothing can be said of any: %s", found)
	}
	work := make(chan int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	killed, broken := 0, 0
	for range jobs {
		wg.Go(func() {
			for i := range work {
				m, start := chosen[i], time.Now()
				verdict, err := try(ctx, root, binaries[i], i+1, seeds)
				mu.Lock()
				switch {
				case err != nil:
					broken++
					verdict = "BROKEN: " + err.Error()
				case verdict == "":
					verdict = "SURVIVES"
				default:
					killed++
				}
				fmt.Printf("%-60s %5.1fs  %s\n", m.name, time.Since(start).Seconds(), verdict)
				mu.Unlock()
			}
		})
	}
	for i := range chosen {
		if ctx.Err() != nil {
			break
		}
		work <- i
	}
	close(work)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	fmt.Printf("killed %d of %d\n", killed, len(chosen))
	if killed < len(chosen) {
		return fmt.Errorf("%d faults survive %d histories, %d could not be tried", len(chosen)-killed-broken, seeds, broken)
	}
	return nil
}

// failure is what the simulation prints of a history that fails.
var failure = regexp.MustCompile(`(?m)^\s*sim_test.go:\d+: (seed \d+: .*)$`)

// build compiles the simulation with faults and returns, for each of them, the file that
// has it.
func build(ctx context.Context, root, tmp string, ms []mutant) ([]string, error) {
	s, err := readSources(filepath.Join(root, folder), ms)
	if err != nil {
		return nil, err
	}
	merged, alone, err := s.merge(ms)
	if err != nil {
		return nil, err
	}
	all := filepath.Join(tmp, "all")
	if err := merged.compile(ctx, root, all); err != nil {
		return nil, err
	}
	binaries := slices.Repeat([]string{all}, len(ms))
	for _, i := range alone {
		changed, err := s.with(ms[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ms[i].name, err)
		}
		binaries[i] = filepath.Join(tmp, fmt.Sprint(i))
		if err := changed.compile(ctx, root, binaries[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", ms[i].name, err)
		}
	}
	return binaries, nil
}

// compile makes the core's test with files in the place of those of the tree.
func (s sources) compile(ctx context.Context, root, binary string) error {
	dir := binary + ".src"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	replace := make(map[string]string)
	for name, text := range s {
		replace[filepath.Join(root, folder, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, "./"+folder)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("it does not compile: %s", bytes.TrimSpace(out))
	}
	return nil
}

// try returns what killed the mutant of a number; "": nothing did.
func try(ctx context.Context, root, binary string, number, seeds int) (verdict string, err error) {
	// Whatever a fault makes the simulation do, it must come to an end.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	test := exec.CommandContext(ctx, binary, "-test.run", "^TestSimulation$", "-test.timeout", "0")
	test.Dir = filepath.Join(root, folder)
	test.Env = append(os.Environ(), fmt.Sprintf("LODE_MUTANT=%d", number), fmt.Sprintf("LODE_SIM_SEEDS=%d", seeds), "LODE_SIM_FIRST=1", "GOMAXPROCS=1")
	out, err := test.CombinedOutput()
	switch found := failure.FindSubmatch(out); {
	case err == nil:
		return "", nil
	case ctx.Err() != nil:
		return "", errors.New("the simulation does not come to an end")
	case found == nil:
		return "", fmt.Errorf("the simulation fails without a seed: %s", bytes.TrimSpace(out[:min(len(out), 2000)]))
	case bytes.Contains(found[1], []byte(": panic: ")):
		return "", fmt.Errorf("it panics: %s", found[1])
	default:
		return string(found[1][:min(len(found[1]), 160)]), nil
	}
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if filepath.Base(mod) != "go.mod" {
		return "", errors.New("run it inside of the module")
	}
	return filepath.Dir(mod), nil
}
