//go:build amd64 && !purego

package limits

import "github.com/klauspost/cpuid/v2"

//go:generate go -C _asm run . -out ../limits_amd64.s

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

func (l *Limits) probes() (clock func(turns int), all []probe) {
	cpu := &cpuid.CPU
	if cpu.Supports(cpuid.SHA, cpuid.AVX) {
		all = append(all, probe{shaRounds, &l.SHARounds})
	}
	if cpu.Supports(cpuid.AVX2) {
		all = append(all, probe{vector256, &l.Vector256}, probe{shifts256, &l.Shifts256})
	}
	if cpu.Supports(cpuid.AVX512F) {
		all = append(all, probe{vector512, &l.Vector512}, probe{rotates512, &l.Rotates512})
	}
	return chain, all
}
