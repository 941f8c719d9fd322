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
	"syscall"

	"lode/devmesos"
	"lode/neighbour"
)

func main() {
	devmesos.LauncherMain() // of dev and dev-mesos: the program is the parent of executors, too
	neighbour.JobMain()     // of neighbour: the program is the neighbours, too
	ctx, end := context.WithCancelCause(context.Background())
	folders := new(folders)
	endOnSignal(end, folders)
	stdout, stderr := newOutput(os.Stdout, end), newOutput(os.Stderr, end)
	code := runWith(ctx, folders, os.Args[1:], stdout, stderr)
	if err := stdout.failure(); err != nil && code == 0 {
		fmt.Fprintln(stderr, "lode: standard output:", err)
		code = exitFailed
	}
	os.Exit(code)
}

// Exit codes of every command; lode scheduler has two more.
const (
	exitFailed      = 1
	exitUsage       = 2   // the command line or the configuration is wrong
	exitInterrupted = 130 // Ctrl-C, SIGTERM or SIGHUP came before it was done
	exitNobodyReads = 141 // whoever read its output is gone
)

// exitCodes are all of them, for the reference and the man pages. Of only is the command
// that has it, "" for every one.
var exitCodes = []struct {
	code          int
	only, meaning string
}{
	{0, "", "done"},
	{exitFailed, "", "it failed, also for lack of what may come back, such as space on a disk; the last line on standard error says why"},
	{exitUsage, "", "the command line, the environment or the configuration is wrong; the line on standard error names what"},
	{int(exitRemoved), "lode scheduler", "the framework was removed at the master"},
	{int(exitFailedOver), "lode scheduler", "another scheduler took over the framework"},
	{exitInterrupted, "", "ended by Ctrl-C, SIGTERM or the end of its terminal (SIGHUP) before it was done; a second one ends it at once"},
	{exitNobodyReads, "", "whoever read its output is gone, as after | head; it ends in order, without a word"},
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return runWith(ctx, new(folders), args, stdout, stderr)
}

func runWith(ctx context.Context, folders *folders, args []string, stdout, stderr io.Writer) int {
	err := execute(ctx, folders, args, stdout, stderr)
	cause := context.Cause(ctx)
	var status exitStatus
	switch {
	case errors.Is(cause, errNobodyReads):
		return exitNobodyReads
	case errors.As(err, &status):
		return int(status)
	case cause != nil && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, cause)):
		return exitInterrupted
	case err == nil:
		return 0
	}
	fmt.Fprintln(stderr, "lode:", err)
	var usage *usageError
	if errors.As(err, &usage) && !passes(err) {
		return exitUsage
	}
	return exitFailed
}

// passes says that the machine lacks something that it may have again. To start anew helps then, and with a
// mistake it does not: by the exit code systemd tells one from the other.
func passes(err error) bool {
	for _, lack := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}
