package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The list must not rot: each fault has to have its place in the code as it is.
func TestEachFaultHasItsPlace(t *testing.T) {
	if len(mutants) < 40 {
		t.Errorf("only %d faults", len(mutants))
	}
	names := make(map[string]bool)
	for _, m := range mutants {
		if names[m.name] {
			t.Errorf("two faults are called %q", m.name)
		}
		names[m.name] = true
		texts := make(map[string]string)
		for _, e := range m.edits {
			if texts[e.file] == "" {
				b, err := os.ReadFile(filepath.Join("..", e.file))
				if err != nil {
					t.Fatal(err)
				}
				texts[e.file] = string(b)
			}
			changed, err := e.apply(texts[e.file])
			if err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
			texts[e.file] = changed
		}
		if len(m.edits) == 0 {
			t.Errorf("%s: it changes nothing", m.name)
		}
	}
}

func TestMerge(t *testing.T) {
	const text = `package p

const limit = 5

// sum adds up.
func sum(a int, more ...int) (n int) {
	for _, x := range more {
		a += x
	}
	return a
}

func (c *Core) ring(limit int) {
	c.rings++
}
`
	faults := []mutant{
		one("it subtracts", "f.go", "a += x", "a -= x"),
		one("it rings twice", "f.go", "c.rings++", "c.rings += 2"),
		{"both", []edit{{"f.go", "a += x", "a = x"}, {"f.go", "c.rings++", ""}}},
		one("a limit is another", "f.go", "limit = 5", "limit = 6"),
		one("there is one more parameter", "f.go", "ring(limit int)", "ring(limit, more int)"),
		one("there is one more function", "f.go", "// sum", "func f() {}\n\n// sum"),
	}
	merged, alone, err := sources{"f.go": text}.merge(faults)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{3, 4, 5}; !slices.Equal(alone, want) {
		t.Errorf("alone %v, want %v", alone, want)
	}
	for name, text := range merged {
		if _, err := parser.ParseFile(token.NewFileSet(), name, text, 0); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	for _, want := range []string{
		"(n int) { if mutant == 1 { return sumMutant1(a, more...) }; if mutant == 3 { return sumMutant3(a, more...) };\n",
		"ring(limit int) { if mutant == 2 { c.ringMutant2(limit); return }; if mutant == 3 { c.ringMutant3(limit); return };\n",
		"func sumMutant1(a int, more ...int) (n int) {\n\tfor _, x := range more {\n\t\ta -= x\n",
		"func (c *Core) ringMutant2(limit int) {\n\tc.rings += 2\n}\n",
		"\n\t\ta += x\n", "\tc.rings++\n",
	} {
		if !strings.Contains(merged["f.go"], want) {
			t.Errorf("%q is missing in\n%s", want, merged["f.go"])
		}
	}
	if _, _, err := (sources{"f.go": text}).merge([]mutant{one("it has no place", "f.go", "no such text", "")}); err == nil {
		t.Error("a fault without a place is taken")
	}
}
