package main

import (
	"encoding/json"

	"lode/scheduler/api"
)

// statusCmd is `lode status`.
type statusCmd struct {
	Scheduler string `help:"URL of the scheduler." default:"http://127.0.0.1:8650" placeholder:"URL"`
	JSON      bool   `name:"json" help:"Print the whole status as one JSON object."`
}

// Help is shown by lode status --help.
func (statusCmd) Help() string {
	return `Shows what a running scheduler knows: tasks, hashrate, blocks, and what became of the last offers.`
}

// Run is called by kong.
func (cmd *statusCmd) Run(env *environment) error {
	status, err := api.Fetch(env.ctx, cmd.Scheduler)
	if err != nil {
		return err
	}
	if cmd.JSON {
		encoder := json.NewEncoder(env.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(status)
	}
	return api.WriteTable(env.stdout, status)
}
