package master

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// The messages of offer constraints (scheduler.proto of Mesos 1.11), which mesos-go
// 0.0.11 lacks. They are read by their tags, beside the call that contains them.
type (
	constrainedCall struct {
		Subscribe       *constrainedPart `protobuf:"bytes,3,opt,name=subscribe"`
		UpdateFramework *constrainedPart `protobuf:"bytes,19,opt,name=update_framework"`
	}
	constrainedPart struct {
		Constraints *constraints `protobuf:"bytes,3,opt,name=offer_constraints"`
	}
	constraints struct {
		Roles map[string]*roleConstraints `protobuf:"bytes,1,rep,name=role_constraints" protobuf_key:"bytes,1,opt,name=key" protobuf_val:"bytes,2,opt,name=value"`
	}
	roleConstraints struct {
		Groups []*constraintGroup `protobuf:"bytes,1,rep,name=groups"`
	}
	constraintGroup struct {
		Attributes []*attributeConstraint `protobuf:"bytes,1,rep,name=attribute_constraints"`
	}
	attributeConstraint struct {
		Selector  *selector  `protobuf:"bytes,1,opt,name=selector"`
		Predicate *predicate `protobuf:"bytes,2,opt,name=predicate"`
	}
	selector struct {
		Pseudo *int32  `protobuf:"varint,1,opt,name=pseudoattribute_type,enum=mesos.scheduler.PseudoattributeType"`
		Name   *string `protobuf:"bytes,2,opt,name=attribute_name"`
	}
	predicate struct {
		Exists         *nothing     `protobuf:"bytes,1,opt,name=exists"`
		NotExists      *nothing     `protobuf:"bytes,2,opt,name=not_exists"`
		TextEquals     *textValue   `protobuf:"bytes,3,opt,name=text_equals"`
		TextNotEquals  *textValue   `protobuf:"bytes,4,opt,name=text_not_equals"`
		TextMatches    *textPattern `protobuf:"bytes,5,opt,name=text_matches"`
		TextNotMatches *textPattern `protobuf:"bytes,6,opt,name=text_not_matches"`
	}
	nothing   struct{}
	textValue struct {
		Value string `protobuf:"bytes,1,opt,name=value"`
	}
	textPattern struct {
		Regex string `protobuf:"bytes,1,opt,name=regex"`
	}
)

func (c *constrainedCall) Reset()         { *c = constrainedCall{} }
func (c *constrainedCall) String() string { return fmt.Sprintf("%+v", *c) }
func (c *constrainedCall) ProtoMessage()  {}

// of picks the constraints of whichever call it is.
func (c *constrainedCall) of() *constraints {
	for _, part := range []*constrainedPart{c.Subscribe, c.UpdateFramework} {
		if part != nil && part.Constraints != nil {
			return part.Constraints
		}
	}
	return nil
}

// The pseudo-attributes.
const (
	pseudoHostname = 1
	pseudoRegion   = 2
	pseudoZone     = 3
)

// maxPattern bounds the size of a compiled pattern, in place of
// --offer_constraints_re2_max_program_size.
const maxPattern = 4 << 10

// validate refuses constraints that make no sense for a framework.
func (c *constraints) validate(info *mesos.FrameworkInfo) error {
	roles := rolesOf(info)
	for _, role := range sortedKeys(c.Roles) {
		if !slices.Contains(roles, role) {
			return words("`OfferConstraints` specify `role_constraints` for a role '%s', not contained in the set of roles", role)
		}
		groups := c.Roles[role].Groups
		if len(groups) == 0 {
			return words("A role %s has an empty `RoleConstraints::groups`", role)
		}
		for _, g := range groups {
			if len(g.Attributes) == 0 {
				return words("A role %s has an empty `RoleConstraints::Group`", role)
			}
			for _, a := range g.Attributes {
				if err := a.validate(); err != nil {
					return words("A role %s has an invalid 'AttributeConstraint': %v", role, err)
				}
			}
		}
	}
	return nil
}

func (a *attributeConstraint) validate() error {
	if s := a.Selector; s == nil || (s.Pseudo == nil) == (s.Name == nil) {
		return words("Exactly one of 'AttributeConstraint::Selector::name' or 'AttributeConstraint::Selector::pseudoattribute_type' must be set")
	}
	p := a.Predicate
	if p == nil || *p == (predicate{}) {
		return words("Unknown predicate type")
	}
	for _, pattern := range []*textPattern{p.TextMatches, p.TextNotMatches} {
		if pattern == nil {
			continue
		}
		if len(pattern.Regex) > maxPattern {
			return words("Failed to construct regex from pattern '%.20s…': pattern too large", pattern.Regex)
		}
		if _, err := pattern.compile(); err != nil {
			return words("Failed to construct regex from pattern '%s': %s", pattern.Regex, re2Words(err))
		}
	}
	return nil
}

// compile anchors the pattern: RE2::FullMatch.
func (p *textPattern) compile() (*regexp.Regexp, error) {
	if _, err := regexp.Compile(p.Regex); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + p.Regex + `)\z`)
}

// re2Words gives an error the words of RE2, whose syntax is that of Go.
func re2Words(err error) string {
	var bad *syntax.Error
	if !errors.As(err, &bad) {
		return err.Error()
	}
	if bad.Code == syntax.ErrMissingParen {
		return "missing ): " + bad.Expr
	}
	return string(bad.Code) + ": " + bad.Expr
}

// allow says whether an agent may be offered to a role: if any group is satisfied, or
// there is none for the role.
func (c *constraints) allow(role string, a *agent) bool {
	if c == nil || c.Roles[role] == nil {
		return true
	}
	return slices.ContainsFunc(c.Roles[role].Groups, func(g *constraintGroup) bool {
		return !slices.ContainsFunc(g.Attributes, func(constraint *attributeConstraint) bool { return !constraint.holds(a) })
	})
}

// holds says whether an agent satisfies one constraint. Predicates about text hold
// for attributes of other types.
func (c *attributeConstraint) holds(a *agent) bool {
	text, exists, isText := c.Selector.find(a)
	p := c.Predicate
	switch {
	case p.Exists != nil:
		return exists
	case p.NotExists != nil:
		return !exists
	case exists && !isText:
		return true
	case p.TextEquals != nil:
		return exists && text == p.TextEquals.Value
	case p.TextNotEquals != nil:
		return !exists || text != p.TextNotEquals.Value
	case p.TextMatches != nil:
		re, err := p.TextMatches.compile()
		return exists && err == nil && re.MatchString(text)
	case p.TextNotMatches != nil:
		re, err := p.TextNotMatches.compile()
		return !exists || err != nil || !re.MatchString(text)
	default:
		return true
	}
}

func (s *selector) find(a *agent) (text string, exists, isText bool) {
	if s.Name != nil {
		for _, attribute := range a.info.Attributes {
			if attribute.Name == *s.Name {
				return attribute.GetText().GetValue(), true, attribute.Type == mesos.TEXT
			}
		}
		return "", false, false
	}
	domain := a.info.GetDomain().GetFaultDomain()
	switch *s.Pseudo {
	case pseudoHostname:
		return a.info.Hostname, true, true
	case pseudoRegion:
		return domain.GetRegion().Name, domain != nil, true
	case pseudoZone:
		return domain.GetZone().Name, domain != nil, true
	default:
		return "", false, false
	}
}

// words makes an error whose text Mesos shows.
func words(format string, args ...any) error { return mesosError(fmt.Sprintf(format, args...)) }

type mesosError string

func (e mesosError) Error() string { return string(e) }
