package core

import (
	"log/slog"

	"lode/message"
	"lode/scheduler/api"
)

func yielded(y *message.Yielded) *api.Yielded {
	if y == nil {
		return nil // an executor of before
	}
	const us = 1e-6
	return &api.Yielded{
		Count: y.Count, Away: float64(y.AwayUs) * us, Parked: float64(y.ParkedUs) * us, CPU: float64(y.CpuUs) * us,
		P50: float64(y.P50Us) * us, P99: float64(y.P99Us) * us,
	}
}

func host(h *message.Host) *api.Host {
	if h == nil {
		return nil
	}
	a := &api.Host{
		CPUs: h.Cpus, Cores: h.Cores, Cgroup: h.Cgroup, Weight: h.Weight, IdleGroup: h.IdleGroup,
		Quota: float64(h.QuotaMilli) / 1000, Policy: limit(h.Policy, 20),
		Others: float64(h.OthersMilli) / 1000, Watts: float64(h.Milliwatts) / 1000,
	}
	a.Promise = api.PromiseOf(a)
	return a
}

// pause takes a Pause. Miners are told by the list of proxies, which is sent again until
// they have it.
func (c *Core) pause(e Pause) {
	if e.On != c.paused {
		text := "miners go on"
		if e.On {
			text = "miners pause"
		}
		c.notice(slog.LevelInfo, text, "why", e.Why)
	}
	c.paused, c.pauseWhy = e.On, e.Why
	if c.state.Proxies.Paused != c.paused {
		c.publish(c.state.Proxies.Addresses)
	}
}

// Foreign is what miners' machines do for others: the share of their cpus that others
// used, and the power of their processors, in watts. known says whether any miner told.
func (c *Core) Foreign() (others, watts float64, known bool) {
	cpus := 0.0
	for _, r := range c.runs {
		if r.report == nil || r.report.Miner == nil || r.report.Miner.Host == nil {
			continue
		}
		h := r.report.Miner.Host
		others += h.Others
		watts += h.Watts
		cpus += float64(h.CPUs)
	}
	if cpus == 0 {
		return 0, 0, false
	}
	return others / cpus, watts, true
}

func (c *Core) pausedWhy() string {
	if c.paused && c.pauseWhy == "" {
		return "since before the scheduler's start"
	}
	if c.paused {
		return c.pauseWhy
	}
	return ""
}
