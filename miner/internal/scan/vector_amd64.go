//go:build amd64 && !purego

package scan

// vectorRecord is what the vector kernels need of one version; they broadcast its
// words. The names say which offset of the generators is meant.
type vectorRecord struct {
	round3 [7]uint32 // a … g after round 3, with nonce 0
	h      [3]uint32 // h+K+W of rounds 4, 5 and 6
	mid    State
	hkw    [3]uint32 // of the second hash: h+K+midstate of rounds 1, 2 and 3
	w16k   uint32    // W[16]+K[16]
	w17k   uint32
	c18    uint32 // sigma1(W[16])+W[2], the known part of W[18]
	c19    uint32 // sigma1(W[17])+sigma0(W[4]), of W[19]
	w16    uint32
	w17    uint32
	c31    uint32 // sigma0(W[16])+W[15], of W[31]
	_      [4]uint32
}

func (r *vectorRecord) set(mid State, tail *[3]uint32) {
	k := &roundConstants
	s := mid.afterRound3(tail)
	copy(r.round3[:], s[:7])
	r.h = [3]uint32{s[7] + k[4] + padBit, s[6] + k[5], s[5] + k[6]}
	r.mid = mid
	r.hkw = [3]uint32{initial[6] + k[1] + mid[1], initial[5] + k[2] + mid[2], initial[4] + k[3] + mid[3]}
	r.w16 = sigma0(tail[1]) + tail[0]
	r.w17 = sigma1(headerBits) + sigma0(tail[2]) + tail[1]
	r.w16k, r.w17k = r.w16+k[16], r.w17+k[17]
	r.c18 = sigma1(r.w16) + tail[2]
	r.c19 = sigma1(r.w17) + sigma0(padBit)
	r.c31 = sigma0(r.w16) + headerBits
}
