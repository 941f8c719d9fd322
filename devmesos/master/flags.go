package master

import (
	"fmt"
	"net"
)

// flags are the command-line flags that a real master with this behaviour would have.
func (m *Master) flags() map[string]string {
	host, port, _ := net.SplitHostPort(m.cfg.Address)
	t := m.cfg.Timing
	flags := map[string]string{
		"agent_ping_timeout":                     stout(t.AgentPing),
		"agent_reregister_timeout":               stout(t.AgentReregister),
		"allocation_interval":                    stout(t.AllocationInterval),
		"allocator":                              "hierarchical",
		"authenticate_agents":                    "false",
		"authenticate_frameworks":                "false",
		"authenticate_http_frameworks":           fmt.Sprint(len(m.cfg.Credentials) > 0),
		"authenticate_http_readonly":             fmt.Sprint(len(m.cfg.OperatorCredentials) > 0),
		"authenticate_http_readwrite":            fmt.Sprint(len(m.cfg.OperatorCredentials) > 0),
		"filter_gpu_resources":                   fmt.Sprint(!m.cfg.NoGPUFilter),
		"framework_sorter":                       "drf",
		"hostname":                               *m.info.Hostname,
		"http_authenticators":                    "basic",
		"ip":                                     host,
		"max_agent_ping_timeouts":                fmt.Sprint(t.AgentPings),
		"max_completed_frameworks":               fmt.Sprint(m.cfg.MaxCompleted),
		"max_completed_tasks_per_framework":      fmt.Sprint(m.cfg.MaxCompletedTasks),
		"max_unreachable_tasks_per_framework":    fmt.Sprint(maxUnreachableTasks),
		"min_allocatable_resources":              "cpus:0.01|mem:32",
		"offer_constraints_re2_max_program_size": fmt.Sprint(maxPattern),
		"port":                                   port,
		"role_sorter":                            "drf",
		"root_submissions":                       fmt.Sprint(!m.cfg.RefuseRoot),
	}
	if t.OfferTimeout > 0 {
		flags["offer_timeout"] = stout(t.OfferTimeout)
	}
	return flags
}
