package main

import (
	"bytes"
	"fmt"
	"time"

	"lode/scheduler/api"
)

// statusCmd is `lode status`.
type statusCmd struct {
	remoteFlags `embed:""`
	Watch       bool `help:"Show it again every two seconds, until Ctrl-C."`
	Wide        bool `help:"Show every task, not only the first 50."`
}

// mostRows is how many tasks are shown without --wide.
const mostRows = 50

// Help is shown by lode status --help.
func (statusCmd) Help() string {
	return `Shows what a running scheduler knows: tasks, hashrate, blocks, and what became of the last offers.`
}

// Run is called by kong.
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
		var text bytes.Buffer
		if err := cmd.show(&text, status); err != nil {
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

func (cmd *statusCmd) show(w *bytes.Buffer, status *api.Status) error {
	if cmd.JSON {
		return printJSON(w, status)
	}
	hidden := 0
	if !cmd.Wide && len(status.Tasks) > mostRows {
		hidden = len(status.Tasks) - mostRows
		status.Tasks = status.Tasks[:mostRows]
	}
	if err := api.WriteTable(w, status); err != nil {
		return err
	}
	if hidden > 0 {
		fmt.Fprintf(w, "\nand %d tasks more (--wide)\n", hidden)
	}
	return nil
}
