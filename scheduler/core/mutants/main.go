// Command mutants puts deliberate faults into the scheduler's core, one at a time, and
// runs the simulation on each: a fault that no history finds is one that the simulation
// would let pass. The files of the tree are not touched: the compiler is given others in
// their place (go build -overlay).
//
//	go run ./scheduler/core/mutants [-run text] [-seeds n] [-jobs n]
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
	"strings"
	"sync"
	"time"
)

// folder of the core, from the root of the module.
const folder = "scheduler/core"

func main() {
	seeds := flag.Int("seeds", 3000, "histories that each fault is to survive")
	jobs := flag.Int("jobs", 2, "faults at a time")
	only := flag.String("run", "", "only faults whose name has this text")
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

	var chosen []mutant
	for _, m := range mutants {
		if strings.Contains(m.name, only) {
			chosen = append(chosen, m)
		}
	}
	work := make(chan int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	killed, broken := 0, 0
	for range jobs {
		wg.Go(func() {
			for i := range work {
				m, start := chosen[i], time.Now()
				verdict, err := try(ctx, m, root, filepath.Join(tmp, fmt.Sprint(i)), seeds)
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
	if killed < len(chosen) || len(chosen) == 0 {
		return fmt.Errorf("%d faults survive %d histories, %d could not be tried", len(chosen)-killed-broken, seeds, broken)
	}
	return nil
}

// failure is what the simulation prints of a history that fails.
var failure = regexp.MustCompile(`(?m)^\s*sim_test.go:\d+: (seed \d+: .*)$`)

// try returns what killed a mutant; "": nothing did.
func try(ctx context.Context, m mutant, root, tmp string, seeds int) (verdict string, err error) {
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	overlay, err := m.overlay(root, tmp)
	if err != nil {
		return "", err
	}
	// Whatever a fault makes the simulation do, it must come to an end.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	binary := filepath.Join(tmp, "core.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, "./"+folder)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not compile: %s", bytes.TrimSpace(out))
	}
	test := exec.CommandContext(ctx, binary, "-test.run", "^TestSimulation$", "-test.timeout", "0")
	test.Dir = filepath.Join(root, folder)
	test.Env = append(os.Environ(), fmt.Sprintf("LODE_SIM_SEEDS=%d", seeds), "LODE_SIM_FIRST=1", "GOMAXPROCS=1")
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

// overlay writes the files with the fault in them and returns the list of these.
func (m mutant) overlay(root, tmp string) (string, error) {
	replace := make(map[string]string)
	for _, e := range m.edits {
		original := filepath.Join(root, folder, e.file)
		from := original
		if replace[original] != "" { // a second edit of it
			from = replace[original]
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		changed, err := e.apply(string(text))
		if err != nil {
			return "", err
		}
		replace[original] = filepath.Join(tmp, e.file)
		if err := os.WriteFile(replace[original], []byte(changed), 0o644); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(tmp, "overlay.json")
	return name, os.WriteFile(name, list, 0o644)
}

// apply puts the new text in the place of the old one, which must be there once.
func (e edit) apply(text string) (string, error) {
	if n := strings.Count(text, e.old); n != 1 {
		return "", fmt.Errorf("%s has this text %d times, expected once; the list of faults is to follow the code: %q", e.file, n, e.old)
	}
	return strings.Replace(text, e.old, e.new, 1), nil
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
