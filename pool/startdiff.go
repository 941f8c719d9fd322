package pool

import "strings"

// unknownStart is the first difficulty of programs that nothing is known of.
const unknownStart = 0.001

// deviceKind is what is known of programs and devices by what they call themselves.
type deviceKind struct {
	mark  string
	start float64
	// least is the lowest difficulty that is sent to them, 0: any. Firmware of ASICs
	// takes a fraction for 0, and rented hashrate is refused a pool that gives less.
	least float64
}

var deviceKinds = []deviceKind{
	{"nicehash", 524288, 500000},
	{"antminer", 16384, 64},
	{"bmminer", 16384, 64},
	{"bosminer", 16384, 64},
	{"braiins", 16384, 64},
	{"whatsminer", 16384, 64},
	{"btminer", 16384, 64},
	{"cgminer", 1024, 1},
	{"bfgminer", 64, 1},
	{"avalon", 4096, 64},
	{"sgminer", 1024, 1},
	{"bitaxe", 512, 1},
	{"esp-miner", 512, 1},
	{"nerdminer", 0.0002, 0},
	{"cpuminer", 0.001, 0},
	{"lode", 0.001, 0},
}

// kindOf is the kind of a device.
func kindOf(userAgent string) deviceKind {
	agent := strings.ToLower(userAgent)
	for _, kind := range deviceKinds {
		if strings.Contains(agent, kind.mark) {
			return kind
		}
	}
	return deviceKind{start: unknownStart}
}
