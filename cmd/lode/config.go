package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/alecthomas/kong"
	"github.com/pelletier/go-toml/v2"
	"gopkg.in/yaml.v3"
)

// fileValues are the values of a configuration file: flags by name, or commands
// with flags of theirs. A command's own value goes before one for all commands.
//
//	node: http://10.0.0.9:8332
//	proxy:
//	  listen: 0.0.0.0:3333
//	  upstream: [node:http://10.0.0.9:8332, stratum+tcp://pool.example:3333]
type fileValues map[string]any

// loadConfig reads YAML, or TOML where YAML does not fit.
func loadConfig(r io.Reader) (kong.Resolver, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var values map[string]any
	yamlErr := yaml.Unmarshal(b, &values)
	if yamlErr == nil {
		return fileValues(values), nil
	}
	clear(values)
	if tomlErr := toml.Unmarshal(b, &values); tomlErr != nil {
		return nil, fmt.Errorf("it is neither YAML (%w) nor TOML (%w)", yamlErr, tomlErr)
	}
	return fileValues(values), nil
}

// Validate refuses names that no command knows: they are mistakes.
func (v fileValues) Validate(app *kong.Application) error {
	return validateSection(v, app.Node)
}

// validateSection checks that each name of a section is a flag of the command that
// it is for, or of a command below it, or itself such a command.
func validateSection(section map[string]any, node *kong.Node) error {
	for _, name := range slices.Sorted(maps.Keys(section)) {
		if sub, ok := section[name].(map[string]any); ok {
			i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == name })
			if i < 0 {
				return fmt.Errorf("configuration file: %q is no command of %s", name, node.FullPath())
			}
			if err := validateSection(sub, node.Children[i]); err != nil {
				return err
			}
			continue
		}
		if !knowsFlag(node, name) {
			return fmt.Errorf("configuration file: %s has no flag --%s", node.FullPath(), name)
		}
	}
	return nil
}

func knowsFlag(node *kong.Node, name string) bool {
	return slices.ContainsFunc(node.Flags, func(f *kong.Flag) bool { return f.Name == name }) ||
		slices.ContainsFunc(node.Children, func(child *kong.Node) bool { return knowsFlag(child, name) })
}

// Resolve finds the value of a flag that neither the command line nor the
// environment has set.
func (v fileValues) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Tag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	var sections []map[string]any
	section := map[string]any(v)
	for _, name := range commandPath(parent.Node()) {
		sections = append(sections, section)
		section, _ = section[name].(map[string]any)
	}
	sections = append(sections, section)
	for _, section := range slices.Backward(sections) {
		if value, ok := section[flag.Name]; ok {
			return flagValue(value)
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

// flagValue is a value as it would stand on the command line.
func flagValue(value any) (any, error) {
	switch value := value.(type) {
	case []any:
		texts := make([]any, len(value))
		for i, v := range value {
			texts[i] = fmt.Sprint(v)
		}
		return texts, nil
	case map[string]any, nil:
		return nil, errors.New("want a value or a list of values")
	}
	return fmt.Sprint(value), nil
}
