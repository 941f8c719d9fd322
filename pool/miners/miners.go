// Package miners serves the miners: it gives each a place to search and a difficulty, sends
// them jobs, and takes their shares to judgement.
//
//	session.go     what is known of a miner: its place, its workers
//	difficulty.go  what a miner's shares are worth, and when that changes
//	publish.go     the way of a job to all miners
//	submit.go      the way of a share from a miner
//
// A Server is the stratum.Handler. It knows neither upstreams nor nodes: work comes in by
// Publish, a block goes out by Options.Found.
package miners

import (
	"log/slog"
	"sync/atomic"
	"time"

	"lode/pool/accounts"
	"lode/pool/jobs"
	"lode/pool/judge"
	"lode/pool/share"
	"lode/pool/space"
	"lode/pool/vardiff"
	"lode/stratum"
)

// LeaseTime is how long a miner's extranonce1 is kept for its return. Shares of a former
// holder must not count any more for the next.
const LeaseTime = share.Memory

// Options of a Server. All but Authorize must be set.
type Options struct {
	Jobs *jobs.Table
	// Home is our own extranonce space. Work of all nodes can be searched in it, and by
	// miners with extranonces of other sizes, up to MaxExtranonce bytes.
	Home          *space.Space
	MaxExtranonce int

	Accounts *accounts.Book
	Vardiff  vardiff.Config
	// StartDifficulty is for miners of which nothing is known; 0: by their kind.
	StartDifficulty float64
	// StaleGrace is how long after a new block shares for the old one still count.
	StaleGrace time.Duration
	// Authorize decides who may mine; nil: everybody.
	Authorize func(user, password string) error
	// Found takes a block, and what its finder is waited for with; finder: its account,
	// nil: it is not known.
	Found func(a *judge.Attempt, finder *accounts.Worker)

	Stratum stratum.ServerOptions
	Now     func() time.Time
	Logger  *slog.Logger
}

// Server serves miners.
type Server struct {
	o      Options
	log    *slog.Logger
	server *stratum.Server

	space   atomic.Pointer[space.Space] // where the present work is searched
	working atomic.Bool                 // there is valid work
	away    atomic.Bool                 // miners are sent away for want of work
	sentAt  time.Time                   // of the last broadcast; for Publish and Refresh
	// turnedAway counts miners that found no extranonce; turnAwayLogged is when that was
	// logged, unix nanoseconds.
	turnedAway     atomic.Uint64
	turnAwayLogged atomic.Int64
}

// New makes a server without work.
func New(o Options) *Server {
	m := &Server{o: o, log: o.Logger}
	m.space.Store(o.Home)
	m.server = stratum.NewServer(o.Stratum, m)
	return m
}

// Stratum is the server that is to be given listeners.
func (m *Server) Stratum() *stratum.Server { return m.server }

// Working reports whether there is valid work for miners.
func (m *Server) Working() bool { return m.working.Load() }

// Space is where miners search at present.
func (m *Server) Space() *space.Space { return m.space.Load() }

// SetFull says whether there is no memory for more miners. It is to be called as long as there
// is none: what miners that have gone left behind is given up then.
func (m *Server) SetFull(full bool) {
	m.server.SetFull(full)
	if full {
		m.o.Home.Forget()
		m.Space().Forget()
	}
}

// TurnedAway is how many miners found no extranonce.
func (m *Server) TurnedAway() uint64 { return m.turnedAway.Load() }
