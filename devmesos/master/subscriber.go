package master

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// refuseFramework is the reason for which Mesos refuses a subscription; empty if it
// does not (Master::validateFramework, src/master/validation.cpp).
func (m *Master) refuseFramework(s *subscription) string {
	if reason := m.refuseInfo(&s.info, s.suppressed); reason != "" {
		return reason
	}
	if s.constraints != nil {
		if err := s.constraints.validate(&s.info); err != nil {
			return "Offer constraints are not valid: " + err.Error()
		}
	}
	id := s.info.GetID().GetValue()
	if m.isCompleted(id) {
		return "Framework has been removed"
	}
	if fw := m.frameworks[id]; fw != nil && s.info.GetPrincipal() != fw.info.GetPrincipal() {
		return "Changing framework's principal is not allowed."
	}
	return ""
}

// refuseInfo checks what a framework says of itself.
func (m *Master) refuseInfo(info *mesos.FrameworkInfo, suppressed []string) string {
	if reason := refuseRoles(info); reason != "" {
		return reason
	}
	if id := info.GetID(); id != nil && id.Value != "" {
		if reason := refuseID(id.Value); reason != "" {
			return reason
		}
	}
	// The bound is that of a Duration: nanoseconds in 63 bits.
	if t := info.GetFailoverTimeout(); t != t || t*1e9 >= 1<<63 || t*1e9 < -1<<63 {
		return fmt.Sprintf("The framework failover_timeout (%s) is invalid", general(t))
	}
	roles := rolesOf(info)
	for _, role := range roles {
		if len(m.cfg.Roles) > 0 && role != "*" && !slices.Contains(m.cfg.Roles, role) {
			return fmt.Sprintf("Roles { %s } are not present in the master's --roles", role)
		}
	}
	if unknown := slices.DeleteFunc(slices.Clone(suppressed), func(role string) bool { return slices.Contains(roles, role) }); len(unknown) > 0 {
		return fmt.Sprintf("Suppressed roles %s are not contained in the set of roles", braces(unknown))
	}
	if m.cfg.RefuseRoot && info.User == "root" {
		return "User 'root' is not allowed to run frameworks without --root_submissions set"
	}
	return ""
}

func refuseRoles(info *mesos.FrameworkInfo) string {
	if !capable(info, mesos.FrameworkInfo_Capability_MULTI_ROLE) {
		if len(info.Roles) > 0 {
			return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
		}
		if info.Role != nil {
			if reason := refuseRole(*info.Role); reason != "" {
				return "'FrameworkInfo.role' is not a valid role: " + reason
			}
		}
		return ""
	}
	if info.Role != nil {
		return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
	}
	var duplicates []string
	for i, role := range info.Roles {
		if slices.Contains(info.Roles[:i], role) && !slices.Contains(duplicates, role) {
			duplicates = append(duplicates, role)
		}
	}
	if len(duplicates) > 0 {
		return "'FrameworkInfo.roles' contains duplicate items: " + braces(duplicates)
	}
	for _, role := range info.Roles {
		if reason := refuseRole(role); reason != "" {
			return "'FrameworkInfo.roles' contains invalid role: " + reason
		}
	}
	return ""
}

// refuseRole follows src/common/roles.cpp of Mesos.
func refuseRole(role string) string {
	switch {
	case role == "*":
		return ""
	case role == "":
		return "Role names cannot be the empty string"
	case strings.HasPrefix(role, "/"):
		return fmt.Sprintf("Role '%s' cannot start with a slash", role)
	case strings.HasSuffix(role, "/"):
		return fmt.Sprintf("Role '%s' cannot end with a slash", role)
	case strings.Contains(role, "//"):
		return fmt.Sprintf("Role '%s' cannot contain two adjacent slashes", role)
	}
	for part := range strings.SplitSeq(role, "/") {
		switch {
		case part == "." || part == ".." || part == "*":
			return fmt.Sprintf("Role '%s' cannot include '%s' as a component", role, part)
		case strings.HasPrefix(part, "-"):
			return fmt.Sprintf("Role component '%s' is invalid because it starts with a dash", part)
		case strings.ContainsAny(part, "\b \t\n\v\f\r"):
			return fmt.Sprintf("Role component '%s' is invalid because it contains backspace or whitespace", part)
		}
	}
	return ""
}

// refuseID follows validateID of src/common/validation.cpp.
func refuseID(id string) string {
	switch {
	case id == "":
		return "ID must not be empty"
	case len(id) > 255:
		return "ID must not be greater than 255 characters"
	case id == "." || id == "..":
		return fmt.Sprintf("'%s' is disallowed", id)
	case strings.ContainsFunc(id, func(r rune) bool { return r == '/' || r == '\\' || r < unicode.MaxLatin1 && unicode.IsControl(r) }):
		return fmt.Sprintf("'%s' contains invalid characters", id)
	default:
		return ""
	}
}

// braces writes a set as Mesos does.
func braces(list []string) string {
	list = slices.Clone(list)
	slices.Sort(list)
	return "{ " + strings.Join(slices.Compact(list), ", ") + " }"
}

// general writes a number as C++ streams do: six digits, exponent of two.
func general(f float64) string {
	return fmt.Sprintf("%.6g", f)
}

// refuseUpdate is the reason for which a framework may not change so
// (validation::framework::validateUpdate).
func refuseUpdate(old, updated *mesos.FrameworkInfo) string {
	for _, f := range []struct{ name, from, to string }{
		{"principal", old.GetPrincipal(), updated.GetPrincipal()},
		{"user", old.User, updated.User},
		{"checkpoint", fmt.Sprint(old.GetCheckpoint()), fmt.Sprint(updated.GetCheckpoint())},
	} {
		if f.from != f.to {
			return fmt.Sprintf("Updating 'FrameworkInfo.%s' is unsupported; attempted to update from '%s' to '%s'", f.name, f.from, f.to)
		}
	}
	return ""
}

// stout writes a duration as Mesos' flags do: the largest unit that gives a whole
// number.
func stout(d time.Duration) string {
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{
		{7 * 24 * time.Hour, "weeks"},
		{24 * time.Hour, "days"},
		{time.Hour, "hrs"},
		{time.Minute, "mins"},
		{time.Second, "secs"},
		{time.Millisecond, "ms"},
		{time.Microsecond, "us"},
	} {
		if d != 0 && d%unit.d == 0 {
			return fmt.Sprintf("%d%s", d/unit.d, unit.name)
		}
	}
	return fmt.Sprintf("%dns", d)
}
