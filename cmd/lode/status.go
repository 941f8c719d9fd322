package main

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"lode/internal/terminal"
	"lode/scheduler/api"
	"lode/scheduler/summary"
)

// statusCmd is `lode status`.
type statusCmd struct {
	remoteFlags `embed:""`
	Watch       bool `help:"Show it again every two seconds, until Ctrl-C."`
	Wide        bool `help:"Show every task, block and reason, with whole ids, however wide that is."`
}

// Help is shown by lode status --help.
func (statusCmd) Help() string {
	return `Shows what a running scheduler knows: hashrate, shares, tasks, blocks, and what became of the last offers. It fits the terminal;
ids are short, and every command takes them as they are shown here. Colours are for terminals only, and NO_COLOR is respected.`
}

// Run is called by execute.
func (cmd *statusCmd) Run(env *environment) error {
	c, err := cmd.client()
	if err != nil {
		return err
	}
	for {
		status, err := c.Status(env.ctx)
		if err != nil {
			return err
		}
		look := terminal.LookOf(env.stdout, os.Getenv) // it may have another size by now
		var text bytes.Buffer
		if err := cmd.show(&text, status, look); err != nil {
			return err
		}
		if cmd.Watch && !cmd.JSON {
			fmt.Fprint(env.stdout, "\x1b[H\x1b[2J") // an empty screen
		}
		if _, err := env.stdout.Write(text.Bytes()); err != nil || !cmd.Watch {
			return err
		}
		select {
		case <-env.ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
	}
}

func (cmd *statusCmd) show(w *bytes.Buffer, status *api.Status, look terminal.Look) error {
	if cmd.JSON {
		return printJSON(w, status)
	}
	return summary.Write(w, status, summary.Options{Look: look, Wide: cmd.Wide})
}
