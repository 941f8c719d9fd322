package driver

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
)

// Lack is what a role lacks of the cpus that its quota guarantees, in thousandths.
type Lack struct {
	Role  string
	Milli int64
}

// Lacks asks the master of the subscription which other roles than ours lack cpus that
// their quotas guarantee: a guarantee less what is consumed of it, and less what is offered
// to the role at the moment. Roles without a framework are left out. It is all that a master
// tells of what others wait for; one that does not let us see other roles tells nothing.
func (d *Driver) Lacks(ctx context.Context, ours []string) ([]Lack, error) {
	s := d.current()
	if s == nil {
		return nil, ErrNoSubscription
	}
	r := d.reader(s.leader)
	defer r.close()
	var answer json.RawMessage
	code, err := r.ask(ctx, http.MethodGet, "/roles", &answer)
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask master %s for its roles: %w", s.host, err)
	case code != http.StatusOK:
		return nil, fmt.Errorf("ask master %s for its roles: it answers with %d", s.host, code)
	}
	lacks, err := parseLacks(answer, ours)
	if err != nil {
		return nil, fmt.Errorf("roles of master %s: %w", s.host, err)
	}
	return lacks, nil
}

// mostCPUs is more than any cluster has.
const mostCPUs = 1e9

// parseLacks reads what a master says at /roles (src/master/readonly_handler.cpp of Mesos
// 1.11), the roles that lack the most first.
func parseLacks(text []byte, ours []string) (lacks []Lack, err error) {
	type quantities struct {
		CPUs float64 `json:"cpus"`
	}
	var answer struct {
		Roles []struct {
			Name       string            `json:"name"`
			Frameworks []json.RawMessage `json:"frameworks"`
			Offered    quantities        `json:"offered"`
			Quota      struct {
				Guarantee, Consumed quantities
			} `json:"quota"`
		} `json:"roles"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, err
	}
	for _, r := range answer.Roles {
		if len(r.Frameworks) == 0 || slices.Contains(ours, r.Name) {
			continue
		}
		cpus := r.Quota.Guarantee.CPUs - max(0, r.Quota.Consumed.CPUs) - max(0, r.Offered.CPUs)
		if milli := int64(math.Round(1000 * min(cpus, mostCPUs))); milli > 0 {
			lacks = append(lacks, Lack{r.Name, milli})
		}
	}
	slices.SortStableFunc(lacks, func(a, b Lack) int { return int(min(1, max(-1, b.Milli-a.Milli))) })
	return lacks, nil
}
