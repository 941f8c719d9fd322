package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// fileValues are the values of a configuration file: flags by name, or commands
// with flags of theirs. A command's own value goes before one for all commands.
//
//	node: http://10.0.0.9:8332
//	proxy:
//	  listen: 0.0.0.0:3333
//	  upstream: [node:http://10.0.0.9:8332, stratum+tcp://pool.example:3333]
type fileValues struct {
	name string
	root *entry
	app  *kong.Application
	// taken says where each flag's value stands, by the name of the flag.
	taken map[string]string
}

// loadConfig reads the configuration file at a path.
func loadConfig(path string) (*fileValues, error) {
	f, err := os.Open(kong.ExpandPath(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readConfig(f)
}

// readConfig reads a configuration file.
func readConfig(r io.Reader) (*fileValues, error) {
	b, err := io.ReadAll(io.LimitReader(r, mostConfig+1))
	name := "the configuration"
	if f, ok := r.(*os.File); ok {
		name = f.Name()
	}
	switch {
	case err != nil:
		return nil, err
	case len(b) > mostConfig:
		return nil, fmt.Errorf("%s has more than %d bytes: it is no configuration", name, mostConfig)
	}
	root, err := parseConfig(name, b)
	if err != nil {
		return nil, &fileError{err}
	}
	return &fileValues{name: name, root: root, taken: map[string]string{}}, nil
}

// at is where an entry stands, for people.
func (v *fileValues) at(e *entry) string { return fmt.Sprintf("%s:%d", v.name, e.line) }

// Validate refuses names that no command knows: they are mistakes.
func (v *fileValues) Validate(app *kong.Application) error {
	v.app = app
	if err := v.validate(v.root, app.Node); err != nil {
		return &fileError{err}
	}
	return nil
}

// fileError is a mistake in the configuration file: no command's help helps.
type fileError struct{ error }

// notInFile are flags that say something only on the command line.
var notInFile = []string{"config", "help", "version"}

// validate checks that each name of a section is a flag of the command that it is for,
// or of a command below it, or itself such a command.
func (v *fileValues) validate(section *entry, node *kong.Node) error {
	for _, name := range section.names() {
		e := section.section[name]
		i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == name })
		switch flag := knownFlag(node, name); {
		case i >= 0 && e.section != nil:
			if err := v.validate(e, node.Children[i]); err != nil {
				return err
			}
		case i >= 0 && flag == nil && !e.empty():
			return fmt.Errorf("%s: %s is a command: its values go below it, with their names", v.at(e), node.Children[i].FullPath())
		case i >= 0 && flag == nil: // a section whose lines are all comments
		case slices.Contains(notInFile, name):
			return fmt.Errorf("%s: --%s does not belong into a file", v.at(e), name)
		case flag == nil && node.Parent != nil && knownFlag(&kong.Node{Flags: v.app.Flags}, name) != nil:
			return fmt.Errorf("%s: --%s is for all commands: it does not stand in a section", v.at(e), name)
		case flag == nil && e.section != nil:
			return fmt.Errorf("%s: %q is no command of %s%s", v.at(e), name, node.FullPath(), didYouMean(name, commandNames(node)))
		case flag == nil:
			return fmt.Errorf("%s: %s has no flag --%s%s", v.at(e), node.FullPath(), name, didYouMean(name, flagNames(node)))
		case e.section != nil && flag.Target.Kind() != reflect.Map:
			return fmt.Errorf("%s: --%s wants a value, not names with values", v.at(e), name)
		}
	}
	return nil
}

// knownFlag is the flag of that name of the command or of one below it; nil: none.
func knownFlag(node *kong.Node, name string) (flag *kong.Flag) {
	walkFlags(node, func(_ *kong.Node, f *kong.Flag) {
		if f.Name == name && flag == nil {
			flag = f
		}
	})
	return flag
}

func flagNames(node *kong.Node) []string {
	names := map[string]bool{}
	walkFlags(node, func(_ *kong.Node, f *kong.Flag) { names["--"+f.Name] = !f.Hidden })
	return slices.Sorted(maps.Keys(names))
}

func commandNames(node *kong.Node) (names []string) {
	for _, n := range node.Children {
		if !n.Hidden {
			names = append(names, n.Name)
		}
	}
	return names
}

// Resolve finds the value of a flag that neither the command line nor the
// environment has set.
func (v *fileValues) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Tag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	sections := []*entry{v.root}
	for _, name := range commandPath(parent.Node()) {
		section := sections[len(sections)-1].section[name]
		if section == nil {
			break
		}
		sections = append(sections, section)
	}
	for _, section := range slices.Backward(sections) {
		if e, ok := section.section[flag.Name]; ok && (e.section == nil || flag.Target.Kind() == reflect.Map) {
			v.taken[flag.Name] = v.at(e)
			return e.value(flag.Target.Kind())
		}
	}
	return nil, nil
}

// commandPath names the commands from the program (not included) down to the node.
func commandPath(node *kong.Node) []string {
	if node == nil || node.Type == kong.ApplicationNode {
		return nil
	}
	return append(commandPath(node.Parent), node.Name)
}

// flagFirst is the flag that an error is about.
var flagFirst = regexp.MustCompile(`^(?:-\w, )?--(?:\[no-\])?([a-z0-9-]+)`)

// origin says where the value stands that an error is about, if the error begins with
// its flag and that was not given on the command line: lode.yaml:3 or LODE_LISTEN.
// file is nil where there is none.
func origin(ctx *kong.Context, file *fileValues, err error) string {
	m := flagFirst.FindStringSubmatch(err.Error())
	if m == nil || ctx == nil {
		return ""
	}
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == m[1] && !p.Resolved {
			return ""
		}
	}
	if file != nil && file.taken[m[1]] != "" {
		return file.taken[m[1]]
	}
	for _, f := range ctx.Flags() {
		if f.Name != m[1] {
			continue
		}
		for _, env := range f.Tag.Envs {
			if _, set := os.LookupEnv(env); set && !strings.Contains(err.Error(), env) { // else it says so already
				return env
			}
		}
	}
	return ""
}

// mostNear bounds what is proposed: more words help nobody.
const mostNear = 4

// didYouMean proposes the words that are nearly the one that was given.
func didYouMean(given string, words []string) string {
	given = strings.ToLower(strings.TrimLeft(given, "-"))
	if given == "" {
		return ""
	}
	var near []string
	for _, word := range words {
		bare := strings.ToLower(strings.TrimLeft(word, "-"))
		if strings.HasPrefix(bare, given) || distance(bare, given) <= max(1, min(len(given)/3, 2)) {
			near = append(near, word)
		}
	}
	if len(near) == 0 || len(near) > mostNear {
		return ""
	}
	return ", did you mean " + strings.Join(near, " or ") + "?"
}

// distance is how many letters have to be put in, taken out, exchanged, or swapped with the
// next, to make one word the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	above := make([]int, len(b)+1) // the row before
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := row[j]
			if a[i] != b[j] {
				cost++
			}
			next[j+1] = min(cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], above[j-1]+1)
			}
		}
		above, row = row, next
	}
	return row[len(b)]
}
