package agent

import (
	"maps"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/agent/sandbox"
)

// defaultPath is PATH of executors for which nobody sets one.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// containerSpec is what runs in an executor's container, and which of the agent's variables its command overwrites.
func (p *process) containerSpec(e *executor, token string) (spec sandbox.Spec, overwritten []string) {
	command := e.info.Command
	if command == nil {
		command = new(mesos.CommandInfo)
	}
	spec = sandbox.Spec{ID: e.container, Dir: e.directory}
	if command.GetShell() {
		spec.Path = "/bin/sh"
		spec.Args = []string{"sh", "-c", command.GetValue()}
	} else {
		spec.Path = command.GetValue()
		spec.Args = slices.Clone(command.Arguments)
		if len(spec.Args) == 0 {
			spec.Args = []string{""} // execvp with an empty vector; nobody's argv[0] is missing on Linux
		}
	}
	environment := p.executorEnvironment(e, token)
	for _, v := range command.GetEnvironment().GetVariables() {
		if _, there := environment[v.Name]; there {
			overwritten = append(overwritten, v.Name)
		}
		environment[v.Name] = variable(v)
	}
	if _, there := environment["PATH"]; !there {
		environment["PATH"] = defaultPath
	}
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		spec.Env = append(spec.Env, name+"="+environment[name])
	}
	return spec, overwritten
}

// variable is the value of a variable of a command; secrets by value are resolved, references stay empty.
func variable(v mesos.Environment_Variable) string {
	if v.Secret != nil && v.Secret.Value != nil {
		return string(v.Secret.Value.Data)
	}
	return v.GetValue()
}

// executorEnvironment is what the agent itself sets. Nothing else is inherited.
func (p *process) executorEnvironment(e *executor, token string) map[string]string {
	grace := p.config.Timing.ExecutorShutdownGrace
	if own := e.info.ShutdownGracePeriod; own != nil {
		grace = nanoseconds(*own)
	}
	environment := map[string]string{"LIBPROCESS_IP": p.agent.ip()}
	maps.Copy(environment, p.config.ExecutorEnvironment)
	maps.Copy(environment, map[string]string{
		"LIBPROCESS_PORT":                      "0",
		"MESOS_FRAMEWORK_ID":                   e.framework.id(),
		"MESOS_EXECUTOR_ID":                    e.id(),
		"MESOS_DIRECTORY":                      e.directory,
		"MESOS_SANDBOX":                        e.directory,
		"MESOS_SLAVE_ID":                       p.info.ID.GetValue(),
		"MESOS_SLAVE_PID":                      p.agent.pid(),
		"MESOS_AGENT_ENDPOINT":                 p.agent.endpoint,
		"MESOS_CHECKPOINT":                     "0",
		"MESOS_HTTP_COMMAND_EXECUTOR":          "0",
		"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": formatDuration(grace),
	})
	if e.generated {
		environment["MESOS_HTTP_COMMAND_EXECUTOR"] = "1" // the only kind that there is here
	}
	if e.checkpoint {
		environment["MESOS_CHECKPOINT"] = "1"
		environment["MESOS_RECOVERY_TIMEOUT"] = formatDuration(p.config.Timing.RecoveryTimeout)
		environment["MESOS_SUBSCRIPTION_BACKOFF_MAX"] = formatDuration(p.config.Timing.ExecutorReregistration)
	}
	if token != "" {
		environment["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"] = token
	}
	return environment
}
