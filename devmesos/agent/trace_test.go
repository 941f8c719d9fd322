package agent

import (
	"testing"
	"time"
)

// TestTraces plays what was recorded of a real cluster against this agent.
func TestTraces(t *testing.T) {
	same := func(*Config) {}
	for _, c := range []struct {
		names  []string
		change func(*Config)
	}{
		{[]string{"03-custom-executor-checkpoint-false", "03-custom-executor-checkpoint-true"}, same},
		{[]string{"03b-custom-executor-auth"}, func(c *Config) { c.AuthenticateHTTPExecutors = true }},
		{[]string{"03c-executor-endpoint-status"}, same},
		{[]string{"04-status-updates"}, func(c *Config) { c.Timing.UpdateRetryMin = 300 * time.Millisecond }},
		{[]string{"05-kill-shutdown"}, same},
		{[]string{"06-executor-ends"}, func(c *Config) { c.Timing.ExecutorRegistration = 6 * time.Second }},
		{[]string{"07-framework-messages"}, same},
		{[]string{"13-http-endpoints"}, same},
		{[]string{"17-executor-stream-and-recovery-window"}, same},
	} {
		t.Run(c.names[0], func(t *testing.T) {
			t.Parallel()
			play(t, c.change, c.names...)
		})
	}
}
