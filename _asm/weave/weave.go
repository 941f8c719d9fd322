// Package weave merges the code of independent streams.
package weave

// A Piece writes a few instructions that belong together.
type Piece func()

// Write writes the pieces of all streams, each stream in its order, so that at any
// point all are equally far.
func Write(streams ...[]Piece) {
	done := make([]int, len(streams))
	for {
		least := -1
		for i, s := range streams {
			if done[i] < len(s) && (least < 0 ||
				(2*done[i]+1)*len(streams[least]) < (2*done[least]+1)*len(s)) {
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
