//go:build amd64 && !purego

package limits

import "github.com/klauspost/cpuid/v2"

//go:generate go -C ../../../_asm run ./limits -out ../miner/internal/limits/limits_amd64.s

//go:noescape
func chain(turns int)

//go:noescape
func shaRounds(turns int)

//go:noescape
func vector256(turns int)

//go:noescape
func shifts256(turns int)

//go:noescape
func vector512(turns int)

//go:noescape
func rotates512(turns int)

//go:noescape
func shaBesideVector4(turns int)

//go:noescape
func shaBesideVector8(turns int)

//go:noescape
func shaBesideShifts2(turns int)

//go:noescape
func shaBesideShifts4(turns int)

//go:noescape
func shaBesideShifts6(turns int)

//go:noescape
func shaWords(turns int)

func (l *Limits) probes() (clock func(turns int), all []probe) {
	cpu := &cpuid.CPU
	one := func(run func(turns int), rate *float64) probe { return probe{run, perTurn, rate} }
	if cpu.Supports(cpuid.SHA, cpuid.AVX) {
		all = append(all, one(shaRounds, &l.SHARounds), probe{shaWords, 4 * 10, &l.shaWords})
	}
	if cpu.Supports(cpuid.AVX2) {
		all = append(all, one(vector256, &l.Vector256), one(shifts256, &l.Shifts256))
	}
	if cpu.Supports(cpuid.AVX512F) {
		all = append(all, one(vector512, &l.Vector512), one(rotates512, &l.Rotates512))
	}
	if cpu.Supports(cpuid.SHA, cpuid.AVX2) {
		all = append(all,
			probe{shaBesideVector4, 4 * 8, &l.besideVector[0].rounds}, probe{shaBesideVector8, 4 * 8, &l.besideVector[1].rounds},
			probe{shaBesideShifts2, 4 * 8, &l.besideShifts[0].rounds}, probe{shaBesideShifts4, 4 * 8, &l.besideShifts[1].rounds},
			probe{shaBesideShifts6, 4 * 8, &l.besideShifts[2].rounds})
		l.besideVector[0].others, l.besideVector[1].others = 4, 8
		l.besideShifts[0].others, l.besideShifts[1].others, l.besideShifts[2].others = 2, 4, 6
	}
	return chain, all
}
