// Package weave merges the code of independent streams.
package weave

// A Piece writes a few instructions that belong together.
type Piece func()

// Write writes the pieces of all streams, each stream in its order, so that at any
// point all are equally far.
func Write(streams ...[]Piece) { Apart(0, streams...) }

// Apart is Write with every other stream ahead by some halves of a piece, so that
// the same steps of two streams, which want the same pipes of the processor, do not
// come next to each other.
func Apart(ahead int, streams ...[]Piece) {
	done := make([]int, len(streams))
	// place is twice as far as stream i is, in pieces.
	place := func(i int) int { return 2*done[i] + 1 - ahead*(i%2) }
	for {
		least := -1
		for i, s := range streams {
			if done[i] < len(s) &&
				(least < 0 || place(i)*len(streams[least]) < place(least)*len(s)) {
				least = i
			}
		}
		if least < 0 {
			return
		}
		streams[least][done[least]]()
		done[least]++
	}
}
