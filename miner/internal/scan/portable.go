package scan

// The portable kernel is plain Go. All others are tested against it and it
// against crypto/sha256. It works for one midstate as for many.

const (
	portableStates = 64
	portableBatch  = 512 // a fraction of a millisecond, on slow machines too
)

func portableKernels() []Kernel {
	return []Kernel{
		{
			Name: "portable-roll", Revision: 1, Rolling: true,
			Fallback: true, Nonces: 1, States: portableStates, Batch: portableBatch, New: newPortable,
		},
		{
			Name: "portable", Revision: 1,
			Fallback: true, Nonces: 1, States: 1, Batch: portableBatch, New: newPortable,
		},
	}
}

type portable struct {
	mask    uint32
	tail    [3]uint32
	records []portableRecord
	found   []Candidate
	kw      [64]uint32
}

type portableRecord struct {
	mid    State
	round3 State
}

func newPortable() Scanner {
	return &portable{
		records: make([]portableRecord, 0, portableStates),
	}
}

func (p *portable) Reset(job *Job) {
	p.mask, p.tail = job.Mask, job.Tail
	p.records = p.records[:0]
	for _, mid := range job.States {
		p.records = append(p.records, portableRecord{mid, mid.afterRound3(&job.Tail)})
	}
}

func (p *portable) Scan(nonce uint32, count int) []Candidate {
	p.found = p.found[:0]
	for ; count > 0; count-- {
		expandTail(&p.kw, &p.tail, nonce)
		for i := range p.records {
			if p.records[i].lastWord(nonce, &p.kw)&p.mask == 0 {
				p.found = append(p.found, Candidate{State: uint32(i), Nonce: nonce})
			}
		}
		nonce++
	}
	return p.found
}

// lastWord is the last word of the double hash.
func (r *portableRecord) lastWord(nonce uint32, kw *[64]uint32) uint32 {
	s := r.round3
	s[0] += nonceWord(nonce)
	s[4] += nonceWord(nonce)
	a, b, c, d, e, f, g, h := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	for t := 4; t < 64; t += 4 { // the letters move instead of the values
		h += sum1(e) + choose(e, f, g) + kw[t]
		d += h
		h += sum0(a) + majority(a, b, c)
		g += sum1(d) + choose(d, e, f) + kw[t+1]
		c += g
		g += sum0(h) + majority(h, a, b)
		f += sum1(c) + choose(c, d, e) + kw[t+2]
		b += f
		f += sum0(g) + majority(g, h, a)
		e += sum1(b) + choose(b, c, d) + kw[t+3]
		a += e
		e += sum0(f) + majority(f, g, h)
		a, b, c, d, e, f, g, h = e, f, g, h, a, b, c, d
	}
	m := &r.mid
	w := [16]uint32{
		a + m[0], b + m[1], c + m[2], d + m[3], e + m[4], f + m[5], g + m[6], h + m[7],
		padBit, 15: digestBits,
	}
	a, b, c, d, e, f, g, h = initial[0], initial[1], initial[2], initial[3], initial[4], initial[5], initial[6], initial[7]
	for t := range 60 {
		if t >= 16 {
			w[t%16] += sigma1(w[(t-2)%16]) + w[(t-7)%16] + sigma0(w[(t-15)%16])
		}
		t1 := h + sum1(e) + choose(e, f, g) + roundConstants[t] + w[t%16]
		t2 := sum0(a) + majority(a, b, c)
		a, b, c, d, e, f, g, h = t1+t2, a, b, c, d+t1, e, f, g
	}
	// Round 60 makes the e that is h, the last word, after round 63.
	w60 := w[60%16] + sigma1(w[58%16]) + w[53%16] + sigma0(w[45%16])
	return initial[7] + d + h + sum1(e) + choose(e, f, g) + roundConstants[60] + w60
}
