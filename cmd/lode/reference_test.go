package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// sources are the files of a folder without tests.
func sources(t *testing.T, folder string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", folder, len(names), err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// docs/metrics.md has a line for each metric in the code, also for those that a process without
// tasks, blocks or refusals has not, and none more.
func TestMetricsPageIsWhole(t *testing.T) {
	listed := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `(lode_[a-z0-9_]+)` \\| [a-z]+ \\| .* \\| (.*) \\|$").FindAllStringSubmatch(page(t, "metrics.md"), -1) {
		listed[m[1]] = m[2]
	}
	written := make(map[string]string)
	for folder, prefix := range map[string]string{"scheduler": "", "pool/monitor": "lode_proxy_", "cmd/lode": "lode_mine_"} {
		for _, file := range sources(t, folder) {
			uses := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool {
				return i.Path.Value == `"github.com/prometheus/client_golang/prometheus"`
			})
			if !uses {
				continue
			}
			// A metric is a name and what it means, beside each other.
			beside := func(list []ast.Expr) {
				for i := range len(list) - 1 {
					name, help := text(list[i]), text(list[i+1])
					if regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*$`).MatchString(name) && strings.HasSuffix(help, ".") {
						written[prefix+name] = help
					}
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					beside(n.Args)
				case *ast.CompositeLit:
					var values []ast.Expr
					for _, e := range n.Elts {
						if pair, ok := e.(*ast.KeyValueExpr); ok {
							e = pair.Value
						}
						values = append(values, e)
					}
					beside(values)
				}
				return true
			})
		}
	}
	if len(written) < 50 {
		t.Fatalf("only %d metrics are found in the code", len(written))
	}
	for name, help := range written {
		if listed[name] != strings.ReplaceAll(help, "|", `\|`) {
			t.Errorf("docs/metrics.md says %q of %s, and the code %q", listed[name], name, help)
		}
	}
	for name := range listed {
		if written[name] == "" {
			t.Errorf("docs/metrics.md has %s, and the code has not", name)
		}
	}
}

// text is a literal's; "": it is none.
func text(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		s, _ := strconv.Unquote(l.Value)
		return s
	}
	return ""
}

// Each code that a command can end with is in the reference, and none else is.
func TestExitCodesAreWhole(t *testing.T) {
	used := map[int]string{0: "the end of main"}
	number := func(e ast.Expr) (int, bool) {
		l, ok := e.(*ast.BasicLit)
		if !ok || l.Kind != token.INT {
			return 0, false
		}
		n, err := strconv.Atoi(l.Value)
		return n, err == nil
	}
	for _, file := range sources(t, "cmd/lode") {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec: // exitUsage = 2, exitRemoved = exitStatus(3)
				for i, name := range n.Names {
					if code, ok := 0, false; strings.HasPrefix(name.Name, "exit") && i < len(n.Values) {
						if code, ok = number(n.Values[i]); ok {
							used[code] = name.Name
						}
					}
				}
			case *ast.CallExpr: // exitStatus(1), os.Exit(1)
				name := ""
				switch f := n.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
				}
				if code, ok := 0, false; (name == "exitStatus" || name == "Exit") && len(n.Args) == 1 {
					if code, ok = number(n.Args[0]); ok {
						used[code] = name
					}
				}
			}
			return true
		})
	}
	listed := make(map[int]bool)
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| `).FindAllStringSubmatch(page(t, "reference.md"), -1) {
		code, _ := strconv.Atoi(m[1])
		listed[code] = true
	}
	for code, where := range used {
		if !listed[code] {
			t.Errorf("docs/reference.md lacks the exit code %d (%s)", code, where)
		}
	}
	for code := range listed {
		if used[code] == "" {
			t.Errorf("docs/reference.md has the exit code %d, which nothing ends with", code)
		}
	}
	if len(used) < 7 {
		t.Errorf("only %v are found in the code", slices.Sorted(maps.Keys(used)))
	}
}

// docs/reference.md has each flag with its variable, and docs/configuration.yaml each name that a file
// may hold: with all comments taken away it is a file that is read.
func TestReferenceHasAllFlags(t *testing.T) {
	parser, err := kong.New(new(cli), kong.Name("lode"), kong.PostBuild(nameVariables))
	if err != nil {
		t.Fatal(err)
	}
	reference := page(t, "reference.md")
	var sample map[string]any
	uncommented := regexp.MustCompile(`(?m)^#([^#])`).ReplaceAllString(page(t, "configuration.yaml"), "$1")
	if err := yaml.Unmarshal([]byte(uncommented), &sample); err != nil {
		t.Fatal(err)
	}
	flags := 0
	var walk func(node *kong.Node, names map[string]any)
	walk = func(node *kong.Node, names map[string]any) {
		_, section, found := strings.Cut(reference, "\n## "+node.FullPath()+"\n")
		if node.Parent != nil && !found {
			t.Errorf("docs/reference.md lacks %s", node.FullPath())
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for _, f := range node.Flags {
			if f.Hidden || f.Name == "help" {
				continue
			}
			flags++
			row := regexp.MustCompile("(?m)^\\| `(?:-., )?--" + f.Name + "[=`].*$").FindString(section)
			if row == "" {
				t.Errorf("docs/reference.md lacks %s --%s", node.FullPath(), f.Name)
			}
			for _, variable := range f.Tag.Envs {
				if !strings.Contains(row, "`"+variable+"`") {
					t.Errorf("docs/reference.md does not say at %s --%s that it is %s", node.FullPath(), f.Name, variable)
				}
			}
			if _, ok := names[f.Name]; !ok && f.Name != "config" && f.Name != "version" {
				t.Errorf("docs/configuration.yaml lacks %s of %s", f.Name, node.FullPath())
			}
		}
		for _, child := range node.Children {
			if child.Hidden {
				continue
			}
			below, _ := names[child.Name].(map[string]any)
			walk(child, below)
		}
	}
	walk(parser.Model.Node, sample)
	if flags < 100 {
		t.Errorf("only %d flags are found in the code", flags)
	}
}
