//go:build !race

package miner

const raceDetector = false
