package api

import "fmt"

// Yielded is what a miner gave to others since its start. Times are in seconds, of all
// of its threads together.
type Yielded struct {
	Count  uint64  `json:"count"`          // times that a core was given to somebody
	Away   float64 `json:"away_seconds"`   // off the cpu though there was work
	Parked float64 `json:"parked_seconds"` // asleep besides
	CPU    float64 `json:"cpu_seconds"`    // harvested
	// P50 and P99 bound how long a thread went on after somebody wanted its cpu.
	P50 float64 `json:"p50_seconds"`
	P99 float64 `json:"p99_seconds"`
}

// Share is the part of the threads' time in which others had the core.
func (y *Yielded) Share() float64 {
	if all := y.Away + y.Parked + y.CPU; all > 0 {
		return (y.Away + y.Parked) / all
	}
	return 0
}

// Host says by what rules a miner shares its machine.
type Host struct {
	CPUs  uint32 `json:"cpus"`
	Cores uint32 `json:"cores"`
	// Cgroup is the version of the control groups that rule it; 0: not known.
	Cgroup    uint32  `json:"cgroup"`
	Weight    uint32  `json:"weight"` // cpu.weight or cpu.shares
	IdleGroup bool    `json:"idle_group"`
	Quota     float64 `json:"quota_cpus,omitempty"`
	Policy    string  `json:"policy"` // of the hashing threads: other or idle
	// Others is how many cpus others use; Watts the power of the processors, 0: unknown.
	Others float64 `json:"others_cpus"`
	Watts  float64 `json:"watts,omitempty"`
	// JoulesPerGH is what 10^9 hashes of this miner add to that, found in short pauses; 0:
	// unknown.
	JoulesPerGH float64 `json:"joules_per_gh,omitempty"`
	// Promise is what PromiseOf says.
	Promise string `json:"promise"`
}

// leastWeight says whether a group has the weight that Mesos gives for each revocable cpu, 1
// or 10 shares, and not 100 or 1024 (CPU_SHARES_PER_CPU_REVOCABLE). A task on a part of a
// cpu has a little more, for there is a least one.
func (h *Host) leastWeight(cpus float64) bool {
	perCPU := float64(h.Weight) / max(cpus, 0.1)
	return h.Weight > 0 && (h.Cgroup == 2 && perCPU <= 20 || h.Cgroup == 1 && perCPU <= 100)
}

// PromiseOf says what the kernel does when somebody else wants a cpu of this miner, a task on
// so many cpus.
func PromiseOf(h *Host, cpus float64) string {
	idle := h.Policy == "idle"
	switch {
	case h.IdleGroup && idle:
		return "gives way at once to everybody (SCHED_IDLE, cpu.idle)"
	case h.leastWeight(cpus):
		return fmt.Sprintf("least weight (%d) among control groups", h.Weight)
	case idle && h.Cgroup == 0:
		return "gives way at once to everybody (SCHED_IDLE, no control groups)"
	case idle:
		return fmt.Sprintf("gives way at once inside of its control group; against others it has weight %d and only its own parks help", h.Weight)
	}
	return "competes as any program"
}

// SMT says whether cores have more than one cpu.
func (h *Host) SMT() bool { return h.Cores > 0 && h.CPUs > h.Cores }
