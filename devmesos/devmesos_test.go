package devmesos

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"lode/devmesos/agent"
)

// quick has the intervals of Mesos made short.
func quick() Timing {
	return Timing{
		Allocation: 20 * time.Millisecond,
		AgentPing:  500 * time.Millisecond,
		AgentPings: 3,
		Agent: agent.Timing{
			RegistrationBackoff:    50 * time.Millisecond,
			ExecutorReregistration: 2 * time.Second,
			UpdateRetryMin:         200 * time.Millisecond,
		},
	}
}

func start(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	if cfg.Logger == nil && testing.Verbose() {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	cfg.Launcher = "/proc/self/exe"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var testFramework = object{
	"user": "root", "name": "test", "checkpoint": true, "failover_timeout": 60,
	"roles":        []any{"mining"},
	"capabilities": []any{object{"type": "MULTI_ROLE"}, object{"type": "PARTITION_AWARE"}},
}

func TestLaunchMessageKill(t *testing.T) {
	c := start(t, Config{Timing: quick()})
	s := subscribe(t, c.MasterURL(), testFramework)
	offer := s.waitOffer()
	s.launch(offer, "t1", nil)
	running := s.waitState("t1", "TASK_RUNNING")
	s.acknowledge(running)
	s.call("MESSAGE", object{"agent_id": offer["agent_id"], "executor_id": value("e-t1"), "data": []byte("hello")})
	if got := dig(s.waitType("MESSAGE"), "message", "data"); got != "aGVsbG8=" {
		t.Errorf("message %v came back, want hello", got)
	}
	s.call("KILL", object{"task_id": value("t1")})
	s.acknowledge(s.waitState("t1", "TASK_KILLED"))
	failure := s.waitType("FAILURE")
	if dig(failure, "failure", "executor_id", "value") != "e-t1" || dig(failure, "failure", "status") != 0.0 {
		t.Errorf("failure is %v", failure)
	}
	s.call("RECONCILE", object{"tasks": []any{object{"task_id": value("t1"), "agent_id": offer["agent_id"]}}})
	s.waitState("t1", "TASK_GONE")
	s.call("TEARDOWN", nil)
	s.waitEnd()
}
