// Lode mines SHA-256d on an Apache Mesos cluster.
//
// Each subcommand has a file of its own: a struct of flags with a Run method, and
// nothing else but the wiring of packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"lode/devmesos"
	"lode/neighbour"
)

func main() {
	devmesos.LauncherMain() // of dev and dev-mesos: the program is the parent of executors, too
	neighbour.JobMain()     // of neighbour: the program is the neighbours, too
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the work in order; a second one ends the program at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process: it returns the exit code. 0: done; 1: failed;
// 2: the command line or the configuration is wrong; 130: interrupted.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := execute(ctx, args, stdout, stderr)
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return 130
	}
	fmt.Fprintln(stderr, "lode:", err)
	var usage *usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}
