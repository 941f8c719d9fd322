package resources

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// String writes the resources as Mesos' messages do, such as
// "cpus(allocated: mining):7.7; ports:[31100-31199]"; "{}" if there are none.
func (s Set) String() string {
	if s.Empty() {
		return "{}"
	}
	parts := make([]string, len(s.items))
	for n, i := range s.items {
		parts[n] = i.String()
	}
	return strings.Join(parts, "; ")
}

func (i item) String() string {
	var amount string
	switch i.kind.GetType() {
	case mesos.SCALAR:
		amount = i.scalar.String()
	case mesos.RANGES:
		amount = i.ranges.String()
	case mesos.SET:
		amount = "{" + strings.Join(i.set, ", ") + "}"
	}
	return describe(i.kind) + ":" + amount
}

// describe names the kind of a resource.
func describe(r mesos.Resource) string {
	var b strings.Builder
	b.WriteString(r.Name)
	if len(r.Reservations) > 0 {
		stack := make([]string, len(r.Reservations))
		for n, reservation := range r.Reservations {
			stack[n] = "(" + reservation.GetType().String() + "," + reservation.GetRole()
			if reservation.Principal != nil {
				stack[n] += "," + reservation.GetPrincipal()
			}
			stack[n] += ")"
		}
		fmt.Fprintf(&b, "(reservations: [%s])", strings.Join(stack, ","))
	}
	if r.AllocationInfo != nil {
		fmt.Fprintf(&b, "(allocated: %s)", r.AllocationInfo.GetRole())
	}
	if disk := r.Disk; disk != nil && disk.Persistence != nil {
		fmt.Fprintf(&b, "[%s:%s]", disk.Persistence.ID, disk.GetVolume().GetContainerPath())
	}
	if r.Revocable != nil {
		b.WriteString("{REV}")
	}
	if r.Shared != nil {
		b.WriteString("<SHARED>")
	}
	return b.String()
}

// Parse reads the form of the agent's --resources flag: name(role):value separated
// by semicolons, where a value is a number, [begin-end, …] or {item, …}.
func Parse(text string) (Set, error) {
	var s Set
	for entry := range strings.SplitSeq(text, ";") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		r, err := parseResource(entry)
		if err != nil {
			return Set{}, err
		}
		s.add(newItem(r))
	}
	return s, nil
}

func parseResource(entry string) (mesos.Resource, error) {
	name, value, ok := strings.Cut(entry, ":")
	name, role, reserved := strings.Cut(strings.TrimSpace(name), "(")
	if !ok || name == "" || (reserved && !strings.HasSuffix(role, ")")) {
		return mesos.Resource{}, fmt.Errorf("resource %q: want name:value or name(role):value, such as cpus:2", entry)
	}
	r := mesos.Resource{Name: name}
	if reserved {
		role = strings.TrimSuffix(role, ")")
		r.Role = &role
	}
	value = strings.TrimSpace(value)
	switch {
	case strings.HasPrefix(value, "[") && strings.HasSuffix(value, "]"):
		list, err := parseRanges(value[1 : len(value)-1])
		if err != nil {
			return r, fmt.Errorf("resource %q: %w", entry, err)
		}
		r.Type, r.Ranges = mesos.RANGES.Enum(), &mesos.Value_Ranges{Range: list}
	case strings.HasPrefix(value, "{") && strings.HasSuffix(value, "}"):
		r.Type, r.Set = mesos.SET.Enum(), &mesos.Value_Set{}
		for member := range strings.SplitSeq(value[1:len(value)-1], ",") {
			if member = strings.TrimSpace(member); member != "" {
				r.Set.Item = append(r.Set.Item, member)
			}
		}
	default:
		amount, err := strconv.ParseFloat(value, 64)
		if err != nil || amount < 0 || math.IsInf(amount, 0) || math.IsNaN(amount) || amount > 1e12 {
			return r, fmt.Errorf("resource %q: %q is no amount from 0 to 1e12", entry, value)
		}
		r.Type, r.Scalar = mesos.SCALAR.Enum(), &mesos.Value_Scalar{Value: amount}
	}
	return r, nil
}

func parseRanges(text string) ([]mesos.Value_Range, error) {
	var list []mesos.Value_Range
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		first, last, _ := strings.Cut(part, "-")
		begin, err := strconv.ParseUint(strings.TrimSpace(first), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("range %q: want begin-end", part)
		}
		end, err := strconv.ParseUint(strings.TrimSpace(last), 10, 64)
		if err != nil || end < begin {
			return nil, fmt.Errorf("range %q: want begin-end", part)
		}
		list = append(list, mesos.Value_Range{Begin: begin, End: end})
	}
	return list, nil
}

// Validate checks resources of a call as Mesos does (Resources::validate); the error
// has Mesos' text. Exactly zero is a valid amount, one that rounds to zero is none.
func Validate(list []mesos.Resource) error {
	for _, r := range list {
		if err := validate(r); err != "" {
			return validationError(fmt.Sprintf("Resource '%s' is invalid: %s", show(r), err))
		}
	}
	return nil
}

type validationError string

func (e validationError) Error() string { return string(e) }

// show writes a single resource with its amount rounded, whether it is valid or not.
func show(r mesos.Resource) string {
	i := newItem(r)
	if r.Type == nil {
		return describe(i.kind) + ":"
	}
	return i.String()
}

func validate(r mesos.Resource) string {
	switch {
	case r.Name == "":
		return "Empty resource name"
	case r.Type == nil:
		return "Invalid resource type"
	}
	switch r.GetType() {
	case mesos.SCALAR:
		if r.Scalar == nil || r.Ranges != nil || r.Set != nil {
			return "Invalid scalar resource"
		}
		value := r.Scalar.Value
		switch {
		case math.IsNaN(value) || math.IsInf(value, 0):
			return "Invalid scalar resource: value is not finite"
		case value < 0 || (value != 0 && ToMilli(value) == 0):
			return "Invalid scalar resource: value <= 0"
		case r.Name == "gpus" && value != math.Trunc(value):
			return "The 'gpus' resource must be an unsigned integer"
		}
	case mesos.RANGES:
		if r.Ranges == nil || r.Scalar != nil || r.Set != nil {
			return "Invalid ranges resource"
		}
		for _, a := range r.Ranges.Range {
			if a.Begin > a.End {
				return "Invalid ranges resource: begin > end"
			}
		}
		if newRanges(r.Ranges.Range).count() != total(r.Ranges.Range) {
			return "Invalid ranges resource: overlapping ranges"
		}
	case mesos.SET:
		if r.Set == nil || r.Scalar != nil || r.Ranges != nil {
			return "Invalid set resource"
		}
		if len(newItem(r).set) != len(r.Set.Item) {
			return "Invalid set resource: duplicated elements"
		}
	default:
		return "Unsupported resource type"
	}
	return ""
}

func total(list []mesos.Value_Range) uint64 {
	var n uint64
	for _, a := range list {
		n += a.End - a.Begin + 1
	}
	return n
}
