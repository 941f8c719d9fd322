// Package task is what an executor runs: a Miner, which hashes for the proxies
// that the scheduler names, or a Proxy, which serves work to miners. Both are
// Tasks; New makes the one that a message.Task describes.
package task

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"lode/executor/mining"
	"lode/message"
	"lode/miner"
	"lode/pool"
)

// Task is one running piece of work.
type Task interface {
	// Run works until ctx ends (nil) or the work fails.
	Run(ctx context.Context) error
	// Receive handles a message of the scheduler; it does not block.
	Receive(m *message.ToExecutor)
	// Restarted says that the scheduler began anew: what it said that it knows it may
	// have forgotten.
	Restarted()
	// Hello fills in what the task says at its start.
	Hello(h *message.Hello)
	// Report fills in the task's part of a report.
	Report(r *message.Report)
}

// Env is what a task gets from its executor.
type Env struct {
	Log *slog.Logger
	// Send queues a framework message to the scheduler; a message that still
	// waits under the same key is replaced.
	Send func(key string, m *message.ToScheduler)
	// Hide keeps a secret out of logs and status messages.
	Hide func(secret string)
	// Sandbox is a directory for files; they go when Mesos collects the sandbox.
	Sandbox string
	// CPUsMilli are the task's cpus in thousandths, Ports those of its resources.
	CPUsMilli int
	Ports     []uint16
	// AgentHost is where other machines reach this agent.
	AgentHost string

	// Version is that of the messages with the scheduler; New sets it.
	Version uint32

	// Connect, NewEngine and NewProxy replace stratum.Client, miner.New and pool.New.
	Connect   func(pool string) mining.Connection
	NewEngine func(miner.Options) (miner.Searcher, error)
	NewProxy  func(pool.Config) (pool.Runner, error)
	// Rand gives jitter from [0,1).
	Rand func() float64
}

// New makes the task that spec describes.
func New(spec *message.Task, env Env) (Task, error) {
	if env.Rand == nil {
		env.Rand = rand.Float64
	}
	if env.NewEngine == nil {
		env.NewEngine = newEngine
	}
	if env.NewProxy == nil {
		env.NewProxy = newProxy
	}
	if env.Hide == nil {
		env.Hide = func(string) {}
	}
	env.Version = spec.Version
	switch kind := spec.Kind.(type) {
	case *message.Task_Miner:
		if kind.Miner == nil {
			return nil, errors.New("task without a description of its miner")
		}
		return NewMiner(kind.Miner, env)
	case *message.Task_Proxy:
		if kind.Proxy == nil {
			return nil, errors.New("task without a description of its proxy")
		}
		return NewProxy(kind.Proxy, env)
	}
	return nil, fmt.Errorf("task of an unknown kind %T: this executor is older than the scheduler", spec.Kind)
}

// jittered is d ± 20 %: tasks that were launched together must not speak together.
func jittered(d time.Duration, rand func() float64) time.Duration {
	return time.Duration((0.8 + 0.4*rand()) * float64(d))
}

// shorten cuts text to at most n bytes, and makes it valid UTF-8: protobuf takes
// nothing else, and errors and names come from strangers.
func shorten(text string, n int) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len("…")], "") + "…"
}
