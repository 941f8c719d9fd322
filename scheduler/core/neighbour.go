package core

import (
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
	}
	a.Promise = api.PromiseOf(a)
	return a
}
