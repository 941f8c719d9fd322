package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

var (
	errInterrupted = errors.New("interrupted")
	errNobodyReads = errors.New("nobody reads the output any more")
)

// endOnSignal has the first Ctrl-C or SIGTERM, or the end of the terminal, end the work in
// order. A second one ends the program at once; even then no temporary folder stays behind.
func endOnSignal(end context.CancelCauseFunc, folders *folders) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	// Writing to a pipe that nobody reads is an error of the write (see output), and
	// kills no process that has something to put in order. Nobody reads this channel; a
	// signal that were ignored would be so in the programs that this one starts, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		<-signals
		end(errInterrupted)
		<-signals
		folders.remove()
		os.Exit(exitInterrupted)
	}()
}

// output is standard output or standard error. When its reader is gone, the command is
// to end.
type output struct {
	file *os.File
	end  context.CancelCauseFunc

	mu  sync.Mutex // guards err
	err error      // the first of a write
}

func newOutput(file *os.File, end context.CancelCauseFunc) *output {
	return &output{file: file, end: end}
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.file.Write(b)
	if err != nil {
		o.mu.Lock()
		if o.err == nil {
			o.err = err
		}
		o.mu.Unlock()
		if errors.Is(err, syscall.EPIPE) {
			o.end(errNobodyReads)
		}
	}
	return n, err
}

// Fd is the file's descriptor: is it a terminal?
func (o *output) Fd() uintptr { return o.file.Fd() }

// failure is the error of the first write that failed.
func (o *output) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// folders are the temporary ones of a command.
type folders struct {
	mu   sync.Mutex // guards dirs
	dirs []string
}

// make makes a temporary folder, which done removes.
func (f *folders) make(pattern string) (dir string, done func() error, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if dir, err = os.MkdirTemp("", pattern); err != nil {
		return "", nil, err
	}
	f.dirs = append(f.dirs, dir)
	return dir, func() error { return removeFolder(dir) }, nil
}

// remove removes all of them, and has none be made any more: it keeps the lock.
func (f *folders) remove() {
	f.mu.Lock()
	for _, dir := range f.dirs {
		_ = removeFolder(dir) // the program ends; there is nobody to tell
	}
}

// removeFolder removes a folder in which somebody may still be writing.
func removeFolder(dir string) (err error) {
	for range 50 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}
