package core

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Mesos counts in thousandths: scalars are doubles on the wire and fixed-point
// numbers inside (docs/attributes-resources.md), so amounts are integers here.
func toMilli(v float64) int64 { return int64(math.Round(v * 1000)) }

func fromMilli(m int64) float64 { return float64(m) / 1000 }

// flavour is an amount of one resource of one kind: same name, role, reservations,
// allocation and revocability. Each is an entry of its own in a task's resources.
type flavour struct {
	template  *mesos.Resource // what is offered of it; its amount is below, and this is never changed
	reserved  bool
	revocable bool
	amount    int64 // of a scalar, thousandths
	ranges    []mesos.Value_Range
}

// inventory is what is left of an offer while tasks are cut out of it: best flavours
// first, among those of one name.
type inventory []flavour

// newInventory sorts resources by flavour. What belongs to volumes, to resource
// providers, or is shared is left out: nothing of ours can use it.
func newInventory(resources []mesos.Resource, revocable bool) inventory {
	return make(inventory, 0, len(resources)).with(resources, revocable)
}

// with is newInventory in the place of another one.
func (inv inventory) with(resources []mesos.Resource, revocable bool) inventory {
	clear(inv)
	inv = inv[:0]
	for i := range resources {
		r := &resources[i]
		if r.Disk != nil || r.Shared != nil || r.ProviderID != nil || (r.Revocable != nil && !revocable) {
			continue
		}
		at := slices.IndexFunc(inv, func(f flavour) bool { return f.same(r) })
		if at < 0 {
			at = len(inv)
			inv = append(inv, flavour{
				template:  r,
				revocable: r.Revocable != nil,
				reserved:  isReserved(r),
			})
		}
		f := &inv[at]
		if r.Scalar != nil {
			f.amount += toMilli(r.Scalar.Value)
		}
		if r.Ranges != nil {
			for _, rg := range r.Ranges.Range {
				if rg.Begin <= rg.End && rg.Begin > 0 && rg.End <= 65535 {
					f.ranges = append(f.ranges, rg)
				}
			}
		}
	}
	for i := range inv {
		inv[i].ranges = coalesce(inv[i].ranges)
	}
	slices.SortStableFunc(inv, func(a, b flavour) int { return a.rank() - b.rank() })
	return inv
}

func isReserved(r *mesos.Resource) bool {
	return len(r.Reservations) > 0 || r.Reservation != nil || (r.Role != nil && *r.Role != "*")
}

// reservedCPUs is how many thousandths of cpus in lists of resources are reserved.
func reservedCPUs(lists ...[]mesos.Resource) (milli int64) {
	for _, r := range slices.Concat(lists...) {
		if r.Name == "cpus" && isReserved(&r) {
			milli += toMilli(r.GetScalar().GetValue())
		}
	}
	return milli
}

// same says that a resource, its amount aside, is of the flavour. Offers have few
// flavours, and most of them say little.
func (f *flavour) same(r *mesos.Resource) bool {
	t := f.template
	if t.Name != r.Name {
		return false
	}
	plain := len(t.Reservations) == 0 && len(r.Reservations) == 0 && t.Reservation == nil && r.Reservation == nil
	if plain && t.GetRole() == r.GetRole() && (t.Role == nil) == (r.Role == nil) &&
		(t.Revocable == nil) == (r.Revocable == nil) && t.AllocationInfo.GetRole() == r.AllocationInfo.GetRole() {
		return true
	}
	a, b := withoutAmount(t), withoutAmount(r)
	return a.Equal(&b)
}

func withoutAmount(r *mesos.Resource) mesos.Resource {
	bare := *r
	bare.Scalar, bare.Ranges, bare.Set = nil, nil, nil
	return bare
}

// rank orders flavours: what only we can use first, what can be taken away last.
func (f *flavour) rank() int {
	switch {
	case f.revocable:
		return 2
	case f.reserved:
		return 0
	}
	return 1
}

// take cuts an amount out of the flavour.
func (f *flavour) take(milli int64) mesos.Resource {
	f.amount -= milli
	r := withoutAmount(f.template)
	r.Scalar = &mesos.Value_Scalar{Value: fromMilli(milli)}
	return r
}

// cut takes an amount out of as many flavours as it needs, best first, and appends it
// to taken. A task may mix reserved and unreserved resources; only what is revocable
// has to stay among itself. The caller has looked that there is enough.
func (inv inventory) cut(taken []mesos.Resource, name string, milli int64, revocable bool) []mesos.Resource {
	for i := range inv {
		f := &inv[i]
		if n := min(f.amount, milli); f.is(name) && f.revocable == revocable && n > 0 {
			taken = append(taken, f.take(n))
			milli -= n
		}
	}
	return taken
}

func (f *flavour) is(name string) bool { return f.template.Name == name }

// share is what a task and its executor have of an offer. They share one container.
type share struct{ task, executor []mesos.Resource }

// cutTask cuts out thousandths of cpus and of MB: the executor's part first, of the same
// flavour of cpus, for Mesos does not let the two mix.
func (inv inventory) cutTask(cpus, mem int64, revocable bool) share {
	all := make([]mesos.Resource, 0, 4) // as many as there mostly are
	all = inv.cut(all, "cpus", executorCPUs, revocable)
	all = inv.cut(all, "mem", executorMem*1000, false)
	n := len(all)
	all = inv.cut(all, "cpus", cpus-executorCPUs, revocable)
	all = inv.cut(all, "mem", mem-executorMem*1000, false)
	return share{task: all[n:], executor: all[:n:n]}
}

// takePorts cuts out n ports, chosen at random: a port that a dying process still
// holds is then seldom hit twice. nil: there are not that many.
func (inv inventory) takePorts(n int, rnd *rand.Rand) (ports []uint64, taken []mesos.Resource) {
	total := inv.ports()
	if total < uint64(n) {
		return nil, nil
	}
	chosen := make([][]uint64, len(inv)) // by flavour
	for ; len(ports) < n; total-- {
		at := rnd.Uint64N(total)
		for i := range inv {
			f := &inv[i]
			if !f.is("ports") || f.revocable {
				continue
			}
			if has := countPorts(f.ranges); at >= has {
				at -= has
				continue
			}
			p := f.port(at)
			f.removePort(p)
			ports, chosen[i] = append(ports, p), append(chosen[i], p)
			break
		}
	}
	for i, of := range chosen {
		if len(of) == 0 {
			continue
		}
		slices.Sort(of)
		r := withoutAmount(inv[i].template)
		r.Ranges = &mesos.Value_Ranges{}
		for _, p := range of {
			r.Ranges.Range = append(r.Ranges.Range, mesos.Value_Range{Begin: p, End: p})
		}
		taken = append(taken, r)
	}
	return ports, taken
}

// ports is how many there are.
func (inv inventory) ports() (total uint64) {
	for i := range inv {
		if f := &inv[i]; f.is("ports") && !f.revocable {
			total += countPorts(f.ranges)
		}
	}
	return total
}

func (f *flavour) port(i uint64) uint64 {
	for _, r := range f.ranges {
		n := r.End - r.Begin + 1
		if i < n {
			return r.Begin + i
		}
		i -= n
	}
	return 0
}

func (f *flavour) removePort(p uint64) {
	var left []mesos.Value_Range
	for _, r := range f.ranges {
		if p < r.Begin || p > r.End {
			left = append(left, r)
			continue
		}
		if r.Begin < p {
			left = append(left, mesos.Value_Range{Begin: r.Begin, End: p - 1})
		}
		if p < r.End {
			left = append(left, mesos.Value_Range{Begin: p + 1, End: r.End})
		}
	}
	f.ranges = left
}

// coalesce sorts ranges and joins those that touch, so that no port is in two: offers
// list each port once, but a port that was counted twice could be given out twice.
func coalesce(ranges []mesos.Value_Range) []mesos.Value_Range {
	slices.SortFunc(ranges, func(a, b mesos.Value_Range) int { return cmp.Compare(a.Begin, b.Begin) })
	joined := ranges[:0]
	for _, r := range ranges {
		if n := len(joined); n > 0 && r.Begin <= joined[n-1].End+1 {
			joined[n-1].End = max(joined[n-1].End, r.End)
			continue
		}
		joined = append(joined, r)
	}
	return joined
}

func countPorts(ranges []mesos.Value_Range) uint64 {
	var n uint64
	for _, r := range ranges {
		n += r.End - r.Begin + 1
	}
	return n
}

// total is the sum over all flavours of a scalar, sum that over the revocable ones or
// over all others.
func (inv inventory) total(name string) int64 { return inv.sum(name, false) + inv.sum(name, true) }

func (inv inventory) sum(name string, revocable bool) (milli int64) {
	for i := range inv {
		if f := &inv[i]; f.is(name) && f.revocable == revocable {
			milli += f.amount
		}
	}
	return milli
}
