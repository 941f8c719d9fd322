// Lode-executor is the program that Mesos agents fetch: a Mesos v1 executor that
// hashes, or serves work to those who hash, inside its own process. Mesos starts
// it; it is configured by its environment and by TaskInfo.data alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"lode/executor"
	"lode/executor/boundlog"
	"lode/executor/driver"
	"lode/message"
	"lode/version"
)

// maxLog bounds the log of one run, in bytes: nothing rotates a sandbox.
const maxLog = 10 << 20

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process. Exit codes: 0: the task ended and everybody
// knows; 1: failed; 2: not started by Mesos.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		if len(args) == 1 && args[0] == "--version" {
			fmt.Fprintf(stdout, "lode-executor %s, message version %d\n", version.String(), message.Version)
			return 0
		}
		fmt.Fprintf(stderr, "lode-executor: unexpected argument %q: Mesos agents start this program, without arguments\n", args[0])
		return 2
	}
	cfg, err := driver.FromEnv()
	if err != nil {
		fmt.Fprintln(stderr, "lode-executor:", err)
		return 2
	}
	// The agent's disk may hang; the task does not.
	queue := boundlog.NewQueue(stderr, func(n int) { fmt.Fprintf(stderr, "%d lines were lost: the disk hung\n", n) })
	defer queue.Flush(time.Second)
	out := boundlog.NewWriter(queue, maxLog)
	out.Hide(cfg.Token)
	log := slog.New(boundlog.NewHandler(slog.NewTextHandler(out, nil), boundlog.Limits{}))
	log.Info("lode-executor starts", "version", version.String(), "framework", cfg.FrameworkID, "executor", cfg.ExecutorID,
		"agent", cfg.AgentEndpoint, "checkpoint", cfg.Checkpoint)

	ctx, end := context.WithCancelCause(context.Background())
	defer end(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	// A broken pipe to a log collector must not end the mining.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	go func() {
		if s, ok := <-signals; ok {
			end(fmt.Errorf("signal %v", s))
		}
	}()
	err = executor.Run(ctx, executor.Options{
		Config: cfg, Logger: log, Redact: out.Redact, Hide: out.Hide, Tune: executor.TuneProcess,
	})
	switch {
	case err == nil:
		log.Info("lode-executor ends")
		return 0
	case errors.Is(err, driver.ErrUnacknowledged) && ctx.Err() != nil:
		log.Warn("lode-executor ends before its last updates were acknowledged", "error", err)
	default:
		log.Error("lode-executor ends", "error", err)
	}
	return 1
}
