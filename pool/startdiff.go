package pool

import "strings"

// unknownStart is the first difficulty of programs that nothing is known of.
const unknownStart = 0.001

// startFor is the difficulty that a program begins with; vardiff does the rest.
// given, if not 0, is the operator's choice for all.
func startFor(userAgent string, given float64) float64 {
	if given > 0 {
		return given
	}
	agent := strings.ToLower(userAgent)
	for _, kind := range []struct {
		mark       string
		difficulty float64
	}{
		{"nicehash", 524288},
		{"antminer", 16384},
		{"bmminer", 16384},
		{"bosminer", 16384},
		{"braiins", 16384},
		{"whatsminer", 16384},
		{"btminer", 16384},
		{"cgminer", 1024},
		{"bfgminer", 64},
		{"avalon", 4096},
		{"sgminer", 1024},
		{"bitaxe", 512},
		{"esp-miner", 512},
		{"nerdminer", 0.0002},
		{"cpuminer", 0.001},
		{"lode", 0.001},
	} {
		if strings.Contains(agent, kind.mark) {
			return kind.difficulty
		}
	}
	return unknownStart
}
