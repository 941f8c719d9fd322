// Package scan holds the inner loops of the miner: kernels that hash many 80-byte
// block headers which differ only in version and nonce, and report those whose
// SHA-256d could be small enough.
//
// Take a Kernel from Kernels, make a Scanner with its New, give it a Job with
// Reset and call Scan for one run of nonces after another. Verify compares a
// kernel with crypto/sha256 and is to be called before a kernel's results are
// trusted.
//
// A header is hashed as two blocks. The first 64 bytes give a midstate; only the
// version differs in them, so a job holds one midstate for each version that is
// searched. The second block, the tail, holds the end of the merkle root, time,
// bits and the nonce, and is the same for all versions: a rolling kernel computes
// its message schedule once for a nonce and uses it for every midstate.
package scan

import (
	"strings"
	"sync"
)

// All of these stand here, and not beside what they make, because go generate
// passes over files of other platforms.
//
//go:generate go -C ../../../_asm run ./avx512 -out ../miner/internal/scan/avx512_amd64.s
//go:generate go -C ../../../_asm run ./hybrid -out ../miner/internal/scan/hybrid_amd64.s
//go:generate go -C ../../../_asm run ./shani -out ../miner/internal/scan/shani_amd64.s
//go:generate go -C ../../../_asm run ./avx2 -out ../miner/internal/scan/avx2_amd64.s
//go:generate go -C ../../../_asm run ./arm64 -out ../miner/internal/scan/sha2_arm64.s

// A Kernel is one implementation of the inner loop.
type Kernel struct {
	// Name is what users select and reports show.
	Name string
	// Revision changes whenever the kernel's code changes in a way that can move
	// its speed, so that stored calibrations are dropped.
	Revision int
	// Partner is the kernel for fixed versions where it is not called as this one
	// without "-roll".
	Partner string
	// Rolling kernels share a message schedule between the midstates of a job.
	Rolling bool
	// Nonces is the number of nonces that a Scan call takes, or divides it.
	Nonces int
	// States is the number of midstates at which a rolling kernel is near its
	// best; a Job never holds more. 1 for kernels that do not roll.
	States int
	// Batch is the greatest number of hashes of one Scan call.
	Batch int
	// New makes a Scanner. Scanners are not safe for concurrent use.
	New func() Scanner
	// Fallback kernels are slow and work everywhere.
	Fallback bool
	// Missing says why this machine cannot run the kernel; empty when it can.
	Missing string
	// verified is what Verify found; nil: it looks each time.
	verified func() error
}

// Plain returns the name of the kernel that goes with this one where versions are
// fixed: of the same family, unless that has none.
func (k *Kernel) Plain() string {
	switch {
	case k.Partner != "":
		return k.Partner
	case k.Rolling:
		return strings.TrimSuffix(k.Name, "-roll")
	}
	return k.Name
}

// A Job is what a Scanner searches until the next Reset.
type Job struct {
	// States are the midstates of the versions, at least one and at most the
	// kernel's States.
	States []State
	// Tail holds the words 16 to 18 of the header (end of the merkle root, time,
	// bits), each as SHA-256 reads it: big-endian from the header's bytes.
	Tail [3]uint32
	// Mask selects the bits of the last word of the hash, as SHA-256 computes it,
	// that are zero in every hash which is small enough. See TargetMask.
	Mask uint32
}

// A Candidate is a header whose hash passes the job's mask.
type Candidate struct {
	State uint32 // index into Job.States
	Nonce uint32 // as a number: little-endian in the header
}

// A Scanner searches the headers of one Job.
type Scanner interface {
	// Reset takes a job; it keeps nothing of it.
	Reset(*Job)
	// Scan hashes the nonces nonce … nonce+count-1 (modulo 2^32) with every
	// midstate of the job and returns all candidates among them in no particular
	// order, valid until the next call. count is a multiple of the kernel's Nonces
	// and count×midstates not above its Batch.
	Scan(nonce uint32, count int) []Candidate
}

// Kernels lists every kernel of this platform, the one that is likely to be the
// fastest first. Those with a reason in Missing cannot run here.
func Kernels() []Kernel {
	all := append(platformKernels(), portableKernels()...)
	for i := range all {
		k := all[i]
		all[i].verified = sync.OnceValue(k.verify)
	}
	return all
}
