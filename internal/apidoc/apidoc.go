// Package apidoc writes the reference of an HTTP API from its routes and from the types of
// its answers: what fields mean is what the comments beside them say, so that there is one
// place for it. What reads the source is for tests.
package apidoc

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"time"
)

// Source is the source of a module, read as it is asked for.
type Source struct {
	// Root is the folder of the module, Module its name.
	Root, Module string

	packages map[string]map[string]string // comments by "Type.Field", by folder
}

// Comment is what stands beside or above a field, in one line; "": nothing.
func (s *Source) Comment(t reflect.Type, field string) (string, error) {
	name, _, _ := strings.Cut(t.Name(), "[")
	folder, ok := strings.CutPrefix(t.PkgPath(), s.Module)
	if !ok {
		if t.PkgPath() != "main" {
			return "", fmt.Errorf("%s is not of %s", t, s.Module)
		}
		folder = "cmd/lode"
	}
	folder = filepath.Join(s.Root, filepath.FromSlash(folder))
	if s.packages[folder] == nil {
		comments, err := readComments(folder)
		if err != nil {
			return "", err
		}
		if s.packages == nil {
			s.packages = make(map[string]map[string]string)
		}
		s.packages[folder] = comments
	}
	return s.packages[folder][name+"."+field], nil
}

func readComments(folder string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	comments := make(map[string]string)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if fields, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range fields.Fields.List {
					text := strings.Join(strings.Fields(cmp.Or(f.Comment.Text(), f.Doc.Text())), " ")
					for _, name := range f.Names {
						comments[spec.Name.Name+"."+name.Name] = text
					}
				}
			}
			return true
		})
	}
	return comments, nil
}

// Field is one of a JSON document.
type Field struct {
	Name string // with those around it: shares.accepted, blocks[].height
	Kind string
	Text string // what it means, with its unit
}

// Fields are those of the JSON of a value's type. All of them must have a comment.
func (s *Source) Fields(value any) ([]Field, error) { return s.fields(reflect.TypeOf(value), "") }

func (s *Source) fields(t reflect.Type, prefix string) ([]Field, error) {
	var list []Field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		text, err := s.Comment(t, f.Name)
		if err != nil {
			return nil, err
		}
		inner, suffix := f.Type, ""
		for inner.Kind() != reflect.Struct && (inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map) {
			suffix += map[reflect.Kind]string{reflect.Slice: "[]", reflect.Map: ".*"}[inner.Kind()]
			inner = inner.Elem()
		}
		kind := kindOf(f.Type)
		if strings.HasPrefix(options, "omit") {
			kind += ", if any"
		}
		isDocument := inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]()
		if !isDocument || suffix != "" {
			if text == "" {
				return nil, fmt.Errorf("%s.%s has no comment that says what it is", t, f.Name)
			}
			list = append(list, Field{prefix + name, kind, text})
		}
		if isDocument {
			below, err := s.fields(inner, prefix+name+suffix+".")
			if err != nil {
				return nil, err
			}
			list = append(list, below...)
		}
	}
	return list, nil
}

func kindOf(t reflect.Type) string {
	if t == reflect.TypeFor[time.Time]() {
		return "time, RFC 3339"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list"
	case reflect.Map, reflect.Struct:
		return "object"
	default:
		return "whole number"
	}
}

// Routes writes the table of the routes, and one of the fields of each answer.
func (s *Source) Routes(w io.Writer, routes []Route) error {
	fmt.Fprint(w, "\n| path | parameters | who | answer | errors |\n|---|---|---|---|---|\n")
	for _, r := range routes {
		errors := r.Errors
		if r.Limited {
			errors = strings.TrimPrefix(errors+"; 429, 503", "; ")
		}
		path := strings.Replace(r.Path, "{$}", "", 1)
		fmt.Fprintf(w, "| `%s %s` | %s | %s | %s | %s |\n", r.Method, path, r.Query, cmp.Or(r.Who, "everyone"), r.Answer, cmp.Or(errors, "–"))
	}
	for _, r := range routes {
		if r.Type == nil {
			continue
		}
		list, err := s.Fields(r.Type)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Path, err)
		}
		fmt.Fprintf(w, "\n| `%s` | kind | meaning |\n|---|---|---|\n", r.Path)
		for _, f := range list {
			fmt.Fprintf(w, "| `%s` | %s | %s |\n", f.Name, f.Kind, strings.ReplaceAll(f.Text, "|", `\|`))
		}
	}
	return nil
}

// Replace puts text between the two marks of a name in a page.
func Replace(page, name, text string) (string, error) {
	begin, end := "<!-- "+name+": make generate writes this. -->\n", "<!-- End of "+name+". -->\n"
	before, rest, ok := strings.Cut(page, begin)
	_, after, found := strings.Cut(rest, end)
	if !ok || !found {
		return "", fmt.Errorf("there is no place for it: %q and %q", begin, end)
	}
	return before + begin + text + "\n" + end + after, nil
}
