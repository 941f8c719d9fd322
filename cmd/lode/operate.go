package main

import (
	"fmt"
	"net/url"

	"lode/scheduler/api"
)

// scaleCmd is `lode scale`.
type scaleCmd struct {
	remoteFlags `embed:""`
	Miners      *int     `arg:"" optional:"" help:"Most miners; 0: none."`
	CPUs        *float64 `name:"cpus" help:"Most cpus that miners may have; 0: no bound." placeholder:"N"`
	Agent       string   `help:"Bound the cpus of this agent, by id or hostname." placeholder:"AGENT"`
	Unbounded   bool     `help:"As many miners as the scheduler was started with."`
}

// Help is shown by lode scale --help.
func (scaleCmd) Help() string {
	return `Bounds what miners use; those above the bound end, the newest first. It is kept when the scheduler is restarted.

  lode scale 100               at most 100 miners
  lode scale 0                 none
  lode scale --unbounded       as many as --max-miners of the scheduler says
  lode scale --cpus 64         at most 64 cpus in all
  lode scale --agent h1 --cpus 4`
}

// Run is called by execute.
func (cmd *scaleCmd) Run(env *environment) error {
	switch {
	case cmd.Unbounded && cmd.Miners != nil:
		return usagef("give a number of miners or --unbounded")
	case cmd.Agent != "" && (cmd.Miners != nil || cmd.CPUs == nil):
		return usagef("an agent is bounded by --cpus")
	case cmd.Miners != nil && *cmd.Miners < 0:
		return usagef("%d miners: want 0 or more", *cmd.Miners)
	}
	if cmd.Unbounded {
		none := -1
		cmd.Miners = &none
	}
	if cmd.Miners == nil && cmd.CPUs == nil {
		return usagef("how many? Give a number of miners, --cpus or --unbounded")
	}
	return cmd.order(env, api.ScalePath, api.Command{MaxMiners: cmd.Miners, MaxCPUs: cmd.CPUs, Agent: cmd.Agent})
}

// pauseCmd is `lode pause`.
type pauseCmd struct {
	remoteFlags `embed:""`
	Reason      string `help:"Why; it is kept in the log." placeholder:"TEXT"`
}

// Run is called by execute.
func (cmd *pauseCmd) Run(env *environment) error {
	return cmd.order(env, api.PausePath, api.Command{Reason: cmd.Reason})
}

// resumeCmd is `lode resume`.
type resumeCmd struct {
	remoteFlags `embed:""`
}

// Run is called by execute.
func (cmd *resumeCmd) Run(env *environment) error {
	return cmd.order(env, api.ResumePath, api.Command{})
}

// drainCmd is `lode drain`.
type drainCmd struct {
	remoteFlags `embed:""`
	Agent       string `arg:"" help:"Agent, by id or hostname."`
	Reason      string `help:"Why; it is kept." placeholder:"TEXT"`
}

// Run is called by execute.
func (cmd *drainCmd) Run(env *environment) error {
	return cmd.order(env, api.AgentsPath+"/"+url.PathEscape(cmd.Agent)+"/drain", api.Command{Reason: cmd.Reason})
}

// undrainCmd is `lode undrain`.
type undrainCmd struct {
	remoteFlags `embed:""`
	Agent       string `arg:"" help:"Agent, as it was named to drain it."`
}

// Run is called by execute.
func (cmd *undrainCmd) Run(env *environment) error {
	return cmd.order(env, api.AgentsPath+"/"+url.PathEscape(cmd.Agent)+"/undrain", api.Command{})
}

// restartCmd is `lode restart`.
type restartCmd struct {
	remoteFlags `embed:""`
	Task        string `arg:"" help:"Task, as lode status or lode tasks names it."`
}

// Run is called by execute.
func (cmd *restartCmd) Run(env *environment) error {
	return cmd.orderTask(env, cmd.Task, "restart")
}

// killCmd is `lode kill`.
type killCmd struct {
	remoteFlags `embed:""`
	Task        string `arg:"" help:"Task, as lode status or lode tasks names it."`
}

// Run is called by execute.
func (cmd *killCmd) Run(env *environment) error {
	return cmd.orderTask(env, cmd.Task, "kill")
}

// upgradeCmd is `lode upgrade`.
type upgradeCmd struct {
	Start    upgradeStartCmd    `cmd:"" help:"Replace all tasks by ones with the executor that is at its place now, a few at a time."`
	Status   upgradeStatusCmd   `cmd:"" help:"Say how far it is."`
	Pause    upgradePauseCmd    `cmd:"" help:"Replace no further ones."`
	Rollback upgradeRollbackCmd `cmd:"" help:"Go back to the executor of before."`
}

type (
	upgradeStartCmd struct {
		remoteFlags `embed:""`
	}
	upgradePauseCmd struct {
		remoteFlags `embed:""`
	}
	upgradeRollbackCmd struct {
		remoteFlags `embed:""`
	}
	upgradeStatusCmd struct {
		remoteFlags `embed:""`
	}
)

// Run is called by execute.
func (cmd *upgradeStartCmd) Run(env *environment) error {
	return cmd.order(env, api.UpgradePath, api.Command{Action: "start"})
}

// Run is called by execute.
func (cmd *upgradePauseCmd) Run(env *environment) error {
	return cmd.order(env, api.UpgradePath, api.Command{Action: "pause"})
}

// Run is called by execute.
func (cmd *upgradeRollbackCmd) Run(env *environment) error {
	return cmd.order(env, api.UpgradePath, api.Command{Action: "rollback"})
}

// Run is called by execute.
func (cmd *upgradeStatusCmd) Run(env *environment) error {
	c, err := cmd.client()
	if err != nil {
		return err
	}
	var u api.Upgrade
	if err := c.Get(env.ctx, api.UpgradePath, &u); err != nil {
		return err
	}
	if cmd.JSON {
		return printJSON(env.stdout, u)
	}
	fmt.Fprintf(env.stdout, "%s: %d tasks with executor %.12s, %d with others\n", u.State, u.New, u.Digest, u.Old)
	if u.Why != "" {
		fmt.Fprintf(env.stdout, "it does not go on: %s\n", u.Why)
	}
	return nil
}

// rotateKeysCmd is `lode rotate-keys`.
type rotateKeysCmd struct {
	remoteFlags `embed:""`
	Revoke      bool `help:"Void the old key at once and replace the proxy: it leaked."`
}

// Run is called by execute.
func (cmd *rotateKeysCmd) Run(env *environment) error {
	return cmd.order(env, api.KeysPath, api.Command{Revoke: cmd.Revoke})
}
