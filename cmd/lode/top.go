package main

import (
	"errors"
	"os"
	"time"

	"lode/internal/terminal"
	"lode/scheduler/top"
)

// topCmd is `lode top`.
type topCmd struct {
	clientFlags `embed:""`
	Interval    time.Duration `help:"Time between two looks." default:"2s"`
}

// Help is shown by lode top --help.
func (topCmd) Help() string {
	return `Shows at the terminal what the scheduler's page shows, and goes on until q or Ctrl-C. Keys: tab or 1 to 5 choose a table,
arrows and page keys scroll, s sorts by the next column, r reverses, / searches. NO_COLOR is respected.`
}

// Run is called by execute.
func (cmd *topCmd) Run(env *environment) error {
	if cmd.Interval < 100*time.Millisecond {
		return usagef("--interval=%v: want 100ms or more", cmd.Interval)
	}
	c, err := cmd.client()
	if err != nil {
		return err
	}
	if !terminal.Is(env.stdout) {
		return errors.New("standard output is no terminal: lode status prints the same once")
	}
	err = top.Run(env.ctx, top.Options{
		Fetch:    c.Status,
		Interval: cmd.Interval, Mono: os.Getenv("NO_COLOR") != "",
	})
	if errors.Is(err, top.ErrInterrupted) {
		return exitStatus(exitInterrupted)
	}
	return err
}
