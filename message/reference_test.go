package message_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// docs/messages.md has a line for each field and each value that the code can encode, and none more.
func TestReferenceIsWhole(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "message.pb.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]bool) // message, field, number
	tagOf := func(f *ast.Field) (name, number string) {
		if f.Tag == nil {
			return "", ""
		}
		text, _ := strconv.Unquote(f.Tag.Value)
		parts := strings.Split(reflect.StructTag(text).Get("protobuf"), ",")
		if len(parts) < 4 {
			return "", ""
		}
		return strings.TrimPrefix(parts[3], "name="), parts[1]
	}
	oneOf := make(map[string]*ast.Field) // the only field of Message_Field
	structs := make(map[string]*ast.StructType)
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if s, ok := spec.Type.(*ast.StructType); ok {
				structs[spec.Name.Name] = s
				if len(s.Fields.List) == 1 && strings.Contains(spec.Name.Name, "_") {
					oneOf[spec.Name.Name] = s.Fields.List[0]
				}
			} else if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "int32" {
				t.Errorf("%s is an enumeration: message/_gen does not describe those yet", spec.Name.Name)
			}
		}
		return true
	})
	for message, s := range structs {
		for _, f := range s.Fields.List {
			if name, number := tagOf(f); name != "" && oneOf[message] == nil {
				want[fmt.Sprint(message, " ", name, " ", number)] = true
			}
		}
	}
	for wrapper, f := range oneOf {
		message, _, _ := strings.Cut(wrapper, "_")
		if name, number := tagOf(f); name != "" {
			want[fmt.Sprint(message, " ", name, " ", number)] = true
		}
	}
	page, err := os.ReadFile("../docs/messages.md")
	if err != nil {
		t.Fatal(err)
	}
	message := ""
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			message = title
		} else if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| `") {
			row := fmt.Sprint(message, " ", strings.Trim(cells[0], "|` "), " ", cells[1])
			if !want[row] {
				t.Errorf("docs/messages.md has %s, and the code has not", row)
			}
			delete(want, row)
		}
	}
	for row := range want {
		t.Errorf("docs/messages.md lacks %s", row)
	}
}
