package limits

import "strings"

// A Design is what a kernel needs for one hash: the algorithm with all its shortcuts, not
// what a kernel happens to execute beside it (loads, stores and moves need none of the
// units that are counted).
type Design struct {
	Rounds     float64 // SHA256RNDS2
	Words      float64 // SHA256MSG2, each with a SHA256MSG1 or nearly
	Vector256  float64 // instructions on vectors of 256 bits or less, shifts among them
	Shifts256  float64 // shifts and rotations
	Vector512  float64
	Rotates512 float64
	AVX512     bool // the vectors of 256 bits need rotations and ternary logic
}

// designs are those of the kernels, by name. Counts of instructions are those for all the
// hashes of a vector.
var designs = map[string]Design{
	// 959 and 1429 for the two hashes, and 460 for 128 versions, of 16 hashes.
	"avx512-roll": {Vector512: (2388 + 460.0/128) / 16, Rotates512: 947.0 / 16},
	"avx512":      {Vector512: 2848.0 / 16, Rotates512: 1178.0 / 16}, // 1419 + 1429

	"avx2-roll": {Vector256: avx2Instructions(0), Shifts256: avx2Shifts(0)},
	"avx2":      {Vector256: avx2Instructions(44), Shifts256: avx2Shifts(44)},

	// Two rounds an instruction, 30 + 31; four words an instruction, with five more to
	// shift, to add and to shuffle.
	"shani-roll": {Rounds: 61, Words: 12, Vector256: 12 * 6},
	"shani":      {Rounds: 61, Words: 24, Vector256: 24 * 6},
	"shani2":     {Rounds: 61, Words: 24, Vector256: 24 * 6},

	// The first hash and rounds 0 to 15 of the second are SHA instructions. Besides the
	// eight lanes' instructions a hash has 5.5 to hand its digest over.
	"hybrid-roll": {Rounds: 38, Vector256: 1215.0/8 + 5.5, Shifts256: 498.0 / 8, AVX512: true},
	"hybrid":      {Rounds: 38, Vector256: 1732.0/8 + 5.5, Shifts256: 729.0 / 8, AVX512: true},
	// All rounds are SHA instructions.
	"hybrid-avx2-roll": {Rounds: 61, Vector256: 955.0/8 + 5.5, Shifts256: 400.0 / 8},
	"hybrid-avx2":      {Rounds: 61, Vector256: (955.0+44*21)/8 + 5.5, Shifts256: (400.0 + 44*10) / 8},
}

// With AVX2 a rotation is two shifts and an xor, a big sigma 11 instructions and a
// small one 9; choose is 3, majority 3 with what the round before left, and there
// are 7 additions in a round. 60 rounds of the first hash and 61 of the second need
// that, and the words 16 to 60 of the second message (and as many as are given of
// the first) 2 small sigmas and 3 additions each.
func avx2Instructions(firstWords float64) float64 {
	const round, word = 2*11 + 3 + 3 + 7, 2*9 + 3
	return ((60+61)*round + (45+firstWords)*word) / 8
}

func avx2Shifts(firstWords float64) float64 {
	return ((60+61)*12 + (45+firstWords)*10) / 8
}

// DesignOf is the design of a kernel; false: there is none, or nothing to measure it by.
func DesignOf(kernel string) (Design, bool) {
	d, ok := designs[kernel]
	return d, ok
}

// beside is the rate of SHA256RNDS2 in a loop that has a number of other instructions for
// each of them.
type beside struct{ others, rounds float64 }

// slots says how many of the slots of other instructions, whose rate alone is given, a
// SHA256RNDS2 takes. Mixtures show that which take longer than either part alone; of
// those that are given the one counts that is nearest to taking both equally long.
func (l *Limits) slots(mixtures []beside, rate, least float64) float64 {
	if l.SHARounds == 0 || rate == 0 {
		return least
	}
	slots, nearest := least, 0.0
	for _, m := range mixtures {
		if m.rounds == 0 {
			continue
		}
		alone, others := 1/l.SHARounds, m.others/rate
		if balance := min(alone/others, others/alone); balance > nearest {
			nearest = balance
			slots = max(least, rate/m.rounds-m.others)
			if 1/m.rounds < 1.03*max(alone, others) { // as if it were alone
				slots = least
			}
		}
	}
	return slots
}

// Bound is the number of cycles that a core needs at least for a hash by a design; 0: the
// core lacks its instructions, or was not measured.
func (l *Limits) Bound(d Design) float64 {
	if d.AVX512 && l.Vector512 == 0 {
		return 0
	}
	bound := 0.0
	// need takes in a unit's uses by one or two sorts of instructions, and their rates.
	need := func(uses ...[2]float64) bool {
		cycles := 0.0
		for _, use := range uses {
			switch n, rate := use[0], use[1]; {
			case n == 0:
			case rate == 0:
				return false
			default:
				cycles += n / rate
			}
		}
		bound = max(bound, cycles)
		return true
	}
	all, shifts := d.Vector256, d.Shifts256
	if d.Rounds > 0 && all > 0 {
		all += d.Rounds * l.slots(l.besideVector[:], l.Vector256, 1)
		shifts += d.Rounds * l.slots(l.besideShifts[:], l.Shifts256, 0)
	}
	// Vectors of both widths are the work of the same units.
	if !need([2]float64{d.Rounds, l.SHARounds}) || !need([2]float64{all, l.Vector256}, [2]float64{d.Vector512, l.Vector512}) ||
		!need([2]float64{shifts, l.Shifts256}, [2]float64{d.Rotates512, l.Rotates512}) {
		return 0
	}
	if d.Words > 0 && l.shaWords > 0 { // ten rounds and two words took longer than the rounds
		bound = max(bound, d.Rounds/l.SHARounds+d.Words*max(0, 5/l.shaWords-5/l.SHARounds))
	}
	return bound
}

// Least is the least of the bounds of all designs, those that share schedules between
// versions among them or not, and of the mixtures of any two of them: what a core could
// reach with its instructions, as far as designs are known. 0: nothing is known.
func (l *Limits) Least(rolling bool) float64 {
	var usable []Design
	for name, d := range designs {
		if strings.HasSuffix(name, "-roll") == rolling && l.Bound(d) > 0 {
			usable = append(usable, d)
		}
	}
	least := 0.0
	const steps = 100
	for i, a := range usable {
		for _, b := range usable[i:] {
			for k := range steps + 1 {
				if bound := l.Bound(a.mix(b, float64(k)/steps)); least == 0 || bound < least {
					least = bound
				}
			}
		}
	}
	return least
}

// mix is the design of which a share of all hashes is by d and the others by e.
func (d Design) mix(e Design, share float64) Design {
	part := func(a, b float64) float64 { return a*share + b*(1-share) }
	return Design{
		Rounds: part(d.Rounds, e.Rounds), Words: part(d.Words, e.Words),
		Vector256: part(d.Vector256, e.Vector256), Shifts256: part(d.Shifts256, e.Shifts256),
		Vector512: part(d.Vector512, e.Vector512), Rotates512: part(d.Rotates512, e.Rotates512),
		AVX512: d.AVX512 || e.AVX512,
	}
}
