package main

import (
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// envPrefix begins the names of all variables.
const envPrefix = "LODE_"

// otherVariables are not those of flags.
var otherVariables = []string{"LODE_NODE_PASSWORD", "LODE_POOL_PASSWORD", "LODE_TOKEN"}

// formerVariables are names that mean different things in different commands, with
// the commands that go on reading them. Everywhere else the value meant for another
// command would do harm: an open port, work for a stranger, another's user.
var formerVariables = map[string][]string{
	"LODE_LISTEN":    {"proxy", "scheduler"},
	"LODE_USER":      {"mine", "load"},
	"LODE_REVOCABLE": {"scheduler"},
}

// nameVariables gives each flag its variable: LODE_NAME where the name means the same
// wherever it occurs, else LODE_COMMAND_NAME, with LODE_NAME behind it where that was
// read before and is harmless.
func nameVariables(k *kong.Kong) error {
	meanings := map[string]map[string]bool{}
	walkFlags(k.Model.Node, func(_ *kong.Node, f *kong.Flag) {
		name := variable(f.Name)
		if meanings[name] == nil {
			meanings[name] = map[string]bool{}
		}
		meanings[name][f.Help+f.PlaceHolder] = true
	})
	walkFlags(k.Model.Node, func(n *kong.Node, f *kong.Flag) {
		switch {
		case f.Name == "help":
			return
		case len(f.Envs) == 1 && f.Envs[0] == "-":
			f.Envs, f.Tag.Envs = nil, nil
			return
		case len(f.Envs) > 0:
			return
		}
		name := variable(f.Name)
		names := []string{name}
		if path := commandPath(n); len(meanings[name]) > 1 && len(path) > 0 {
			names = []string{variable(strings.Join(path, "-") + "-" + f.Name)}
			if commands, special := formerVariables[name]; !special || slices.Contains(commands, path[0]) {
				names = append(names, name)
			}
		}
		f.Envs, f.Tag.Envs = names, names
	})
	return nil
}

// variable is the name of the variable of a flag.
func variable(flag string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(flag))
}

// walkFlags calls on with each flag and the command that it belongs to.
func walkFlags(n *kong.Node, on func(*kong.Node, *kong.Flag)) {
	for _, f := range n.Flags {
		on(n, f)
	}
	for _, child := range n.Children {
		walkFlags(child, on)
	}
}

// warnOfUnknown tells of variables that no flag of any command reads: somebody
// mistyped, and believes that a setting is in force.
func warnOfUnknown(app *kong.Application, selected *kong.Node, log *slog.Logger) {
	if path := commandPath(selected); len(path) > 0 {
		for _, f := range selected.Flags {
			name := variable(f.Name)
			if commands, former := formerVariables[name]; former && !slices.Contains(commands, path[0]) && os.Getenv(name) != "" {
				log.Warn("environment variable is not read here: it means different things in different commands",
					"name", name, "use", f.Envs[0])
			}
		}
	}
	known := map[string]bool{}
	walkFlags(app.Node, func(_ *kong.Node, f *kong.Flag) {
		for _, name := range f.Envs {
			known[name] = true
		}
	})
	for _, name := range otherVariables {
		known[name] = true
	}
	names := slices.Sorted(maps.Keys(known))
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		switch {
		case !strings.HasPrefix(name, envPrefix), known[name]:
		case strings.HasPrefix(name, "LODE_TEST_"), strings.HasPrefix(name, "LODE_SIM"), strings.HasPrefix(name, "LODE_NEIGHBOUR_"):
		default:
			log.Warn("environment variable is read by nothing"+didYouMean(name, names), "name", name)
		}
	}
}
