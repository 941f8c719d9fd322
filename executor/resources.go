package executor

import (
	"math"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Resources are those of a task, and the memory of its executor with it: both
// share one container.
type Resources struct {
	CPUsMilli int // thousandths, as Mesos counts
	MemBytes  int64
	Ports     []uint16
}

// maxPorts bounds the ports that are looked at: a task of Lode needs two.
const maxPorts = 1024

func resourcesOf(info *mesos.TaskInfo) Resources {
	r := Resources{CPUsMilli: milli(info.Resources, "cpus")}
	memory := milli(info.Resources, "mem") // thousandths of MiB
	if info.Executor != nil {
		memory += milli(info.Executor.Resources, "mem")
	}
	r.MemBytes = int64(memory) * (1 << 20) / 1000
	for _, resource := range info.Resources {
		if resource.Name != "ports" {
			continue
		}
		for _, span := range resource.GetRanges().GetRange() {
			for port := span.Begin; port <= span.End && port <= 65535 && len(r.Ports) < maxPorts; port++ {
				r.Ports = append(r.Ports, uint16(port))
			}
		}
	}
	slices.Sort(r.Ports)
	return r
}

// milli sums the scalar resources of a name: reserved, unreserved and revocable
// ones come as separate entries.
func milli(resources []mesos.Resource, name string) int {
	sum := 0
	for _, r := range resources {
		if r.Name != name {
			continue
		}
		v := r.GetScalar().GetValue()
		if v > 0 && v < 1e9 {
			sum += int(math.Round(v * 1000))
		}
	}
	return sum
}
