package scan

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Verify runs the kernel over a few thousand headers and compares what it finds
// with crypto/sha256. It takes a few milliseconds the first time that it is called for
// one of Kernels' list. A kernel that fails is not to be used.
func (k *Kernel) Verify() error {
	if k.verified != nil {
		return k.verified()
	}
	return k.verify()
}

func (k *Kernel) verify() error {
	if k.Missing != "" {
		return fmt.Errorf("kernel %s cannot run: %s", k.Name, k.Missing)
	}
	scanner := k.New()
	random := rand.New(rand.NewPCG(1, 2))
	for _, states := range []int{1, min(k.States, 2), min(k.States, 5), k.States} {
		h := randomHeaders(random, states)
		job := Job{States: h.midstates(), Tail: h.tailWords(), Mask: TargetMask(0xff << 20)}
		count := max(k.Nonces, min(k.Batch/states, 512/states)/k.Nonces*k.Nonces)
		for _, nonce := range []uint32{random.Uint32(), -uint32(count / 2)} {
			scanner.Reset(&job)
			got := scanner.Scan(nonce, count)
			want := h.candidates(job.Mask, nonce, count)
			if !equal(got, want) {
				return fmt.Errorf("kernel %s gives wrong results (%d midstates, nonces from %08x: %d candidates, crypto/sha256 says %d): it is not used",
					k.Name, states, nonce, len(got), len(want))
			}
		}
	}
	return nil
}

// headers are headers that differ in version only; the nonce is left open.
type headers struct {
	versions []uint32
	header   [headerBytes]byte
}

func randomHeaders(random *rand.Rand, versions int) *headers {
	h := &headers{versions: make([]uint32, versions)}
	for i := range h.header {
		h.header[i] = byte(random.Uint32())
	}
	for i := range h.versions {
		h.versions[i] = random.Uint32()
	}
	return h
}

func (h *headers) withVersion(i int) []byte {
	binary.LittleEndian.PutUint32(h.header[:], h.versions[i])
	return h.header[:]
}

func (h *headers) midstates() []State {
	m := NewMidstates()
	states := make([]State, len(h.versions))
	for i := range states {
		states[i] = m.Of((*[blockBytes]byte)(h.withVersion(i)))
	}
	return states
}

func (h *headers) tailWords() (tail [3]uint32) {
	for i := range tail {
		tail[i] = binary.BigEndian.Uint32(h.header[blockBytes+4*i:])
	}
	return tail
}

// candidates is what a Scanner must find, by crypto/sha256.
func (h *headers) candidates(mask, nonce uint32, count int) []Candidate {
	var found []Candidate
	for i := range h.versions {
		header := h.withVersion(i)
		for j := range uint32(count) {
			binary.LittleEndian.PutUint32(header[76:], nonce+j)
			once := sha256.Sum256(header)
			twice := sha256.Sum256(once[:])
			if binary.BigEndian.Uint32(twice[28:])&mask == 0 {
				found = append(found, Candidate{State: uint32(i), Nonce: nonce + j})
			}
		}
	}
	return found
}

func equal(a, b []Candidate) bool {
	order := func(x, y Candidate) int {
		if x.State != y.State {
			return int(x.State) - int(y.State)
		}
		return int(int64(x.Nonce) - int64(y.Nonce))
	}
	slices.SortFunc(a, order)
	slices.SortFunc(b, order)
	return slices.Equal(a, b)
}
