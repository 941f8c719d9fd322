// Package resources counts Mesos resources as Mesos does: scalars in whole
// thousandths (docs/attributes-resources.md of Mesos), ranges and sets exactly, and
// every kind of a resource – by role, reservation, disk, revocability – for itself.
//
// A Set is a value: no operation changes its operands. From reads resources off the
// wire, Proto writes them, Parse reads the form of the agent's --resources flag.
package resources

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Milli is an amount of a scalar resource in thousandths.
type Milli int64

// ToMilli rounds an amount as it is on the wire to thousandths.
func ToMilli(amount float64) Milli { return Milli(math.Round(amount * 1000)) }

// Float is the amount as it is on the wire.
func (m Milli) Float() float64 { return float64(m) / 1000 }

func (m Milli) String() string { return strconv.FormatFloat(m.Float(), 'f', -1, 64) }

// Set is an amount of resources. The zero Set is empty.
type Set struct{ items []item }

// item is an amount of one kind of resource.
type item struct {
	key    string         // everything but the amount
	kind   mesos.Resource // the resource without amount; shared, never changed
	scalar Milli
	ranges ranges
	set    []string // sorted
}

func (i item) empty() bool {
	return i.scalar <= 0 && len(i.ranges) == 0 && len(i.set) == 0
}

// From reads resources in either format of reservations; role "*" means unreserved.
func From(list []mesos.Resource) Set {
	var s Set
	for _, r := range list {
		s.add(newItem(r))
	}
	return s
}

func newItem(r mesos.Resource) item {
	i := item{kind: refined(r)}
	switch r.GetType() {
	case mesos.SCALAR:
		i.scalar = ToMilli(r.GetScalar().GetValue())
	case mesos.RANGES:
		i.ranges = newRanges(r.GetRanges().GetRange())
	case mesos.SET:
		i.set = slices.Clone(r.GetSet().GetItem())
		slices.Sort(i.set)
		i.set = slices.Compact(i.set)
	}
	i.kind.Scalar, i.kind.Ranges, i.kind.Set = nil, nil, nil
	i.key = key(&i.kind)
	return i
}

// refined brings a resource into the form with a stack of reservations.
func refined(r mesos.Resource) mesos.Resource {
	role := r.GetRole()
	if role != "" && role != "*" && len(r.Reservations) == 0 {
		reservation := mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: &role}
		if old := r.Reservation; old != nil {
			reservation.Type = mesos.Resource_ReservationInfo_DYNAMIC.Enum()
			reservation.Principal, reservation.Labels = old.Principal, old.Labels
		}
		r.Reservations = []mesos.Resource_ReservationInfo{reservation}
	}
	r.Role, r.Reservation = nil, nil
	return r
}

func key(r *mesos.Resource) string {
	var b strings.Builder
	b.WriteString(r.Name)
	b.WriteByte(0)
	b.WriteString(r.GetType().String())
	b.WriteByte(0)
	b.WriteString(r.GetAllocationInfo().GetRole())
	for i := range r.Reservations {
		b.WriteByte(0)
		b.WriteString(r.Reservations[i].String())
	}
	if r.Disk != nil {
		b.WriteByte(0)
		b.WriteString(r.Disk.String())
	}
	if r.Revocable != nil {
		b.WriteString("\x00revocable")
	}
	if r.Shared != nil {
		b.WriteString("\x00shared")
	}
	if r.ProviderID != nil {
		b.WriteByte(0)
		b.WriteString(r.ProviderID.Value)
	}
	return b.String()
}

func (s *Set) add(i item) {
	if i.empty() {
		return
	}
	at := s.find(i.key)
	if at < 0 {
		s.items = append(s.items, i)
		return
	}
	old := &s.items[at]
	old.scalar += i.scalar
	old.ranges = old.ranges.plus(i.ranges)
	old.set = union(old.set, i.set)
}

func (s *Set) find(key string) int {
	return slices.IndexFunc(s.items, func(i item) bool { return i.key == key })
}

// Plus is the sum.
func (s Set) Plus(t Set) Set {
	sum := Set{slices.Clone(s.items)}
	for _, i := range t.items {
		sum.add(i)
	}
	return sum
}

// Minus takes away what s has of t. The last kind takes the place of one that is used
// up: so it is in Mesos, whose messages show the order.
func (s Set) Minus(t Set) Set {
	rest := Set{slices.Clone(s.items)}
	for _, i := range t.items {
		at := rest.find(i.key)
		if at < 0 {
			continue
		}
		left := &rest.items[at]
		left.scalar -= i.scalar
		left.ranges = left.ranges.minus(i.ranges)
		left.set = difference(left.set, i.set)
		if left.empty() {
			last := len(rest.items) - 1
			rest.items[at] = rest.items[last]
			rest.items = rest.items[:last]
		}
	}
	return rest
}

// Contains says whether t is a part of s.
func (s Set) Contains(t Set) bool {
	for _, i := range t.items {
		at := s.find(i.key)
		if at < 0 {
			return false
		}
		has := s.items[at]
		if has.scalar < i.scalar || len(i.ranges.minus(has.ranges)) > 0 || len(difference(i.set, has.set)) > 0 {
			return false
		}
	}
	return true
}

// Empty says whether there is nothing.
func (s Set) Empty() bool { return len(s.items) == 0 }

// Equal says whether both are the same amounts of the same kinds.
func (s Set) Equal(t Set) bool { return s.Contains(t) && t.Contains(s) }

// Allocated is the same amount, allocated to a role.
func (s Set) Allocated(role string) Set {
	return s.mapKinds(func(r *mesos.Resource) {
		r.AllocationInfo = &mesos.Resource_AllocationInfo{Role: &role}
	})
}

// Unallocated is the same amount without allocation.
func (s Set) Unallocated() Set {
	return s.mapKinds(func(r *mesos.Resource) { r.AllocationInfo = nil })
}

func (s Set) mapKinds(change func(*mesos.Resource)) Set {
	var t Set
	for _, i := range s.items {
		change(&i.kind)
		i.key = key(&i.kind)
		t.add(i)
	}
	return t
}

// Filter keeps the kinds that keep wants; it sees resources without amounts.
func (s Set) Filter(keep func(mesos.Resource) bool) Set {
	var t Set
	for _, i := range s.items {
		if keep(i.kind) {
			t.items = append(t.items, i)
		}
	}
	return t
}

// AtMost cuts the scalars that count down to the amounts that are given for their names;
// those without one, and all else, stay.
func (s Set) AtMost(most map[string]Milli, counts func(mesos.Resource) bool) (cut Set) {
	left := maps.Clone(most)
	for _, i := range s.items {
		if amount, limited := left[i.kind.Name]; limited && counts(i.proto()) {
			i.scalar = min(i.scalar, amount)
			left[i.kind.Name] -= i.scalar
		}
		if !i.empty() {
			cut.items = append(cut.items, i)
		}
	}
	return cut
}

// ScalarsLast moves lasting scalars behind everything else, the order in which Mesos
// offers.
func (s Set) ScalarsLast() Set {
	last := func(i item) bool { return i.kind.GetType() == mesos.SCALAR && i.kind.Revocable == nil }
	items := slices.Clone(s.items)
	slices.SortStableFunc(items, func(a, b item) int { return boolOrder(last(a), last(b)) })
	return Set{items}
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// Scalar is the amount of a scalar resource over all kinds.
func (s Set) Scalar(name string) Milli {
	var sum Milli
	for _, i := range s.items {
		if i.kind.Name == name {
			sum += i.scalar
		}
	}
	return sum
}

// Names lists the names of the resources, each once, in order.
func (s Set) Names() []string {
	var names []string
	for _, i := range s.items {
		if !slices.Contains(names, i.kind.Name) {
			names = append(names, i.kind.Name)
		}
	}
	return names
}

// Quantity is the amount of a resource over all kinds as a number: of a scalar its
// value, of ranges and sets how many there are.
func (s Set) Quantity(name string) Milli {
	sum := s.Scalar(name)
	for _, i := range s.items {
		if i.kind.Name == name {
			sum += Milli(i.ranges.count()+uint64(len(i.set))) * 1000
		}
	}
	return sum
}

// Ranges writes the ranges of a resource over all kinds, such as [1-2, 5-5]; empty
// if there are none.
func (s Set) Ranges(name string) string {
	var all ranges
	for _, i := range s.items {
		if i.kind.Name == name {
			all = all.plus(i.ranges)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return all.String()
}

// Proto writes the resources with stacks of reservations.
func (s Set) Proto() []mesos.Resource {
	list := make([]mesos.Resource, 0, len(s.items))
	for _, i := range s.items {
		list = append(list, i.proto())
	}
	return list
}

func (i item) proto() mesos.Resource {
	r := i.kind
	switch r.GetType() {
	case mesos.SCALAR:
		r.Scalar = &mesos.Value_Scalar{Value: i.scalar.Float()}
	case mesos.RANGES:
		r.Ranges = &mesos.Value_Ranges{Range: i.ranges.proto()}
	case mesos.SET:
		r.Set = &mesos.Value_Set{Item: slices.Clone(i.set)}
	}
	return r
}

// OldProto writes the resources in the format before RESERVATION_REFINEMENT: with a
// role, "*" if unreserved, and the field 'reservation' if reserved dynamically.
// Kinds with more than one reservation have no such form and are left out.
func (s Set) OldProto() []mesos.Resource {
	list := make([]mesos.Resource, 0, len(s.items))
	for _, i := range s.items {
		r := i.proto()
		role := "*"
		switch len(r.Reservations) {
		case 0:
		case 1:
			top := r.Reservations[0]
			role = top.GetRole()
			if top.GetType() == mesos.Resource_ReservationInfo_DYNAMIC {
				r.Reservation = &mesos.Resource_ReservationInfo{Principal: top.Principal, Labels: top.Labels}
			}
		default:
			continue
		}
		r.Role, r.Reservations = &role, nil
		list = append(list, r)
	}
	return list
}

func union(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	u := slices.Concat(a, b)
	slices.Sort(u)
	return slices.Compact(u)
}

func difference(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	var d []string
	for _, x := range a {
		if _, found := slices.BinarySearch(b, x); !found {
			d = append(d, x)
		}
	}
	return d
}

// Upgrade brings resources of a call into the format with stacks of reservations and
// allocates those to a role that name none. The amounts stay as they are.
func Upgrade(list []mesos.Resource, role string) []mesos.Resource {
	upgraded := make([]mesos.Resource, len(list))
	for i, r := range list {
		upgraded[i] = refined(r)
		if r.AllocationInfo == nil {
			upgraded[i].AllocationInfo = &mesos.Resource_AllocationInfo{Role: &role}
		}
	}
	return upgraded
}

// PopReservation takes the last reservation off each kind.
func (s Set) PopReservation() Set {
	return s.mapKinds(func(r *mesos.Resource) {
		if n := len(r.Reservations); n > 0 {
			r.Reservations = slices.Clone(r.Reservations[:n-1])
		}
	})
}

// SharesRanges says whether a range resource, such as ports, has numbers in both sets.
func (s Set) SharesRanges(t Set) bool {
	return slices.ContainsFunc(s.items, func(i item) bool {
		return slices.ContainsFunc(t.items, func(j item) bool {
			return i.kind.Name == j.kind.Name && i.ranges.minus(j.ranges).count() < i.ranges.count()
		})
	})
}
