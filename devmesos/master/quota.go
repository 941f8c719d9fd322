package master

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	operator "github.com/mesos/mesos-go/api/v1/lib/master"
	"github.com/mesos/mesos-go/api/v1/lib/quota"

	"lode/devmesos/internal/resources"
	"lode/devmesos/internal/wire"
)

// amounts are of scalar resources, by name.
type amounts map[string]resources.Milli

func amountsOf(values map[string]mesos.Value_Scalar) amounts {
	a := make(amounts)
	for name, v := range values {
		a[name] = resources.ToMilli(v.Value)
	}
	return a
}

// counts says whether a resource counts for quotas: if it is neither revocable nor reserved.
func counts(r mesos.Resource) bool {
	return r.GetType() == mesos.SCALAR && r.Revocable == nil && len(r.Reservations) == 0
}

// family is the role at the top of a role's path; only such have quotas.
func family(role string) string {
	top, _, _ := strings.Cut(role, "/")
	return top
}

// consumed is what a role and those below it hold of their quota: what is allocated, offers
// included, and what is reserved for them.
func (m *Master) consumed(role string) (all resources.Set) {
	for _, fw := range m.frameworks {
		for name, r := range fw.allocated {
			if family(name) == role {
				all = all.Plus(r.Filter(counts))
			}
		}
	}
	for _, a := range m.agents {
		all = all.Plus(a.total.Filter(func(r mesos.Resource) bool {
			return len(r.Reservations) > 0 && family(r.Reservations[0].GetRole()) == role && r.GetType() == mesos.SCALAR
		}))
	}
	return all
}

// room is what quotas leave to an allocation: a role first gets what it lacks of its
// guarantee, and nobody more than the limit, nor of what is free the part that guarantees
// of others lack (src/master/allocator/mesos/hierarchical.cpp of Mesos 1.11). nil: there are
// no quotas.
type room struct {
	lacks map[string]amounts // by role: of the guarantee
	may   map[string]amounts // by role: below the limit
	spare amounts            // free and not lacked by any guarantee; negative: too little is free
}

func (m *Master) newRoom() *room {
	quotas := m.cfg.Registry.quotas()
	if len(quotas) == 0 {
		return nil
	}
	r := &room{make(map[string]amounts), make(map[string]amounts), make(amounts)}
	for _, a := range m.agents {
		free := a.available().Filter(counts)
		for _, name := range free.Names() {
			r.spare[name] += free.Scalar(name)
		}
	}
	for role, q := range quotas {
		consumed := m.consumed(role)
		r.lacks[role], r.may[role] = amountsOf(q.Guarantees), amountsOf(q.Limits)
		for name, guarantee := range r.lacks[role] {
			r.lacks[role][name] = max(0, guarantee-consumed.Scalar(name))
			r.spare[name] -= r.lacks[role][name]
		}
		for name, limit := range r.may[role] {
			r.may[role][name] = max(0, limit-consumed.Scalar(name))
		}
	}
	return r
}

// lacking says whether a role has less than its guarantee.
func (r *room) lacking(role string) bool {
	for _, lack := range r.lacks[role] {
		if lack > 0 {
			return true
		}
	}
	return false
}

// fit is what of a set a role may be offered; for its guarantee: of what is guaranteed as much
// as it lacks, and nothing if none of that is there.
func (r *room) fit(role string, s resources.Set, guarantee bool) resources.Set {
	if r == nil {
		return s
	}
	most, given := make(amounts), false
	free := s.Filter(counts)
	for _, name := range free.Names() {
		lack := r.lacks[role][name]
		most[name] = max(0, r.spare[name])
		if guarantee && lack > 0 {
			most[name] = lack
			given = true
		}
		if may, limited := r.may[family(role)][name]; limited {
			most[name] = min(most[name], may)
		}
	}
	if guarantee {
		if !given {
			return resources.Set{}
		}
		s = s.Filter(func(r mesos.Resource) bool { return r.Revocable == nil })
	}
	return s.AtMost(most, counts)
}

// take notes what a role is offered.
func (r *room) take(role string, s resources.Set) {
	if r == nil {
		return
	}
	given := s.Unallocated().Filter(counts)
	for _, name := range given.Names() {
		amount := given.Scalar(name)
		if may, limited := r.may[family(role)][name]; limited {
			r.may[family(role)][name] = max(0, may-amount)
		}
		owed := min(amount, r.lacks[family(role)][name])
		if owed > 0 {
			r.lacks[family(role)][name] -= owed
		}
		r.spare[name] -= amount - owed
	}
}

// updateQuota is UPDATE_QUOTA: all of the quotas, or none if one is wrong.
func (m *Master) updateQuota(call *operator.Call_UpdateQuota) *wire.Refusal {
	invalid := func(format string, args ...any) *wire.Refusal {
		return wire.Refuse(http.StatusBadRequest, "Invalid QuotaConfig: "+format, args...)
	}
	quotas := m.cfg.Registry.quotas()
	for _, q := range call.QuotaConfigs {
		if strings.Contains(q.Role, "/") {
			return wire.Refuse(http.StatusBadRequest, "Updating quota on nested role '%s' is not supported yet", q.Role)
		}
		if q.Role == "" {
			return invalid("Invalid 'QuotaConfig.role': Empty role name is invalid")
		}
		if wrong := wrongQuota(q); wrong != "" {
			return invalid("%s", wrong)
		}
		if quotas[q.Role] = q; len(q.Guarantees)+len(q.Limits) == 0 {
			delete(quotas, q.Role)
		}
	}
	guaranteed := make(amounts)
	for _, q := range quotas {
		for name, amount := range amountsOf(q.Guarantees) {
			guaranteed[name] += amount
		}
	}
	total := m.clusterTotal().Filter(func(r mesos.Resource) bool { return r.Revocable == nil })
	for _, name := range sortedKeys(guaranteed) {
		if guaranteed[name] > total.Scalar(name) && !call.GetForce() {
			return invalid("total quota guarantees '%s:%v' exceed cluster capacity '%s:%v' (use 'force' flag to bypass this check)",
				name, guaranteed[name], name, total.Scalar(name))
		}
	}
	m.cfg.Registry.setQuotas(quotas)
	m.allocateSoon()
	return nil
}

// mostQuota is the greatest amount that Mesos takes of what is no memory.
const mostQuota = 1e12

// wrongQuota says what is wrong with a quota, "": nothing.
func wrongQuota(q quota.QuotaConfig) string {
	for kind, values := range map[string]map[string]mesos.Value_Scalar{"guarantee": q.Guarantees, "limit": q.Limits} {
		for name, v := range values {
			wrong := ""
			switch {
			case math.IsNaN(v.Value):
				wrong = "NaN not supported"
			case v.Value > mostQuota:
				return fmt.Sprintf("Invalid 'QuotaConfig.%ss': {'%s': %v} is invalid: values greater than 1 trillion (1000000000000) are not supported", kind, name, v.Value)
			case v.Value < 0:
				wrong = "Negative values not supported"
			default:
				continue
			}
			return fmt.Sprintf("Invalid %s configuration {'%s': %v}: %s", kind, name, v.Value, wrong)
		}
	}
	for name, v := range q.Guarantees {
		if limit, limited := q.Limits[name]; limited && v.Value > limit.Value {
			return fmt.Sprintf("'QuotaConfig.guarantees' { %s: %v } is not contained within the 'QuotaConfig.limits' { %s: %v }", name, v.Value, name, limit.Value)
		}
	}
	return ""
}

// quotaStatus is what GET_QUOTA and /quota show.
func (m *Master) quotaStatus() quota.QuotaStatus {
	var status quota.QuotaStatus
	quotas := m.cfg.Registry.quotas()
	for _, role := range sortedKeys(quotas) {
		q := quotas[role]
		info := quota.QuotaInfo{Role: &q.Role}
		for _, name := range slices.Sorted(maps.Keys(q.Guarantees)) {
			info.Guarantee = append(info.Guarantee, mesos.Resource{
				Name: name, Type: mesos.SCALAR.Enum(), Scalar: ptr(q.Guarantees[name]),
			})
		}
		status.Infos, status.Configs = append(status.Infos, info), append(status.Configs, q)
	}
	return status
}

// quotaView is the quota of a role in /roles.
func (m *Master) quotaView(name string, used resources.Set) map[string]any {
	q := m.cfg.Registry.quotas()[name]
	show := func(values map[string]mesos.Value_Scalar) map[string]float64 {
		v := make(map[string]float64)
		for name, s := range values {
			v[name] = s.Value
		}
		return v
	}
	return map[string]any{
		"role": name, "guarantee": show(q.Guarantees), "limit": show(q.Limits),
		"consumed": quantities(used.Filter(func(r mesos.Resource) bool { return r.GetType() == mesos.SCALAR && r.Revocable == nil })),
	}
}
