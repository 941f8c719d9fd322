package load

import (
	"bytes"
	"sync/atomic"

	"lode/stratum"
)

// work is a parsed mining.notify. It is shared by the miners that got the same line.
type work struct {
	line    []byte
	job     *stratum.Job
	network stratum.Target // of nbits
}

// maxShared is how many lines are remembered.
const maxShared = 8

// jobCache parses job lines that come on many connections once.
type jobCache struct {
	next    atomic.Uint32
	entries [maxShared]atomic.Pointer[work]
}

// known is the work of a line that was seen before; nil: it was not.
func (c *jobCache) known(line []byte) *work {
	for i := range c.entries {
		if w := c.entries[i].Load(); w != nil && bytes.Equal(w.line, line) {
			return w
		}
	}
	return nil
}

// parse reads a line's params and remembers it.
func (c *jobCache) parse(line, params []byte) (*work, error) {
	job, err := stratum.ParseNotify(params)
	if err != nil {
		return nil, err
	}
	network, err := stratum.TargetFromBits(job.Bits)
	if err != nil {
		return nil, err
	}
	w := &work{bytes.Clone(line), job, network}
	c.entries[c.next.Add(1)%maxShared].Store(w)
	return w, nil
}
