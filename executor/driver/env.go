package driver

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	mesostime "github.com/mesos/mesos-go/api/v1/lib/time"
)

// tokenVariable holds the executor's JWT.
const tokenVariable = "MESOS_EXECUTOR_AUTHENTICATION_TOKEN"

// Config is what Mesos tells an executor in its environment.
type Config struct {
	FrameworkID, ExecutorID string
	AgentID                 string // MESOS_SLAVE_ID, may be empty
	AgentEndpoint           string // host:port
	DomainSocket            string // path; "": TCP
	TLS                     *tls.Config
	Token                   string // JWT; "": none
	// TokenExposed says why the token could not be erased from what the kernel
	// shows of this process' environment; nil: it was, or there is none.
	TokenExposed error
	// Sandbox is the working directory of the executor as it sees it.
	Sandbox    string
	Checkpoint bool
	// RecoveryTimeout is how long to wait for an agent that went away.
	RecoveryTimeout time.Duration
	BackoffMax      time.Duration
	ShutdownGrace   time.Duration

	// What follows is not of Mesos. Transport replaces the HTTP transport, Rand
	// gives jitter from [0,1).
	Logger    *slog.Logger
	Transport http.RoundTripper
	Rand      func() float64
}

// Defaults of the agent for what it may leave out.
const (
	defaultRecoveryTimeout = 15 * time.Minute
	defaultShutdownGrace   = 5 * time.Second
)

// FromEnv reads the environment that an agent gives to its executors, and erases
// the token from it.
func FromEnv() (Config, error) {
	cfg, err := parseEnv(os.LookupEnv)
	if err != nil {
		return cfg, err
	}
	if cfg.Token != "" {
		cfg.TokenExposed = eraseEnv(tokenVariable, cfg.Token)
	}
	return cfg, nil
}

func parseEnv(lookup func(string) (string, bool)) (Config, error) {
	get := func(name string) string {
		v, _ := lookup(name)
		return v
	}
	cfg := Config{
		FrameworkID:     get("MESOS_FRAMEWORK_ID"),
		ExecutorID:      get("MESOS_EXECUTOR_ID"),
		AgentID:         get("MESOS_SLAVE_ID"),
		AgentEndpoint:   get("MESOS_AGENT_ENDPOINT"),
		DomainSocket:    get("MESOS_DOMAIN_SOCKET"),
		Token:           get(tokenVariable),
		Sandbox:         get("MESOS_SANDBOX"),
		RecoveryTimeout: defaultRecoveryTimeout,
		BackoffMax:      defaultBackoffMax,
		ShutdownGrace:   defaultShutdownGrace,
	}
	if cfg.Sandbox == "" {
		cfg.Sandbox = get("MESOS_DIRECTORY")
	}
	var missing []string
	need := func(name, value string) {
		if value == "" {
			missing = append(missing, name)
		}
	}
	need("MESOS_FRAMEWORK_ID", cfg.FrameworkID)
	need("MESOS_EXECUTOR_ID", cfg.ExecutorID)
	if cfg.DomainSocket == "" {
		need("MESOS_AGENT_ENDPOINT", cfg.AgentEndpoint)
	}
	need("MESOS_DIRECTORY", cfg.Sandbox)
	if len(missing) > 0 {
		return cfg, fmt.Errorf("%s not set: this program is a Mesos executor, and Mesos agents start it; to mine without Mesos use lode mine",
			strings.Join(missing, ", "))
	}
	var err error
	if cfg.Checkpoint, err = parseBool("MESOS_CHECKPOINT", get("MESOS_CHECKPOINT")); err != nil {
		return cfg, err
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
	}{
		{"MESOS_RECOVERY_TIMEOUT", &cfg.RecoveryTimeout},
		{"MESOS_SUBSCRIPTION_BACKOFF_MAX", &cfg.BackoffMax},
		{"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", &cfg.ShutdownGrace},
	} {
		text := get(d.name)
		if text == "" {
			continue
		}
		if *d.value, err = mesostime.ParseDuration(text); err != nil {
			return cfg, fmt.Errorf("%s=%q is no duration of Mesos such as 15mins: %w", d.name, text, err)
		}
	}
	if cfg.DomainSocket == "" {
		cfg.TLS, err = tlsFromEnv(get)
	}
	return cfg, err
}

// parseBool reads a flag as stout writes them.
func parseBool(name, text string) (bool, error) {
	switch strings.ToLower(text) {
	case "1", "true":
		return true, nil
	case "", "0", "false":
		return false, nil
	}
	return false, fmt.Errorf("%s=%q: expected 0 or 1", name, text)
}
