package vardiff

import "strings"

// UnknownStart is the first difficulty of programs that nothing is known of.
const UnknownStart = 0.001

// Kind is what is known of programs and devices by what they call themselves.
type Kind struct {
	mark string // in lower case
	// Start is their first difficulty.
	Start float64
	// Least is the lowest difficulty that is sent to them, 0: any. Firmware of ASICs
	// takes a fraction for 0, and rented hashrate is refused a pool that gives less.
	Least float64
}

// Name is that of the kind; "": it is any program.
func (k Kind) Name() string { return k.mark }

// Known says that it is a kind, not any program.
func (k Kind) Known() bool { return k.mark != "" }

var kinds = []Kind{
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
	{"luxminer", 16384, 64},
	{"luxos", 16384, 64},
	{"vnish", 16384, 64},
	{"hiveon", 16384, 64},
	{"auradine", 16384, 64},
	{"axe", 512, 1}, // Bitaxe, NerdAxe, NerdQAxe++, PiAxe …
	{"esp-miner", 512, 1},
	{"nerdminer", 0.0002, 0},
	{"nmminer", 0.0002, 0},
	{"leafminer", 0.0002, 0},
	{"bitsyminer", 0.0002, 0},
	{"sparkminer", 0.0002, 0},
	{"cpuminer", 0.001, 0},
	{"lode", 0.001, 0},
}

// KindOf is the kind of a device.
func KindOf(userAgent string) Kind {
	agent := strings.ToLower(userAgent)
	for _, kind := range kinds {
		if strings.Contains(agent, kind.mark) {
			return kind
		}
	}
	return Kind{Start: UnknownStart}
}
