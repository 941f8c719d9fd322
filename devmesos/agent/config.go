package agent

import (
	"log/slog"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Config is what a real agent takes from its flags.
type Config struct {
	// Hostname is what offers show; empty means the address of Listen.
	Hostname string
	// Listen is host:port of the HTTP server; empty means a free port of 127.0.0.1.
	Listen string
	// WorkDir is --work_dir: sandboxes, checkpoints and the fetcher's cache. It must exist or be
	// creatable, and belongs to one agent alone.
	WorkDir string
	// Resources are the agent's resources, without role or allocation.
	Resources []mesos.Resource
	// Attributes are shown in offers.
	Attributes []mesos.Attribute
	// Domain is --domain, where the agent is; nil: it does not say. A master without one ignores such an agent.
	Domain *mesos.DomainInfo
	// Timing holds all pauses and limits of time; zero fields get Mesos' defaults.
	Timing Timing
	// Logger gets what the agent does; nil discards it.
	Logger *slog.Logger

	// Launcher is an executable that calls [LauncherMain] at its start, usually /proc/self/exe. Then executors
	// are children of a small process that leads their session, as on a real agent; without it they lead their
	// session themselves, and inherit the umask of this process, and tasks without an executor are dropped.
	Launcher string
	// NoSwitchUser keeps executors at the agent's user even where it is root.
	NoSwitchUser bool
	// KillOrphans destroys executors that a restarted agent does not know, as the linux launcher does. The
	// posix launcher of the recorded agents, and the default here, leaves them alone.
	KillOrphans bool
	// ExecutorEnvironment is --executor_environment_variables.
	ExecutorEnvironment map[string]string
	// FrameworksHome is --frameworks_home, where relative URIs start.
	FrameworksHome string
	// FetcherCacheSize is --fetcher_cache_size in bytes; 0 means 2 GB.
	FetcherCacheSize int64

	// AuthenticateHTTPExecutors demands the token that every executor then finds in its environment.
	AuthenticateHTTPExecutors bool
	// JWTSecretKey signs those tokens; nil makes a random one.
	JWTSecretKey []byte

	// newContainerID names the next container of an executor; nil means a random UUID. Tests use recorded names.
	newContainerID func(executor string) string
}

// Timing are an agent's intervals. The defaults are those of Mesos 1.11.
type Timing struct {
	RegistrationBackoff    time.Duration // first pause between attempts to register, 1 s; doubles up to a minute
	PingTimeout            time.Duration // without a ping for so long the agent registers again, 75 s
	ExecutorRegistration   time.Duration // from launch, fetching included, to SUBSCRIBE, 1 min
	ExecutorReregistration time.Duration // after an agent's restart, 2 s
	ExecutorShutdownGrace  time.Duration // from SHUTDOWN to the kill, 5 s
	ExecutorHeartbeat      time.Duration // between HEARTBEAT events, 30 min
	Recovery               time.Duration // for which a restarted agent answers 503 to everything, 30 ms
	RecoveryTimeout        time.Duration // what executors are told to wait for a dead agent, 15 min
	UpdateRetryMin         time.Duration // until the head of an update stream is sent again, 10 s
	UpdateRetryMax         time.Duration // bound of its doubling, 10 min
	FetcherStall           time.Duration // for which a download may bring nothing, 1 min
	CloseGrace             time.Duration // that executors have to follow SHUTDOWN on Close, 1 s
}

func (t Timing) withDefaults() Timing {
	for _, f := range []struct {
		at    *time.Duration
		value time.Duration
	}{
		{&t.RegistrationBackoff, time.Second},
		{&t.PingTimeout, 75 * time.Second},
		{&t.ExecutorRegistration, time.Minute},
		{&t.ExecutorReregistration, 2 * time.Second},
		{&t.ExecutorShutdownGrace, 5 * time.Second},
		{&t.ExecutorHeartbeat, 30 * time.Minute},
		{&t.Recovery, 30 * time.Millisecond},
		{&t.RecoveryTimeout, 15 * time.Minute},
		{&t.UpdateRetryMin, 10 * time.Second},
		{&t.UpdateRetryMax, 10 * time.Minute},
		{&t.FetcherStall, time.Minute},
		{&t.CloseGrace, time.Second},
	} {
		if *f.at == 0 {
			*f.at = f.value
		}
	}
	return t
}

// registrationBackoffMax bounds the doubling of RegistrationBackoff.
const registrationBackoffMax = time.Minute
