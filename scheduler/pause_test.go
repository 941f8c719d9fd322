package scheduler_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lode/scheduler"
	"lode/scheduler/internal/fakemaster"
	"lode/scheduler/rule"
)

func TestCheckSignals(t *testing.T) {
	price, err := rule.Parse("price > 1 and others < 0.5 or watts > 9")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		rule    *rule.Rule
		sources map[string]string
		want    string
	}{
		"good":          {price, map[string]string{"price": "/p"}, ""},
		"none":          {nil, nil, ""},
		"no source":     {price, nil, "--signal price=FILE"},
		"not asked for": {price, map[string]string{"price": "/p", "prize": "/p"}, "prize"},
		"no rule":       {nil, map[string]string{"price": "/p"}, "no rule asks"},
		"a known one":   {price, map[string]string{"price": "/p", "others": "/p"}, "known already"},
		"a name":        {price, map[string]string{"price": "/p", "A b": "/p"}, "lower-case"},
		"a source":      {price, map[string]string{"price": "ftp://h/p"}, "ftp://h/p"},
	} {
		err := scheduler.CheckSignals(c.rule, c.sources)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A price in a file stops the cluster and lets it go on.
func TestPauseWhen(t *testing.T) {
	r, err := rule.Parse("price > 0.3")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "price")
	set := func(text string) {
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	m := fakemaster.New(t)
	c := config(t, m.URL())
	c.PauseWhen, c.Signals = r, map[string]string{"price": file}
	i := run(t, m, c)
	paused := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			got := i.s.Status().Paused
			if got == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("paused: %q, want %q", got, want)
			}
		}
	}
	set("0.5")
	paused("by the rule price > 0.3: price is 0.5")
	set("what?") // not known: as before
	time.Sleep(50 * time.Millisecond)
	paused("by the rule price > 0.3: price is 0.5")
	set("0.1")
	paused("")
}
