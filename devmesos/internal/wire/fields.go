package wire

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/gogo/protobuf/proto"
)

// field is what the protobuf tag of a struct's field says.
type field struct {
	index    []int
	name     string
	number   int
	required bool
	repeated bool
	enum     string // full name, empty if the field is no enum
	value    string // default, "" if there is none that JSON shows
	isMap    bool
	omit     bool // of a json tag: leave out when empty
}

// plans holds the fields of each struct type that was ever seen; types never change.
var plans sync.Map // reflect.Type → []field

// fieldsOf lists the fields of a struct in the order of declaration, which is the
// order in which Mesos writes them. Structs without protobuf tags are described by
// their json tags.
func fieldsOf(t reflect.Type) []field {
	if p, ok := plans.Load(t); ok {
		return p.([]field)
	}
	fields := appendFields(nil, t, nil)
	p, _ := plans.LoadOrStore(t, fields)
	return p.([]field)
}

func appendFields(fields []field, t reflect.Type, prefix []int) []field {
	shown := shownWhenEmpty[t]
	for i := range t.NumField() {
		sf := t.Field(i)
		index := append(slices.Clone(prefix), i)
		if tag, ok := sf.Tag.Lookup("protobuf"); ok {
			f := protoField(index, sf, tag)
			f.omit = !slices.Contains(shown, f.name)
			fields = append(fields, f)
		} else if tag, ok := sf.Tag.Lookup("json"); ok && tag != "-" {
			name, options, _ := strings.Cut(tag, ",")
			fields = append(fields, field{index: index, name: name, omit: strings.Contains(options, "omitempty")})
		} else if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
			fields = appendFields(fields, sf.Type, index)
		}
	}
	return fields
}

// shownWhenEmpty are the lists that the operator API shows even if they are empty.
var shownWhenEmpty = map[reflect.Type][]string{
	reflect.TypeFor[master.Response_GetTasks]():      {"tasks", "unreachable_tasks", "completed_tasks"},
	reflect.TypeFor[master.Response_GetExecutors]():  {"executors"},
	reflect.TypeFor[master.Response_GetFrameworks](): {"frameworks", "completed_frameworks"},
	reflect.TypeFor[master.Response_GetAgents]():     {"agents", "recovered_agents"},
}

func protoField(index []int, sf reflect.StructField, tag string) field {
	f := field{index: index, name: sf.Name, isMap: sf.Type.Kind() == reflect.Map}
	for i, part := range strings.Split(tag, ",") {
		key, value, _ := strings.Cut(part, "=")
		switch {
		case i == 1:
			f.number, _ = strconv.Atoi(part)
		case part == "req":
			f.required = true
		case part == "rep":
			f.repeated = true
		case key == "name":
			f.name = value
		case key == "enum":
			f.enum = value
		case key == "def":
			f.value = value
		}
	}
	if f.name == "role" {
		f.value = "" // deprecated fields have no visible default
	}
	return f
}

// laterEnums are values that mesos-go 0.0.11 does not know yet.
var laterEnums = map[string]map[string]int32{
	"mesos.MasterInfo_Capability_Type":    {"QUOTA_V2": MasterQuotaV2},
	"mesos.scheduler.PseudoattributeType": {"UNKNOWN": 0, "HOSTNAME": 1, "REGION": 2, "ZONE": 3},
}

// MasterQuotaV2 is the capability QUOTA_V2 of MasterInfo, which mesos-go 0.0.11 lacks.
const MasterQuotaV2 = 3

var quotaV2 = reflect.TypeFor[mesos.MasterInfo_Capability_Type]()

func enumNumber(enum, name string) (int32, bool) {
	if n, ok := proto.EnumValueMap(enum)[name]; ok {
		return n, true
	}
	n, ok := laterEnums[enum][name]
	return n, ok
}

// enumName is empty for a number without a name.
func enumName(v reflect.Value) string {
	if v.Type() == quotaV2 && v.Int() == MasterQuotaV2 {
		return "QUOTA_V2"
	}
	s := v.Interface().(interface{ String() string }).String()
	if _, err := strconv.Atoi(s); err == nil {
		return ""
	}
	return s
}
