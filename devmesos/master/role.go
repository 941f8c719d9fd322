package master

import (
	"maps"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/resources"
)

// role is what the frameworks of a role have together.
type role struct {
	frameworks    []string
	used, offered resources.Set
}

// roleNames lists the roles that frameworks are subscribed to or hold something in, and
// those with a quota.
func (m *Master) roleNames() []string {
	names := make(map[string]bool)
	for name := range m.cfg.Registry.quotas() {
		names[name] = true
	}
	for _, fw := range m.frameworks {
		maps.Copy(names, fw.roles)
		for name := range fw.allocated {
			names[name] = true
		}
	}
	return sortedKeys(names)
}

func (m *Master) describeRole(name string) role {
	r := role{frameworks: []string{}}
	for _, id := range sortedKeys(m.frameworks) {
		fw := m.frameworks[id]
		if !fw.roles[name] && fw.allocated[name].Empty() {
			continue
		}
		r.frameworks = append(r.frameworks, id)
		var inOffers resources.Set
		for _, o := range sortedOffers(fw.offers) {
			if o.role == name {
				inOffers = inOffers.Plus(o.resources.Unallocated())
			}
		}
		r.offered = r.offered.Plus(inOffers)
		r.used = r.used.Plus(fw.allocated[name].Minus(inOffers))
	}
	return r
}

// quantities shows amounts of all resources as numbers.
func quantities(s resources.Set) map[string]float64 {
	v := make(map[string]float64)
	for _, name := range s.Names() {
		v[name] = s.Quantity(name).Float()
	}
	return v
}

// quantityResources shows them as scalar resources, sorted by name; ranges are left out.
func quantityResources(s resources.Set) []mesos.Resource {
	var list []mesos.Resource
	names := s.Names()
	slices.Sort(names)
	for _, name := range names {
		if amount := s.Scalar(name); amount > 0 {
			list = append(list, mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: amount.Float()}})
		}
	}
	return list
}
