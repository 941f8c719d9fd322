// Package miner searches for SHA-256d block headers on the CPU. It knows no
// network: give an Engine Work and read its hits.
//
//	e, err := miner.New(miner.Options{Threads: 2})
//	go e.Run(ctx)
//	e.SetWork(&miner.Work{…})
//	hit := <-e.Hits()
//
// Kernels and how one is chosen at run time are described in kernel.go; Bench
// measures them.
package miner

import (
	"context"
	"log/slog"
	"time"
)

// Work is what is searched: 80-byte headers that differ in version (inside
// VersionMask), nonce, time and, through MerkleRoot, extranonce2. A Work does not
// change once it was given to an Engine.
type Work struct {
	// ID comes back in Hit; the engine does not look at it.
	ID any
	// Version is the header version; the bits of VersionMask are zero in it.
	Version     uint32
	VersionMask uint32 // BIP 310/320; 0: the version is not rolled
	// PrevBlock is in internal byte order, as in the header.
	PrevBlock [32]byte
	// MerkleRoot gives the root (internal byte order) for an extranonce2. It is
	// called from several goroutines.
	MerkleRoot func(extranonce2 uint64) [32]byte
	// Extranonce2Size is the number of bytes that extranonce2 may fill, 0 to 8;
	// 0: there is one root only.
	Extranonce2Size int
	Bits            uint32
	// Time is the first header time, unix seconds; times up to MaxTime are used
	// when versions and nonces are exhausted. MaxTime < Time means Time alone.
	Time, MaxTime uint32
	// Target is the share target as a big-endian number: a header whose hash is
	// not above it is a hit.
	Target [32]byte
}

// Hit is a header whose hash was found, and checked again with crypto/sha256, to
// be at or below its work's target.
type Hit struct {
	Work        *Work
	Extranonce2 uint64
	Version     uint32 // complete header version, rolled bits included
	Time        uint32
	Nonce       uint32
	Hash        [32]byte // internal byte order: the display form is reversed
}

// MostThreads is how many threads an Engine may have: more than any machine has use for.
const MostThreads = 4096

// Options configure an Engine. The zero value hashes with the fastest kernel on
// every cpu that the process may use.
type Options struct {
	Threads int    // 0: as many as cpus are available (affinity and cgroup quota)
	Kernel  string // "": calibrate and take the fastest
	Pin     bool   // pin each thread to one cpu
	// OneACore puts at most one thread on each core, and binds it to it.
	OneACore bool
	Nice     int  // niceness of the hashing threads, 0…19
	Idle     bool // SCHED_IDLE for the hashing threads
	// CoreSched keeps strangers off the other cpus of the cores that the threads run on, if
	// the threads are of SCHED_IDLE or their control group gives way, for else it would
	// keep the strangers off and not the threads.
	CoreSched bool
	// Sense lets threads sleep while others want their cores; see YieldBy.
	Sense bool
	// Duty is the share of time that the threads hash, 0 < Duty ≤ 1; 0 means 1.
	Duty float64
	// HitBuffer is the capacity of Hits; 0 means 1024. Hits that find it full are
	// counted in Stats.Dropped.
	HitBuffer int
	// Log gets warnings: a kernel that failed its self-test, a priority that was
	// refused. nil: nobody.
	Log *slog.Logger
}

// Stats are exact counters since the start of an Engine.
type Stats struct {
	Hashes  uint64 // headers hashed
	Hits    uint64
	Dropped uint64 // hits that nobody took in time
	Kernel  string
	Threads int
	Yielded Yielded
	// Idle says that all threads are of SCHED_IDLE.
	Idle bool
	// WorkSince is the time since which work has been there; zero: idle or paused.
	WorkSince time.Time
}

// Searcher is the part of Engine that users of work depend on.
type Searcher interface {
	Run(ctx context.Context) error // returns when ctx ends and all threads have stopped
	SetWork(w *Work)               // nil: idle
	SetPaused(paused bool)         // true: idle, with the work
	Hits() <-chan Hit
	Stats() Stats
}
