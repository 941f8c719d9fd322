package mining

import (
	"encoding/binary"
	"math"
	"time"

	"lode/miner"
)

// maxTimeAhead is how far the header time may run ahead of the job's: nodes take
// two hours of the network's time, the strictest pools ten minutes. It is only
// used where extranonce2 is so small that a job could be exhausted.
const maxTimeAhead, smallExtranonce2 = 10 * time.Minute, 3

// Threads splits a task's cpus, in thousandths, into threads and the share of time
// that each hashes: 2500 are three threads at 5/6.
func Threads(cpusMilli int) (threads int, duty float64) {
	cpusMilli = max(cpusMilli, 1)
	threads = (cpusMilli + 999) / 1000
	return threads, float64(cpusMilli) / float64(threads*1000)
}

// newWork is the work of an assignment.
func newWork(id *assigned) *miner.Work {
	a := &id.assignment
	job := a.Job
	w := &miner.Work{
		ID:              id,
		Version:         job.Version &^ a.VersionMask,
		VersionMask:     a.VersionMask,
		PrevBlock:       job.PrevBlock,
		Extranonce2Size: min(a.Extranonce2Size, 8),
		Bits:            job.Bits,
		Time:            job.Time,
		MaxTime:         job.Time,
		Target:          a.Difficulty.Target(),
	}
	ahead := uint64(job.Time) + uint64(maxTimeAhead/time.Second)
	if a.Extranonce2Size < smallExtranonce2 && ahead <= math.MaxUint32 {
		w.MaxTime = uint32(ahead)
	}
	w.MerkleRoot = func(extranonce2 uint64) [32]byte {
		return job.MerkleRoot(a.Extranonce1, extranonce2Bytes(extranonce2, a.Extranonce2Size))
	}
	return w
}

// extranonce2Bytes writes a counter into size bytes, little-endian; what it does
// not fill is zero.
func extranonce2Bytes(counter uint64, size int) []byte {
	b := make([]byte, max(size, 8))
	binary.LittleEndian.PutUint64(b, counter)
	return b[:size]
}
