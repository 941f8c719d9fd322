// Package scheduler is Lode's Mesos scheduler: it takes offers, launches a
// pool-proxy and miners, keeps them running, and tells how they fare.
//
//	s, err := scheduler.New(scheduler.Config{…})
//	err = s.Run(ctx)
//
// What it decides is in package core, a state machine without I/O. This package
// feeds the core with events and carries out the actions that it returns, in their
// order: what must be stored is stored before what depends on it is sent.
package scheduler

import (
	"context"
	"errors"

	"lode/scheduler/api"
)

// Errors of Run that a caller may want to tell apart.
var (
	// ErrFrameworkRemoved: the master has ended this framework for good.
	ErrFrameworkRemoved = errors.New("framework has been removed")
	// ErrFailedOver: another scheduler took over this framework id.
	ErrFailedOver = errors.New("framework failed over to another scheduler")
	// ErrRefused: the master does not let this framework subscribe.
	ErrRefused = errors.New("subscription refused")
)

// Scheduler is one instance of the framework.
type Scheduler struct{}

// New checks the configuration, locks and reads the state, and opens the listener.
// Run, or else Close, must be called afterwards.
func New(config Config) (*Scheduler, error) { return nil, errors.New("scheduler: not built yet") }

// Run works until ctx ends or something happens that a restart cannot mend. It
// releases everything before it returns; nil: ctx ended.
func (s *Scheduler) Run(ctx context.Context) error { return nil }

// Close releases what New took when Run was never called.
func (s *Scheduler) Close() error { return nil }

// Status is a snapshot of what the scheduler knows.
func (s *Scheduler) Status() api.Status { return api.Status{} }

// Addr is host:port on which the HTTP server listens.
func (s *Scheduler) Addr() string { return "" }
