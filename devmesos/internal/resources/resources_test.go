package resources

import (
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"pgregory.net/rapid"
)

func parse(t testing.TB, text string) Set {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestArithmetic(t *testing.T) {
	for _, test := range []struct{ name, a, b, plus, minus string }{
		{"scalars", "cpus:2;mem:10", "cpus:0.1", "cpus:2.1; mem:10", "cpus:1.9; mem:10"},
		{"ten tenths", "cpus:0.3", "cpus:0.1", "cpus:0.4", "cpus:0.2"},
		{"all", "cpus:1", "cpus:1", "cpus:2", "{}"},
		{"more than there is", "cpus:1", "cpus:3;mem:1", "cpus:4; mem:1", "{}"},
		{"ranges", "ports:[1-10]", "ports:[4-5, 8-20]", "ports:[1-20]", "ports:[1-3, 6-7]"},
		{"touching ranges", "ports:[1-2]", "ports:[3-4]", "ports:[1-4]", "ports:[1-2]"},
		{"a middle", "ports:[1-9]", "ports:[5-5]", "ports:[1-9]", "ports:[1-4, 6-9]"},
		{"sets", "zones:{a,b}", "zones:{b,c}", "zones:{a, b, c}", "zones:{a}"},
		{"roles are apart", "cpus(x):1", "cpus:1", "cpus(reservations: [(STATIC,x)]):1; cpus:1", "cpus(reservations: [(STATIC,x)]):1"},
		{"the last port", "ports:[18446744073709551615-18446744073709551615]", "ports:[1-1]", "ports:[1-1, 18446744073709551615-18446744073709551615]", "ports:[18446744073709551615-18446744073709551615]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := parse(t, test.a), parse(t, test.b)
			if got := a.Plus(b).String(); got != test.plus {
				t.Errorf("%v + %v = %s, want %s", a, b, got, test.plus)
			}
			if got := a.Minus(b).String(); got != test.minus {
				t.Errorf("%v − %v = %s, want %s", a, b, got, test.minus)
			}
		})
	}
}

// The texts are of a real master, recording 08.
func TestValidate(t *testing.T) {
	scalar := func(name string, v float64) mesos.Resource {
		return mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: v}}
	}
	for _, test := range []struct {
		name     string
		resource mesos.Resource
		want     string
	}{
		{"too little", scalar("cpus", 0.0004), "Resource 'cpus:0' is invalid: Invalid scalar resource: value <= 0"},
		{"negative", scalar("cpus", -1), "Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0"},
		{"zero", scalar("cpus", 0), ""},
		{"many decimals", scalar("cpus", 0.1234567), ""},
		{"half a gpu", scalar("gpus", 0.5), "Resource 'gpus:0.5' is invalid: The 'gpus' resource must be an unsigned integer"},
		{"no name", scalar("", 1), "Resource ':1' is invalid: Empty resource name"},
		{"no value", mesos.Resource{Name: "cpus", Type: mesos.SCALAR.Enum()}, "Resource 'cpus:0' is invalid: Invalid scalar resource"},
		{"overlap", mesos.Resource{Name: "ports", Type: mesos.RANGES.Enum(), Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 1, End: 3}, {Begin: 3, End: 4}}}}, "Resource 'ports:[1-4]' is invalid: Invalid ranges resource: overlapping ranges"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := Validate([]mesos.Resource{test.resource}); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"cpus", "cpus:x", ":1", "cpus:-1", "cpus(a:1", "ports:[5-1]", "ports:[a-b]", "ports:[5]", "cpus:NaN"} {
		if s, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) gives %v", text, s)
		}
	}
}

func TestFormats(t *testing.T) {
	s := parse(t, "cpus(prod):1;cpus:2")
	old := s.OldProto()
	if old[0].GetRole() != "prod" || len(old[0].Reservations) != 0 || old[1].GetRole() != "*" {
		t.Errorf("old format: %v", old)
	}
	if !From(old).Equal(s) || !From(s.Proto()).Equal(s) {
		t.Errorf("%v does not survive the wire", s)
	}
	if got := s.Allocated("a").String(); got != "cpus(reservations: [(STATIC,prod)])(allocated: a):1; cpus(allocated: a):2" {
		t.Error(got)
	}
	if !s.Allocated("a").Unallocated().Equal(s) {
		t.Error("allocation and back changes the resources")
	}
}

func TestProperties(t *testing.T) {
	amounts := rapid.Custom(func(t *rapid.T) Set {
		var s Set
		for range rapid.IntRange(0, 4).Draw(t, "kinds") {
			name := rapid.SampledFrom([]string{"cpus", "mem", "cpus(a)"}).Draw(t, "name")
			if rapid.Bool().Draw(t, "ports") {
				begin := rapid.Uint64Range(0, 40).Draw(t, "begin")
				end := begin + rapid.Uint64Range(0, 20).Draw(t, "more")
				s = s.Plus(Set{[]item{newItem(mesos.Resource{
					Name: "ports", Type: mesos.RANGES.Enum(),
					Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: begin, End: end}}},
				})}})
				continue
			}
			one, err := Parse(name + ":" + Milli(rapid.Int64Range(1, 9999).Draw(t, "milli")).String())
			if err != nil {
				t.Fatal(err)
			}
			s = s.Plus(one)
		}
		return s
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := amounts.Draw(t, "a"), amounts.Draw(t, "b")
		sum := a.Plus(b)
		if !sum.Contains(a) || !sum.Contains(b) || !sum.Equal(b.Plus(a)) {
			t.Fatalf("%v + %v = %v", a, b, sum)
		}
		if rest := a.Minus(b); !a.Contains(rest) {
			t.Fatalf("%v − %v = %v", a, b, rest)
		}
		if a.Contains(b) && !a.Minus(b).Plus(b).Equal(a) {
			t.Fatalf("%v − %v + the same is %v", a, b, a.Minus(b).Plus(b))
		}
		if !a.Minus(a).Empty() || !From(a.Proto()).Equal(a) {
			t.Fatalf("%v − itself is %v; through the wire %v", a, a.Minus(a), From(a.Proto()))
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("cpus:2;mem:1024;ports:[31000-32000, 1-2];zones:{a,b}")
	f.Add("cpus(prod):0.5")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err == nil && !From(s.Proto()).Equal(s) {
			t.Errorf("%q: %v does not survive the wire", text, s)
		}
	})
}
