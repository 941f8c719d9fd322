package miner

// Host says by what rules this process shares its machine with others.
type Host struct {
	CPUs, Cores int // that the process may use, of Cores any of the cpus
	// Cgroup is the version of the control groups whose cpu controller rules the
	// process, 1 or 2; 0: none is known.
	Cgroup int
	// Weight is cpu.weight (version 2) or cpu.shares (version 1); 0: not known.
	Weight uint64
	// IdleGroup is cpu.idle.
	IdleGroup bool
	// Quota is the least of those around the process, in cpus; 0: none.
	Quota float64
}

// DescribeHost reads the files that tell.
func DescribeHost() Host {
	h := describeGroup("/")
	all := usableCores()
	h.Cores = len(all)
	for _, cpus := range all {
		h.CPUs += len(cpus)
	}
	if h.CPUs == 0 {
		h.CPUs = AvailableCPUs()
	}
	return h
}

// Cores lists the cpus that this process may use, by core, those of the fastest kind
// first. It is empty where the system does not tell.
func Cores() [][]int { return usableCores() }

// CPUName is what the processor calls itself.
func CPUName() string { return cpuName() }
