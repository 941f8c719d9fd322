package devmesos

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/agent"
	"lode/devmesos/internal/resources"
	"lode/devmesos/master"
)

// Config describes a cluster. The zero value is one master and one agent on free
// ports of 127.0.0.1, with the timing of a real cluster.
type Config struct {
	// Listen is host:port of the first master; further masters get free ports of the
	// same host. Default 127.0.0.1:0.
	Listen string
	// Masters is how many masters there are; one leads, the others answer 307. Default 1.
	Masters int
	// WorkDir holds a folder for each agent. Default: a temporary folder, which Close
	// removes.
	WorkDir string
	// Agents lists the agents; nil: one with the default of AgentConfig, an empty list: none.
	Agents []AgentConfig
	Timing Timing
	// Domain is where the masters are, REGION/ZONE; "": they do not say. Agents of other
	// regions are offered only to frameworks that are REGION_AWARE.
	Domain string

	// Credentials turns on HTTP basic authentication of frameworks: principal → secret.
	Credentials map[string]string
	// OperatorCredentials does so for the operator endpoints.
	OperatorCredentials map[string]string

	// Launcher is an executable that calls LauncherMain first in its main function,
	// usually /proc/self/exe; it makes processes look as under a real agent.
	Launcher string

	Logger *slog.Logger
}

// AgentConfig describes an agent.
type AgentConfig struct {
	Listen   string // host:port; default a free port of the host of the cluster
	Hostname string // as offers show it; default: the host of Listen
	// Resources in the form of Mesos' --resources flag. Default:
	// "cpus:2;mem:2048;disk:4096;ports:[31000-31099]", each further agent with the next
	// hundred ports.
	Resources string
	// Oversubscribed are revocable resources in the same form.
	Oversubscribed string
	// Attributes in the form of --attributes: "rack:r1;level:3".
	Attributes string
	// Domain is where the agent is, REGION/ZONE; "": it does not say. The masters must
	// have one too.
	Domain string

	// AuthenticateExecutors gives every executor a token and demands it.
	AuthenticateExecutors bool
	// KillOrphans makes a restarted agent end executors that it does not know.
	KillOrphans bool
}

// Timing holds all intervals; zero means the default of Mesos, which is given with
// each. Tests set short ones.
type Timing struct {
	Allocation      time.Duration // between allocations, 1 s
	Heartbeat       time.Duration // of scheduler streams, 15 s
	AgentPing       time.Duration // 15 s
	AgentPings      int           // that may be missed, 5
	AgentReregister time.Duration // after a master failover, 10 min
	OfferTimeout    time.Duration // none
	MasterRecovery  time.Duration // for which a new master answers 503, 0

	Agent agent.Timing
}

func (t Timing) master() master.Timing {
	return master.Timing{
		AllocationInterval: t.Allocation,
		Heartbeat:          t.Heartbeat,
		AgentPing:          t.AgentPing,
		AgentPings:         t.AgentPings,
		AgentReregister:    t.AgentReregister,
		OfferTimeout:       t.OfferTimeout,
		Recovery:           t.MasterRecovery,
	}
}

func (c *Config) setDefaults() error {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return &ConfigError{"Listen", fmt.Errorf("listen address %q: %w", c.Listen, err)}
	}
	if host == "" {
		return &ConfigError{"Listen", fmt.Errorf("listen address %q: give a host, agents and schedulers are told to connect to it", c.Listen)}
	}
	if c.Masters == 0 {
		c.Masters = 1
	}
	if c.Agents == nil {
		c.Agents = make([]AgentConfig, 1)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// ConfigError is a mistake in a field of Config or AgentConfig.
type ConfigError struct {
	Field string
	Err   error
}

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// agent makes the configuration of the n-th agent.
func (c *Config) agent(n int, ac AgentConfig, dir string) (agent.Config, []mesos.Resource, error) {
	host, _, _ := net.SplitHostPort(c.Listen)
	if ac.Listen == "" {
		ac.Listen = net.JoinHostPort(host, "0")
	}
	if ac.Resources == "" {
		first := 31000 + 100*n
		ac.Resources = fmt.Sprintf("cpus:2;mem:2048;disk:4096;ports:[%d-%d]", first, first+99)
	}
	set, err := resources.Parse(ac.Resources)
	if err != nil {
		return agent.Config{}, nil, &ConfigError{"Resources", err}
	}
	lent, err := resources.Parse(ac.Oversubscribed)
	if err != nil {
		return agent.Config{}, nil, &ConfigError{"Oversubscribed", fmt.Errorf("oversubscribed: %w", err)}
	}
	switch {
	case !isDomain(c.Domain):
		return agent.Config{}, nil, fmt.Errorf("domain %q of the masters: want REGION/ZONE", c.Domain)
	case !isDomain(ac.Domain):
		return agent.Config{}, nil, fmt.Errorf("agent %d: domain %q: want REGION/ZONE", n, ac.Domain)
	case ac.Domain != "" && c.Domain == "":
		return agent.Config{}, nil, fmt.Errorf("agent %d has the domain %q, and the masters have none: Mesos ignores such agents", n, ac.Domain)
	}
	attributes, err := parseAttributes(ac.Attributes)
	if err != nil {
		return agent.Config{}, nil, &ConfigError{"Attributes", err}
	}
	return agent.Config{
		Hostname:                  ac.Hostname,
		Listen:                    ac.Listen,
		WorkDir:                   dir,
		Resources:                 set.Proto(),
		Attributes:                attributes,
		Domain:                    domain(ac.Domain),
		Timing:                    c.Timing.Agent,
		Logger:                    c.Logger,
		Launcher:                  c.Launcher,
		KillOrphans:               ac.KillOrphans,
		AuthenticateHTTPExecutors: ac.AuthenticateExecutors,
	}, lent.Proto(), nil
}

func isDomain(text string) bool {
	region, zone, found := strings.Cut(text, "/")
	return text == "" || found && region != "" && zone != ""
}

func domain(text string) *mesos.DomainInfo {
	region, zone, found := strings.Cut(text, "/")
	if !found {
		return nil
	}
	return &mesos.DomainInfo{FaultDomain: &mesos.DomainInfo_FaultDomain{
		Region: mesos.DomainInfo_FaultDomain_RegionInfo{Name: region},
		Zone:   mesos.DomainInfo_FaultDomain_ZoneInfo{Name: zone},
	}}
}

// parseAttributes reads the form of --attributes: name:value separated by semicolons;
// a value that is a number becomes a scalar, [a-b] ranges, all else text.
func parseAttributes(text string) ([]mesos.Attribute, error) {
	var list []mesos.Attribute
	for entry := range strings.SplitSeq(text, ";") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, value, ok := strings.Cut(entry, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("attribute %q: want name:value", entry)
		}
		attribute := mesos.Attribute{Name: strings.TrimSpace(name), Type: mesos.TEXT, Text: &mesos.Value_Text{Value: strings.TrimSpace(value)}}
		if !strings.HasPrefix(attribute.Text.Value, "{") {
			if set, err := resources.Parse("x:" + value); err == nil && !set.Empty() {
				r := set.Proto()[0]
				attribute.Type, attribute.Text = r.GetType(), nil
				attribute.Scalar, attribute.Ranges = r.Scalar, r.Ranges
			}
		}
		list = append(list, attribute)
	}
	return list, nil
}
