package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// Each row of the table of what dies has an alert that names it, and no alert names a row
// that there is not.
func TestEachRowHasAnAlert(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## When something dies\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var rows []string
	for line := range strings.Lines(section) {
		row, ok := strings.CutPrefix(line, "| ")
		if row, _, _ = strings.Cut(row, " |"); ok && row != "what dies" {
			rows = append(rows, row)
		}
	}
	if len(rows) < 20 {
		t.Fatalf("the table has %d rows: is it read right?", len(rows))
	}
	b, err := os.ReadFile(filepath.Join(root, "deploy", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Annotations struct{ Summary, Rows string }
			}
		}
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Annotations.Summary == "" {
				t.Errorf("%s has no summary", r.Alert)
			}
			for row := range strings.Lines(r.Annotations.Rows) {
				row = strings.TrimSpace(row)
				if !slices.Contains(rows, row) {
					t.Errorf("%s is of a row that docs/operations.md does not have: %s", r.Alert, row)
				}
				told = append(told, row)
			}
		}
	}
	for _, row := range rows {
		if !slices.Contains(told, row) {
			t.Errorf("deploy/alerts.yml has no alert for the row %q", row)
		}
	}
}
