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
const maxTimeAhead = 10 * time.Minute

// bigExtranonce2 is from how many bytes on extranonce2 counts as inexhaustible.
const bigExtranonce2 = 4

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
	if a.Extranonce2Size < bigExtranonce2 && ahead <= math.MaxUint32 {
		w.MaxTime = uint32(ahead)
	}
	w.MerkleRoot = func(extranonce2 uint64) [32]byte {
		return job.MerkleRoot(a.Extranonce1, id.extranonce2(extranonce2))
	}
	return w
}

// extranonce2 is the field of the coinbase for the engine's counter: little-endian,
// zero where it is longer than the counter.
func (id *assigned) extranonce2(counter uint64) []byte {
	size := id.assignment.Extranonce2Size
	b := make([]byte, max(size, 8))
	binary.LittleEndian.PutUint64(b, counter+id.start)
	return b[:size]
}
