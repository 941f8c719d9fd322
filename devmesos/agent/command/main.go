package command

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"time"

	mesostime "github.com/mesos/mesos-go/api/v1/lib/time"
)

// tokenVariable must not reach the task.
const tokenVariable = "MESOS_EXECUTOR_AUTHENTICATION_TOKEN"

// Main turns the process into a command executor if an agent started it as such, and does not
// return then. In any other process it does nothing.
func Main() {
	if len(os.Args) == 0 || os.Args[0] != programName {
		return
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(log); err != nil {
		log.Error("the executor ends", "error", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(log *slog.Logger) error {
	runtime.LockOSThread() // the task dies with the thread that starts it
	x, err := newExecutor(log)
	if err != nil {
		return err
	}
	return x.run()
}

func newExecutor(log *slog.Logger) (*executor, error) {
	x := &executor{
		log:         log,
		exited:      make(chan exit, 1),
		grace:       5 * time.Second,
		leave:       newAlarm(),
		escalation:  newAlarm(),
		deadline:    newAlarm(),
		resubscribe: newAlarm(),
		giveUp:      newAlarm(),
	}
	endpoint, framework, executor := os.Getenv("MESOS_AGENT_ENDPOINT"), os.Getenv("MESOS_FRAMEWORK_ID"), os.Getenv("MESOS_EXECUTOR_ID")
	token := os.Getenv(tokenVariable)
	if err := os.Unsetenv(tokenVariable); err != nil {
		return nil, err
	}
	if endpoint == "" || framework == "" || executor == "" {
		return nil, errors.New("MESOS_AGENT_ENDPOINT, MESOS_FRAMEWORK_ID and MESOS_EXECUTOR_ID have to be set")
	}
	var err error
	if x.api, err = newClient(endpoint, framework, executor, token); err != nil {
		return nil, err
	}
	for name, to := range map[string]*time.Duration{
		"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": &x.grace,
		"MESOS_RECOVERY_TIMEOUT":               &x.recovery, // set with checkpointing
	} {
		if err := readDuration(name, to); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func readDuration(name string, to *time.Duration) error {
	text := os.Getenv(name)
	if text == "" {
		return nil
	}
	d, err := mesostime.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%s=%q is no duration of Mesos: %w", name, text, err)
	}
	*to = d
	return nil
}

// alarm is a timer that rings once it was set.
type alarm struct {
	*time.Timer
	at time.Time
}

func newAlarm() *alarm {
	a := &alarm{Timer: time.NewTimer(0)}
	a.Stop()
	return a
}

func (a *alarm) set(d time.Duration) {
	a.at = time.Now().Add(d)
	a.Reset(d)
}
