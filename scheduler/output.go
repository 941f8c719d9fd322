package scheduler

import (
	"context"
	"crypto/tls"
	"net/http"
	"time"

	"lode/scheduler/core"
	"lode/scheduler/sandbox"
)

// ReadSandboxes says whether the scheduler reads what executors wrote that failed.
type ReadSandboxes string

// What a scheduler does about sandboxes.
const (
	ReadOpen      ReadSandboxes = "open"      // from agents that let everybody read
	ReadPrincipal ReadSandboxes = "principal" // as Config.Principal, whose secret agents are sent
	ReadNever     ReadSandboxes = "never"
)

const (
	// outputBytes is how much is read, the end of it.
	outputBytes = 2 << 10
	// After outputPause a cause is looked at again, after outputRetry if nothing came.
	outputPause, outputRetry = 10 * time.Minute, 10 * time.Second
	// mostOutputs bounds the causes that are remembered.
	mostOutputs = 100
)

// failed hands a task that failed to readOutputs, unless that is busy: tasks of one cause
// say the same.
func (s *Scheduler) failed(e core.Ended) {
	if e.Cause == "" || e.Wanted || e.Endpoint == "" || s.config.ReadSandboxes == ReadNever {
		return
	}
	select {
	case s.failures <- e:
	default:
	}
}

// readOutputs reads what executors wrote before they ended, one of each cause, for Mesos
// often says no more than that they did.
func (s *Scheduler) readOutputs(ctx context.Context) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.config.MasterCAs},
	}
	reader := sandbox.Reader{Client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if s.config.ReadSandboxes == ReadPrincipal {
		reader.Principal, reader.Secret = s.config.Principal, s.config.Secret
	}
	next := make(map[string]time.Time)
	for {
		var e core.Ended
		select {
		case <-ctx.Done():
			return
		case e = <-s.failures:
		}
		cause := e.Kind + " " + e.Cause
		if time.Now().Before(next[cause]) {
			continue
		}
		if len(next) >= mostOutputs {
			clear(next)
		}
		text, err := reader.Tail(ctx, e.Endpoint, sandbox.Path(e.FrameworkID, e.ID, "stderr"), outputBytes)
		next[cause] = time.Now().Add(outputRetry)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil: // there is no sandbox for a user that the agent does not know
			s.log.Info("what a task wrote that failed cannot be read", "task", e.ID, "agent", e.Hostname, "error", err)
		case len(text) > 0:
			next[cause] = time.Now().Add(outputPause)
			s.enqueue(queued{event: core.Wrote{ID: e.ID, Text: string(text)}})
		}
	}
}
