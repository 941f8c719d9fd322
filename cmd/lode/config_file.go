package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"gopkg.in/yaml.v3"
)

// mostConfig bounds a configuration file, in bytes.
const mostConfig = 1 << 20

// entry is what stands behind a name in a configuration file: a value, a list of
// values, or a section. Values are texts as they would stand on the command line.
type entry struct {
	line    int
	texts   []string
	list    bool
	section map[string]*entry // nil: values
}

// names are those of a section, in the order of their lines.
func (e *entry) names() []string {
	return slices.SortedFunc(maps.Keys(e.section), func(a, b string) int {
		return 2*(e.section[a].line-e.section[b].line) + strings.Compare(a, b)
	})
}

func (e *entry) empty() bool { return e.section == nil && len(e.texts) == 0 }

// value is the entry for kong, for a flag of that kind.
func (e *entry) value(kind reflect.Kind) (any, error) {
	switch {
	case kind == reflect.Map:
		values := map[string]any{}
		for name, v := range e.section {
			if v.section != nil || v.list || len(v.texts) != 1 {
				return nil, fmt.Errorf("want one value for %s", name)
			}
			values[name] = v.texts[0]
		}
		for _, text := range e.texts {
			name, v, ok := strings.Cut(text, "=")
			if !ok {
				return nil, fmt.Errorf("want NAME=VALUE, not %q", text)
			}
			values[name] = v
		}
		return values, nil
	case e.empty():
		return nil, errors.New("there is no value: give one, or take the line out")
	case kind == reflect.Slice && e.list:
		values := make([]any, len(e.texts))
		for i, text := range e.texts {
			values[i] = text
		}
		return values, nil
	case e.list:
		return nil, errors.New("want one value, not a list")
	}
	return e.texts[0], nil
}

// parseConfig reads YAML or TOML; where the file's name does not tell which, what fits.
func parseConfig(name string, b []byte) (*entry, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // some editors begin with it
	switch strings.ToLower(filepath.Ext(name)) {
	case ".toml":
		return parseTOML(name, b)
	case ".yaml", ".yml":
		return parseYAML(name, b)
	}
	root, yamlErr := parseYAML(name, b)
	if yamlErr == nil {
		return root, nil
	}
	root, tomlErr := parseTOML(name, b)
	if tomlErr != nil {
		return nil, fmt.Errorf("%s is neither YAML (%w) nor TOML (%w)", name, yamlErr, tomlErr)
	}
	return root, nil
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// yamlWords say what most probably is wrong where the library says what it looked for.
var yamlWords = strings.NewReplacer(
	"found character that cannot start any token", "nothing begins with this character (YAML indents with spaces, not tabs, and has texts that begin with @, % or ` in quotes)",
	"mapping values are not allowed in this context", `a value with ": " in it stands in quotes`,
	"did not find expected key", "want name: value, indented as the lines before",
	"did not find expected node content", "a value, or the end of a list, is missing",
)

func parseYAML(name string, b []byte) (*entry, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(b))
	var document, another yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return &entry{line: 1, section: map[string]*entry{}}, nil
	}
	if err != nil {
		text := err.Error()
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			return nil, fmt.Errorf("%s:%s: %s", name, m[1], yamlWords.Replace(text[len(m[0]):]))
		}
		line := 1 // which the library does not name
		if at := bytes.IndexFunc(b, noText); at >= 0 {
			line += bytes.Count(b[:at], []byte("\n"))
		}
		return nil, fmt.Errorf("%s:%d: %s", name, line, yamlWords.Replace(strings.TrimPrefix(text, "yaml: ")))
	}
	if err := decoder.Decode(&another); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s:%d: a second document begins: want one", name, another.Line)
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return &entry{line: 1, section: map[string]*entry{}}, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want lines of the form name: value", name, root.Line)
	}
	return yamlEntry(name, root, 0)
}

// noText are characters that no file of text has, and bytes that are none in UTF-8.
func noText(r rune) bool { return r == utf8.RuneError || r < ' ' && !strings.ContainsRune("\t\n\r", r) }

// mostNesting bounds what refers to itself: YAML can.
const mostNesting = 10

func yamlEntry(name string, node *yaml.Node, depth int) (*entry, error) {
	e := &entry{line: node.Line}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if depth > mostNesting {
		return nil, fmt.Errorf("%s:%d: more than %d levels", name, e.line, mostNesting)
	}
	switch node.Kind {
	case yaml.ScalarNode:
		if node.Tag != "!!null" {
			e.texts = []string{node.Value}
		}
	case yaml.SequenceNode:
		e.list, e.texts = true, []string{}
		for _, item := range node.Content {
			v, err := yamlEntry(name, item, depth+1)
			if err != nil {
				return nil, err
			}
			if v.section != nil || v.list || len(v.texts) != 1 {
				return nil, fmt.Errorf("%s:%d: want a list of values", name, v.line)
			}
			e.texts = append(e.texts, v.texts[0])
		}
	case yaml.MappingNode:
		e.section = map[string]*entry{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			if key.Kind != yaml.ScalarNode || key.Value == "" {
				return nil, fmt.Errorf("%s:%d: want lines of the form name: value", name, key.Line)
			}
			if before := e.section[key.Value]; before != nil {
				return nil, fmt.Errorf("%s:%d: %s stands here again: it is in line %d, too", name, key.Line, key.Value, before.line)
			}
			v, err := yamlEntry(name, node.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			v.line = key.Line
			e.section[key.Value] = v
		}
	}
	return e, nil
}

// tomlWords say what most probably is wrong, as yamlWords do.
var tomlWords = strings.NewReplacer(
	"expected newline but got", "texts stand in quotes in TOML: expected the end of the line but got",
	"unexpected character", "texts stand in quotes in TOML: unexpected character",
)

func parseTOML(name string, b []byte) (*entry, error) {
	var values map[string]any
	if err := toml.Unmarshal(b, &values); err != nil {
		if at := new(toml.DecodeError); errors.As(err, &at) {
			line, _ := at.Position()
			return nil, fmt.Errorf("%s:%d: %s", name, line, tomlWords.Replace(strings.TrimPrefix(err.Error(), "toml: ")))
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return tomlEntry(name, values, tomlLines(b), "")
}

// tomlLines are the lines of all names, by their path with dots.
func tomlLines(b []byte) map[string]int {
	lines := map[string]int{}
	var p unstable.Parser
	p.Reset(b)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		isTable := e.Kind == unstable.Table || e.Kind == unstable.ArrayTable
		if !isTable && e.Kind != unstable.KeyValue {
			continue
		}
		path := table
		if isTable {
			path = ""
		}
		for keys := e.Key(); keys.Next(); {
			path += "." + string(keys.Node().Data)
			if lines[path] == 0 {
				lines[path] = p.Shape(keys.Node().Raw).Start.Line
			}
		}
		if isTable {
			table = path
		}
	}
	return lines
}

func tomlEntry(name string, value any, lines map[string]int, path string) (*entry, error) {
	e := &entry{line: lines[path]}
	switch value := value.(type) {
	case map[string]any:
		e.section = map[string]*entry{}
		for key, v := range value {
			sub := path + "." + key
			if lines[sub] == 0 {
				lines[sub] = e.line // inside of braces
			}
			inner, err := tomlEntry(name, v, lines, sub)
			if err != nil {
				return nil, err
			}
			e.section[key] = inner
		}
	case []any:
		e.list, e.texts = true, []string{}
		for _, v := range value {
			switch v.(type) {
			case map[string]any:
				return nil, fmt.Errorf("%s:%d: want a list of values, or a section in single [brackets]", name, e.line)
			case []any:
				return nil, fmt.Errorf("%s:%d: want a list of values", name, e.line)
			}
			e.texts = append(e.texts, fmt.Sprint(v))
		}
	default:
		e.texts = []string{fmt.Sprint(value)}
	}
	return e, nil
}
