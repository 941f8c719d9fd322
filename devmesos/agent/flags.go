package agent

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"lode/devmesos/internal/resources"
)

// flags are what a real agent that behaves like this one was started with.
func (p *process) flags() map[string]string {
	t := p.config.Timing
	host, port, _ := net.SplitHostPort(p.agent.endpoint)
	size := "2GB"
	if p.config.FetcherCacheSize != 0 {
		size = strconv.FormatInt(p.config.FetcherCacheSize, 10) + "B"
	}
	launcher := "posix"
	if p.config.KillOrphans {
		launcher = "linux"
	}
	all := attributes(p.config.Attributes)
	var shown []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		shown = append(shown, fmt.Sprintf("%s:%v", name, all[name]))
	}
	return map[string]string{
		"attributes":                            strings.Join(shown, ";"),
		"authenticate_http_executors":           strconv.FormatBool(p.config.AuthenticateHTTPExecutors),
		"authenticate_http_readonly":            "false",
		"authenticate_http_readwrite":           "false",
		"containerizers":                        "mesos",
		"default_role":                          "*",
		"executor_registration_timeout":         formatDuration(t.ExecutorRegistration),
		"executor_reregistration_timeout":       formatDuration(t.ExecutorReregistration),
		"executor_shutdown_grace_period":        formatDuration(t.ExecutorShutdownGrace),
		"fetcher_cache_dir":                     p.fetcherCache(),
		"fetcher_cache_size":                    size,
		"fetcher_stall_timeout":                 formatDuration(t.FetcherStall),
		"frameworks_home":                       p.config.FrameworksHome,
		"hostname":                              p.agent.Hostname(),
		"http_command_executor":                 "false",
		"http_executor_domain_sockets":          "false",
		"ip":                                    host,
		"isolation":                             "posix/cpu,posix/mem",
		"launcher":                              launcher,
		"max_completed_executors_per_framework": strconv.Itoa(maxCompletedExecutors),
		"port":                                  port,
		"recover":                               "reconnect",
		"recovery_timeout":                      formatDuration(t.RecoveryTimeout),
		"registration_backoff_factor":           formatDuration(t.RegistrationBackoff),
		"resources":                             resources.From(p.config.Resources).String(),
		"strict":                                "true",
		"switch_user":                           strconv.FormatBool(!p.config.NoSwitchUser),
		"work_dir":                              p.config.WorkDir,
	}
}
