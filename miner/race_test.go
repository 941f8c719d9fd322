//go:build race

package miner

// raceDetector: it allocates where the program itself does not.
const raceDetector = true
