package zookeeper

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, test := range []struct{ in, want, err string }{
		{"zk://h1:2181,h2:2182,h3/mesos", "zk://h1:2181,h2:2182,h3:2181/mesos", ""},
		{"zk://h/a/b/", "zk://h:2181/a/b", ""},
		{"zk://u:p:w@h/mesos", "zk://u:…@h:2181/mesos", ""},
		{"zk://u:p/w@h/mesos", "zk://u:…@h:2181/mesos", ""},
		{"zk://[::1]:2181,[::2]/mesos", "zk://[::1]:2181,[::2]:2181/mesos", ""},
		{"zk://h", "", "has no path"},
		{"zk://h/", "", "has no path"},
		{"zk://h//x", "", "path"},
		{"zk:///mesos", "", "server"},
		{"zk://h1,,h2/mesos", "", "server"},
		{"zk://u@h/mesos", "", "user:password"},
		{"zk://:secret@h/mesos", "", "user:password"},
		{"zk://u:secret@h", "", "has no path"},
		{"http://h/mesos", "", "does not begin"},
		{"", "", "does not begin"},
	} {
		got, err := Parse(test.in)
		if err == nil && test.err == "" && got.String() == test.want {
			continue
		}
		if err == nil || test.err == "" || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q is %v, %v", test.in, got, err)
		}
	}
	if u, _ := Parse("zk://u:p/w:x@h/mesos"); u.User != "u" || u.Password != "p/w:x" {
		t.Errorf("%+v", u)
	}
}

func TestContendersAreOrderedByNumber(t *testing.T) {
	got := contenders([]string{
		"json.info_0000000010", "log_replicas", "json.info_0000000009", "info_0000000001", "json.info_", "json.info_x", "0000000000",
		"json.info_10000000000",
	})
	want := []string{"json.info_0000000009", "json.info_0000000010", "json.info_10000000000"}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestMasterAddress(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{`{"address":{"hostname":"m1","ip":"10.0.0.1","port":5050},"hostname":"m1","id":"x","ip":16777226,"pid":"master@10.0.0.1:5050","port":5050,"version":"1.11.0"}`, "10.0.0.1:5050"},
		{`{"address":{"hostname":"m1","ip":"0.0.0.0","port":5051}}`, "m1:5051"},
		{`{"address":{"ip":"fe80::1","port":5050}}`, "[fe80::1]:5050"},
		{`{"hostname":"old","port":5050,"ip":16777226}`, "old:5050"},
		{`{"address":{"hostname":"m1/x@y","port":5050}}`, ""},
		{`{"address":{"hostname":"m1","port":99999}}`, ""},
		{`{"address":{"hostname":"m1","port":-1}}`, ""},
		{`{}`, ""},
		{`[]`, ""},
		{"", ""},
		{"\x00\xff", ""},
		{`{"hostname":"` + strings.Repeat("x", maxMasterInfo) + `","port":5050}`, ""},
	} {
		got, err := masterAddress([]byte(test.in))
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%.60s: %q, %v", test.in, got, err)
		}
	}
}

func FuzzMasterAddress(f *testing.F) {
	f.Add([]byte(`{"address":{"hostname":"m1","ip":"10.0.0.1","port":5050}}`))
	f.Add([]byte(`{"hostname":"m","port":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := masterAddress(b); err == nil && (a == "" || strings.ContainsAny(a, " /@")) {
			t.Errorf("%q", a)
		}
	})
}
