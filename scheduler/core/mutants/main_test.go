package main

import (
	"os"
	"path/filepath"
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
