package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository, as seen from this package.
const root = "../.."

// Each row of the table of what dies names tests, and each of these exists.
func TestTableOfWhatDies(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## When something dies\n")
	if !found {
		t.Fatal("docs/operations.md has no such section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	known := make(map[string]map[string]bool) // tests by folder
	rows := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) < 2 || strings.Contains(cells[0], "---") || strings.TrimSpace(cells[0]) == "what dies" {
			continue
		}
		rows++
		row := strings.TrimSpace(cells[0])
		if len(cells) != 4 {
			t.Errorf("%s: %d columns", row, len(cells))
			continue
		}
		tests := regexp.MustCompile("`([a-z0-9/_]+)\\.(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(cells[3], -1)
		if len(tests) == 0 || len(tests) != strings.Count(cells[3], "`")/2 {
			t.Errorf("%s: names %d tests in %q", row, len(tests), cells[3])
		}
		for _, test := range tests {
			folder, name := test[1], test[2]
			if known[folder] == nil {
				known[folder] = testsOf(t, folder)
			}
			if !known[folder][name] {
				t.Errorf("%s: there is no %s in %s", row, name, folder)
			}
		}
	}
	if rows < 20 {
		t.Errorf("the table has %d rows", rows)
	}
}

// testsOf are the names of the tests in a folder.
func testsOf(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && takesT(f.Type) {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// takesT says that a function has one parameter, a *testing.T, and no result.
func takesT(f *ast.FuncType) bool {
	if f.Results != nil || f.Params.NumFields() != 1 {
		return false
	}
	star, ok := f.Params.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	selector, ok := star.X.(*ast.SelectorExpr)
	return ok && selector.Sel.Name == "T"
}
