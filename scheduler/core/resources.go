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
	template  mesos.Resource // without its amount
	reserved  bool
	revocable bool
	amount    int64 // of a scalar, thousandths
	ranges    []mesos.Value_Range
}

// inventory is what is left of an offer while tasks are cut out of it.
type inventory map[string][]*flavour // by resource name, best flavour first

// newInventory sorts resources by flavour. What belongs to volumes, to resource
// providers, or is shared is left out: nothing of ours can use it.
func newInventory(resources []mesos.Resource, revocable bool) inventory {
	inv := make(inventory, 3)
	for _, r := range resources {
		if r.Disk != nil || r.Shared != nil || r.ProviderID != nil || (r.Revocable != nil && !revocable) {
			continue
		}
		template := r
		template.Scalar, template.Ranges, template.Set = nil, nil, nil
		var f *flavour
		if i := slices.IndexFunc(inv[r.Name], func(f *flavour) bool { return f.same(&template) }); i >= 0 {
			f = inv[r.Name][i]
		} else {
			f = &flavour{
				template:  template,
				revocable: r.Revocable != nil,
				reserved:  len(r.Reservations) > 0 || r.Reservation != nil || (r.Role != nil && *r.Role != "*"),
			}
			inv[r.Name] = append(inv[r.Name], f)
		}
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
	for _, flavours := range inv {
		for _, f := range flavours {
			f.ranges = coalesce(f.ranges)
		}
		slices.SortStableFunc(flavours, func(a, b *flavour) int { return a.rank() - b.rank() })
	}
	return inv
}

// same says that a resource, its amount aside, is of the flavour. Offers have few
// flavours, and most of them say little.
func (f *flavour) same(r *mesos.Resource) bool {
	t := &f.template
	plain := len(t.Reservations) == 0 && len(r.Reservations) == 0 && t.Reservation == nil && r.Reservation == nil
	if plain && t.Name == r.Name && t.GetRole() == r.GetRole() && (t.Role == nil) == (r.Role == nil) &&
		(t.Revocable == nil) == (r.Revocable == nil) && t.AllocationInfo.GetRole() == r.AllocationInfo.GetRole() {
		return true
	}
	return t.Equal(r)
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
	r := f.template
	r.Scalar = &mesos.Value_Scalar{Value: fromMilli(milli)}
	return r
}

// cut takes an amount out of as many flavours as it needs, best first. A task may mix
// reserved and unreserved resources; only what is revocable has to stay among itself.
// The caller has looked that there is enough.
func (inv inventory) cut(name string, milli int64, revocable bool) (taken []mesos.Resource) {
	for _, f := range inv[name] {
		if n := min(f.amount, milli); f.revocable == revocable && n > 0 {
			taken = append(taken, f.take(n))
			milli -= n
		}
	}
	return taken
}

// cutExecutor cuts out what an executor has beside its task: of the same flavour of
// cpus, for Mesos does not let the two mix.
func (inv inventory) cutExecutor(revocable bool) []mesos.Resource {
	return slices.Concat(inv.cut("cpus", executorCPUs, revocable), inv.cut("mem", executorMem*1000, false))
}

// takePorts cuts out n ports, chosen at random: a port that a dying process still
// holds is then seldom hit twice. nil: there are not that many.
func (inv inventory) takePorts(n int, rnd *rand.Rand) (ports []uint64, taken []mesos.Resource) {
	var total uint64
	for _, f := range inv["ports"] {
		if !f.revocable {
			total += countPorts(f.ranges)
		}
	}
	if total < uint64(n) {
		return nil, nil
	}
	chosen := make(map[*flavour][]uint64)
	for ; len(ports) < n; total-- {
		i := rnd.Uint64N(total)
		for _, f := range inv["ports"] {
			if f.revocable {
				continue
			}
			if has := countPorts(f.ranges); i >= has {
				i -= has
				continue
			}
			p := f.port(i)
			f.removePort(p)
			ports, chosen[f] = append(ports, p), append(chosen[f], p)
			break
		}
	}
	for _, f := range inv["ports"] {
		if len(chosen[f]) == 0 {
			continue
		}
		r := f.template
		r.Ranges = &mesos.Value_Ranges{}
		for _, p := range slices.Sorted(slices.Values(chosen[f])) {
			r.Ranges.Range = append(r.Ranges.Range, mesos.Value_Range{Begin: p, End: p})
		}
		taken = append(taken, r)
	}
	return ports, taken
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
	var joined []mesos.Value_Range
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
	for _, f := range inv[name] {
		if f.revocable == revocable {
			milli += f.amount
		}
	}
	return milli
}
