package constraint

import (
	"slices"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"rack":                                  "want FIELD:OPERATOR",
		":UNIQUE":                               "it names no field",
		" :UNIQUE":                              "it names no field",
		"@rack:UNIQUE":                          "there is no field @rack: want @hostname, @region, @zone",
		"rack:":                                 `there is no operator "": want one of IS, LIKE`,
		"rack:UNIQE":                            `there is no operator "UNIQE": want one of IS, LIKE, UNLIKE, UNIQUE, CLUSTER, GROUP_BY, MAX_PER, as in rack:LIKE:a.*`,
		"rack:UNIQUE:1":                         "UNIQUE takes no value, as in rack:UNIQUE",
		"rack:IS":                               "IS needs the value that is wanted, as in rack:IS:a",
		"rack:LIKE":                             "LIKE needs a regular expression, as in rack:LIKE:a.*",
		"rack:LIKE:a(":                          `"a(" is no regular expression (RE2): missing closing ), as in`,
		"rack:UNLIKE:(?!a)":                     "is no regular expression (RE2): invalid or unsupported Perl syntax",
		"rack:UNLIKE:*":                         "is no regular expression (RE2): missing argument to repetition operator",
		"rack:MAX_PER":                          "MAX_PER needs a number from 1 to 1000000, as in rack:MAX_PER:2",
		"rack:MAX_PER:0":                        "MAX_PER needs a number",
		"rack:MAX_PER:-1":                       "MAX_PER needs a number",
		"rack:MAX_PER:two":                      "MAX_PER needs a number",
		"rack:MAX_PER:1.5":                      "MAX_PER needs a number",
		"rack:MAX_PER:9999999999999999999":      "MAX_PER needs a number",
		"rack:GROUP_BY:x":                       "GROUP_BY needs a number from 1 to 1000000, as in rack:GROUP_BY:3",
		"rack:GROUP_BY:1000001":                 "GROUP_BY needs a number",
		"rack:LIKE:" + strings.Repeat("a", 300): "it has 310 characters: want at most 255",
	} {
		_, err := ParseAll([]string{"hostname:UNIQUE", text})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), `"`) {
			t.Errorf("%q: %v, want %s", text, err, want)
		} else if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestContradictionsAreRefused(t *testing.T) {
	for _, texts := range [][]string{
		{"rack:IS:a", "rack:IS:b"},
		{"rack:IS:a;rack:IS:b"},
		{"rack:CLUSTER:a", "rack:IS:b"},
		{"rack:IS:a", "rack:UNLIKE:a"},
		{"rack:LIKE:b.*", "rack:CLUSTER:a"},
		{"hostname:IS:a", "@hostname:IS:b"},
		{"level:IS:3", "level:UNLIKE:3"},
		slices.Repeat([]string{"rack:UNIQUE"}, 21),
	} {
		if _, err := ParseAll(texts); err == nil {
			t.Errorf("%v is taken", texts)
		}
	}
	for _, texts := range [][]string{
		nil,
		{"", " ; "},
		{"rack:IS:a", "zone:IS:b"},
		{"level:IS:3", "level:IS:3.0"},
		{"rack:IS:a", "rack:LIKE:a|b", "rack:UNLIKE:b", "rack:MAX_PER:2"},
		{"rack:CLUSTER", "rack:IS:a"},
	} {
		if _, err := ParseAll(texts); err != nil {
			t.Errorf("%v: %v", texts, err)
		}
	}
}

func attributes() []mesos.Attribute {
	return []mesos.Attribute{
		{Name: "rack", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: "r1"}},
		{Name: "rack", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: "r2"}},
		{Name: "level", Type: mesos.SCALAR, Scalar: &mesos.Value_Scalar{Value: 3}},
		{Name: "ghz", Type: mesos.SCALAR, Scalar: &mesos.Value_Scalar{Value: 2.50049}},
		{Name: "big", Type: mesos.SCALAR, Scalar: &mesos.Value_Scalar{Value: 1e9}},
		{Name: "rooms", Type: mesos.RANGES, Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 8, End: 9}, {Begin: 4, End: 5}, {Begin: 1, End: 3}}}},
		{Name: "disks", Type: mesos.SET, Set: &mesos.Value_Set{Item: []string{"ssd", "hdd", "ssd"}}},
		{Name: "empty", Type: mesos.TEXT},
		{Name: "odd", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: "3.0"}},
	}
}

func TestConditionsOfAPlace(t *testing.T) {
	o := &mesos.Offer{
		Hostname: "h1.example", Attributes: attributes(),
		Domain: &mesos.DomainInfo{FaultDomain: &mesos.DomainInfo_FaultDomain{
			Region: mesos.DomainInfo_FaultDomain_RegionInfo{Name: "eu"}, Zone: mesos.DomainInfo_FaultDomain_ZoneInfo{Name: "01"},
		}},
	}
	for text, want := range map[string]string{ // "": it holds
		"hostname:IS:h1.example":     "",
		"@hostname:LIKE:h[0-9].*":    "",
		"hostname:LIKE:h":            "its agent is another", // the whole name must match
		"hostname:LIKE:h1.example|x": "",
		"hostname:UNLIKE:h1.example": "its agent is another",
		"hostname:UNIQUE":            "",
		"hostname:like:h1\\..*":      "",
		"@region:IS:eu":              "",
		"@zone:IS:01":                "",
		"@zone:IS:1":                 "@zone is 01",
		"@zone:GROUP_BY":             "",
		" rack : IS : r1 ":           "",
		"rack:IS:r2":                 "rack is r1",
		"rack:IS:R1":                 "rack is r1",
		"rack:LIKE:r[1-3]":           "",
		"rack:LIKE:":                 "parse",
		"rack:UNLIKE:r[2-3]":         "",
		"rack:UNLIKE:r1":             "rack is r1",
		"rack:CLUSTER:r1":            "",
		"rack:CLUSTER:r9":            "rack is r1",
		"rack:CLUSTER":               "",
		"level:IS:3":                 "",
		"level:IS:3.0":               "",
		"level:IS:3.0004":            "",
		"level:IS:3.001":             "level is 3",
		"level:LIKE:[2-4]":           "",
		"ghz:IS:2.5":                 "",
		"ghz:LIKE:2\\..*":            "",
		"big:IS:1000000000":          "",
		"big:IS:1e9":                 "",
		"rooms:IS:[1-5, 8-9]":        "",
		"rooms:IS:[8-9,1-5]":         "",
		"rooms:IS:[1-5]":             "rooms is [1-5, 8-9]",
		"rooms:IS:[5-1]":             "rooms is [1-5, 8-9]",
		"rooms:LIKE:.*8-9.*":         "",
		"disks:IS:{ssd,hdd}":         "",
		"disks:IS:{hdd, ssd}":        "",
		"disks:IS:{hdd}":             "disks is {hdd, ssd}",
		"disks:LIKE:.*ssd.*":         "",
		"odd:IS:3.0":                 "",
		"empty:LIKE:.*":              "",
		"empty:UNLIKE:a":             "",
		"none:UNLIKE:.*":             "",
		"none:IS:a":                  "its agent has no none",
		"none:LIKE:.*":               "its agent has no none",
		"none:UNIQUE":                "its agent has no none",
		"none:CLUSTER":               "its agent has no none",
		"none:GROUP_BY":              "its agent has no none",
		"none:MAX_PER:9":             "its agent has no none",
	} {
		list, err := ParseAll([]string{text})
		if err != nil {
			if want != "parse" {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		r := NewTally(list).Judge(PlaceOf(o, Fields(list)), 0)
		switch {
		case want == "" && r != nil:
			t.Errorf("%q: %s", text, r.Text)
		case want != "" && (r == nil || !r.Fixed || !strings.Contains(r.Text, want) || !strings.HasPrefix(r.Text, "constraint ")):
			t.Errorf("%q: %+v, want %s", text, r, want)
		}
	}
}

func TestAnAgentThatSaysNothing(t *testing.T) {
	list, err := ParseAll([]string{"@region:UNLIKE:eu", "@zone:UNLIKE:a", "hostname:UNLIKE:h.*"})
	if err != nil {
		t.Fatal(err)
	}
	if r := NewTally(list).Judge(PlaceOf(new(mesos.Offer), Fields(list)), 0); r != nil {
		t.Error(r.Text)
	}
	list, _ = ParseAll([]string{"@region:LIKE:.*"})
	if r := NewTally(list).Judge(PlaceOf(new(mesos.Offer), Fields(list)), 0); r == nil || !r.Fixed {
		t.Errorf("%+v", r)
	}
}

func TestPrintedIsRead(t *testing.T) {
	list, err := ParseAll([]string{"hostname:unique;rack:MAX_PER:2", "zone:LIKE:a,b|c:d"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseAll([]string{list.String()})
	if err != nil || len(again) != 3 || again.String() != list.String() || again[2].Value != "a,b|c:d" {
		t.Errorf("%v, %v", again, err)
	}
	if got := Fields(list, again); !slices.Equal(got, []string{"@hostname", "rack", "zone"}) {
		t.Errorf("fields %v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"hostname:UNIQUE", "rack:MAX_PER:2", "a:LIKE:b(c|d)*;e:IS:[1-5, 8-9]", "x:IS:{b,a}", "@zone:GROUP_BY", ":::", "a:IS:-+.e"} {
		f.Add(text)
	}
	o := &mesos.Offer{Hostname: "h", Attributes: attributes()}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseAll([]string{text})
		if err != nil {
			return
		}
		again, err := ParseAll([]string{list.String()})
		if err != nil || again.String() != list.String() {
			t.Fatalf("%q is printed as %q: %v", text, list, err)
		}
		NewTally(list).Judge(PlaceOf(o, Fields(list)), 1)
	})
}
