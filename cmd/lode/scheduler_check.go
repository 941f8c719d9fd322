package main

import (
	"lode/pool"
	"lode/scheduler"
)

// schedulerCheckCmd is `lode scheduler check`.
type schedulerCheckCmd struct{}

// Help is shown by lode scheduler check --help.
func (schedulerCheckCmd) Help() string {
	return `Asks the masters (and ZooKeeper) who leads and whether they take us, looks whether agents can run the executor and reach it at
the address that they are told, whether the state folder can be written, and asks each upstream for work. It changes nothing and may
run beside the scheduler. What an agent sees from where it is, only an agent knows.`
}

// Run is called by execute.
func (schedulerCheckCmd) Run(env *environment, cmd *schedulerCmd) error {
	config, err := cmd.config(env)
	if err != nil {
		return err
	}
	var findings []pool.Finding
	for _, f := range scheduler.Check(env.ctx, config) {
		findings = append(findings, pool.Finding(f))
	}
	upstreams := pool.Config{PayoutAddress: cmd.PayoutAddress, CoinbaseTag: cmd.CoinbaseTag, Logger: env.log}
	for _, u := range config.Upstreams {
		upstreams.Upstreams = append(upstreams.Upstreams, pool.Upstream{URL: u.URL, User: u.User, Password: u.Password, CA: u.CA})
	}
	return tellFindings(env, append(findings, pool.Check(env.ctx, upstreams)...))
}
