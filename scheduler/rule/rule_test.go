package rule

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEval(t *testing.T) {
	at := time.Date(2026, 11, 28, 17, 30, 59, 0, time.UTC)
	values := map[string]float64{"price": 0.31, "others": 0.5, "broken": math.NaN(), "grid-hz": 49.95}
	for text, want := range map[string]Truth{
		"price > 0.30":                   True,
		"price>0.30":                     True,
		"price <= 0.3":                   False,
		"0.31 == price":                  True,
		"price != 3.1e-1":                False,
		"time >= 17:00 and time < 20:00": True,
		"time < 17:30":                   False,
		"time == 17:30":                  True,
		"time < 24:00":                   True,
		"time >= 22:00 or time < 6:00":   False,
		"not time >= 22:00":              True,
		"price > 1 or others >= 0.5 and time < 18:00":   True,
		"(price > 1 or others >= 0.5) and time > 18:00": False,
		"not (price > 1) and not others > 1":            True,
		"grid-hz < 49.98":                               True,
		"others > -1":                                   True,
		"unknown > 1":                                   Unknown,
		"broken > 1":                                    Unknown,
		"not unknown > 1":                               Unknown,
		"unknown > 1 or price > 0":                      True,
		"unknown > 1 and price < 0":                     False,
		"unknown > 1 and price > 0":                     Unknown,
	} {
		r, err := Parse(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := r.Eval(at, values); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
		// What is printed means the same.
		again, err := Parse(r.String())
		if err != nil || again.String() != r.String() || again.Eval(at, values) != want {
			t.Errorf("%s is printed as %s: %v", text, r, err)
		}
	}
}

func TestSignals(t *testing.T) {
	r, err := Parse("b > 1 and (a < b or time > 5:00) and not c == a")
	if err != nil || !slices.Equal(r.Signals(), []string{"a", "b", "c"}) {
		t.Errorf("%v %v", r, err)
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "it ends where a signal",
		"price":                     "it ends where one of < <=",
		"price >":                   "it ends where a signal",
		"price > 1 and":             "it ends where a signal",
		"price > 1 price":           `"price" at character 11, where and, or`,
		"price = 1":                 `"=" at character 7`,
		"price => 1":                `"=" at character 7`,
		"price > 1 && time < 5:00":  `"&&"`,
		"(price > 1":                "closing parenthesis",
		"price > 1)":                `")" at character 10`,
		"Price > 1":                 `"Price"`,
		"price > 1,5":               `"1,5" at character 9`,
		"price > inf":               `"inf"`,
		"price > nan":               `"nan"`,
		"time > 25:00":              "from 0:00 to 24:00",
		"time > 24:01":              "from 0:00 to 24:00",
		"time > 5:5":                "from 0:00 to 24:00",
		"time > 17":                 "no time of the day",
		"price > 17:00":             "is compared",
		"time > price":              "no time of the day",
		"and > or":                  `"and" at character 1`,
		strings.Repeat("(", 200):    "too many parentheses",
		strings.Repeat("not ", 200): "too many parentheses",
		strings.Repeat("a", 5000):   "5000 bytes",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"price > 0.30", "not (a<1 or time>=17:00) and b!=-1e9", "((", "a==", "time<24:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		if _, err := Parse(r.String()); err != nil && len(r.String()) <= maxText && !strings.Contains(err.Error(), errDeep.Error()) {
			t.Errorf("%q is printed as %q: %v", text, r, err)
		}
		for _, name := range r.Signals() {
			if !ValidName(name) {
				t.Errorf("signal %q", name)
			}
		}
		r.Eval(time.Now(), map[string]float64{"a": 1})
	})
}
