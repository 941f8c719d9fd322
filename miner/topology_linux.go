package miner

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// allowedCPUs are those of the calling thread's affinity mask, which leaves out what
// is unplugged or not in the process' cpuset. Threads that are pinned must not ask.
func allowedCPUs() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil
	}
	var list []int
	for cpu := 0; len(list) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list
}

func usableCores() cores { return readCores("/", allowedCPUs()) }

func usableKinds() []kind { return readKinds("/", usableCores()) }

// devices reads files of /sys/devices.
type devices struct{ root string }

func (d devices) read(parts ...string) string {
	text, _ := os.ReadFile(filepath.Join(append([]string{d.root, "sys/devices"}, parts...)...))
	return strings.TrimSpace(string(text))
}

// ofCPU reads a file of one cpu.
func (d devices) ofCPU(cpu int, file string) string {
	return d.read("system/cpu", fmt.Sprintf("cpu%d", cpu), file)
}

// readKinds sorts cores into kinds, those of the first core first: x86 names a unit of
// counters for each kind (cpu_core, cpu_atom, cpu_lowpower), ARM the model of each cpu.
func readKinds(root string, all cores) (kinds []kind) {
	d := devices{root}
	units := make(map[int]string)
	folders, _ := filepath.Glob(filepath.Join(root, "sys/devices/cpu_*"))
	for _, folder := range folders {
		name := filepath.Base(folder)
		for _, cpu := range parseCPUList(d.read(name, "cpus")) {
			units[cpu] = name
		}
	}
	for _, cpus := range all {
		name := units[cpus[0]]
		if name == "" {
			name = d.ofCPU(cpus[0], "regs/identification/midr_el1")
		}
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
		if i < 0 {
			i, kinds = len(kinds), append(kinds, kind{name: name})
		}
		kinds[i].cpus = append(kinds[i].cpus, cpus...)
	}
	if len(kinds) < 2 {
		return []kind{{}}
	}
	return kinds
}

// readCores sorts cpus into cores, as the kernel's Documentation/admin-guide/cputopology.rst
// tells; those that are slower come last, as /sys/devices/cpu_atom and, on ARM, cpu_capacity
// tell. root is "/" except in tests.
func readCores(root string, allowed []int) cores {
	var all, slow cores
	d := devices{root}
	little := parseCPUList(d.read("cpu_atom", "cpus"))
	little = append(little, parseCPUList(d.read("cpu_lowpower", "cpus"))...)
	seen := make(map[int]bool)
	for _, cpu := range allowed {
		if seen[cpu] {
			continue
		}
		core := []int{}
		for _, c := range parseCPUList(d.ofCPU(cpu, "topology/thread_siblings_list")) {
			if slices.Contains(allowed, c) && !seen[c] {
				core = append(core, c)
			}
		}
		if !slices.Contains(core, cpu) {
			core = []int{cpu}
		}
		for _, c := range core {
			seen[c] = true
		}
		if slices.Contains(little, cpu) {
			slow = append(slow, core)
		} else {
			all = append(all, core)
		}
	}
	all = append(all, slow...)
	if len(little) == 0 {
		capacity := func(cpus []int) int {
			n, _ := strconv.Atoi(d.ofCPU(cpus[0], "cpu_capacity"))
			return n
		}
		slices.SortStableFunc(all, func(a, b []int) int { return capacity(b) - capacity(a) })
	}
	return all
}

// maxCPU bounds what a list of cpus may name: the size of an affinity mask.
const maxCPU = 8192

// parseCPUList reads a list as "0-3,8". What makes no sense is left out.
func parseCPUList(text string) (cpus []int) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		last := first
		if isRange && err == nil {
			last, err = strconv.Atoi(to)
		}
		if err != nil || first < 0 || last >= maxCPU {
			continue
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// claims are cpus that threads of this process are pinned to: names of sockets, which
// only one process of a network namespace can have, and which end with it.
type claims struct{ sockets []int }

// take claims a cpu; false: another process has it.
func (c *claims) take(cpu int) bool {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true // nobody can tell
	}
	err = unix.Bind(socket, &unix.SockaddrUnix{Name: fmt.Sprintf("@lode/cpu/%d", cpu)})
	if err != nil {
		unix.Close(socket)
		return err != unix.EADDRINUSE
	}
	c.sockets = append(c.sockets, socket)
	return true
}

func (c *claims) leave() {
	for _, socket := range c.sockets {
		unix.Close(socket)
	}
}

// SocketOf lists the cpus of a cpu's socket; nothing if the system does not tell.
func SocketOf(cpu int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/package_cpus_list", cpu))
	if err != nil {
		return nil
	}
	return parseCPUList(string(text))
}
