package main

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd is `lode completion`.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Shell to write for: bash, zsh or fish."`
}

// Help is shown by lode completion --help.
func (completionCmd) Help() string {
	return `Writes a script that completes commands and flags of lode.

    source <(lode completion bash)                                # this shell
    lode completion bash > /etc/bash_completion.d/lode            # all shells
    lode completion zsh  > "${fpath[1]}/_lode"
    lode completion fish > ~/.config/fish/completions/lode.fish`
}

// Run is called by execute.
func (cmd *completionCmd) Run(env *environment, app *kong.Kong) error {
	var script bytes.Buffer
	root := app.Model.Node
	switch cmd.Shell {
	case "bash":
		writeBash(&script, root)
	case "zsh":
		fmt.Fprint(&script, "#compdef lode\nautoload -U +X bashcompinit && bashcompinit\n")
		writeBash(&script, root)
	case "fish":
		writeFish(&script, root)
	}
	_, err := env.stdout.Write(script.Bytes())
	return err
}

// writeBash writes a function that finds the command among the words before the
// cursor, and offers its flags and the commands below it.
func writeBash(w io.Writer, root *kong.Node) {
	fmt.Fprint(w, "_lode() {\n  local word=${COMP_WORDS[COMP_CWORD]} path=lode i\n"+
		"  for ((i = 1; i < COMP_CWORD; i++)); do\n    case \"$path ${COMP_WORDS[i]}\" in\n")
	nodes := commands(root)
	for _, node := range nodes[1:] {
		fmt.Fprintf(w, "    %q) path=%q ;;\n", node.FullPath(), node.FullPath())
	}
	fmt.Fprint(w, "    esac\n  done\n  local words=\n  case $path in\n")
	fmt.Fprintf(w, "  %q*) words=%q ;;\n", root.Name+" help", strings.Join(commandNames(root), " "))
	for _, node := range nodes {
		fmt.Fprintf(w, "  %q) words=%q ;;\n", node.FullPath(), strings.Join(completions(node, root), " "))
	}
	fmt.Fprint(w, "  esac\n  local flag=${COMP_WORDS[COMP_CWORD-1]}\n"+
		"  [[ $word == = ]] && word=\n  [[ $flag == = && COMP_CWORD -gt 1 ]] && flag=${COMP_WORDS[COMP_CWORD-2]}\n"+
		"  case $flag in\n")
	for name, words := range enums(root) {
		fmt.Fprintf(w, "  --%s) words=%q ;;\n", name, strings.Join(words, " "))
	}
	fmt.Fprint(w, "  esac\n  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"+
		"  [[ ${COMPREPLY[*]} == *= ]] && compopt -o nospace\n"+
		"  [[ $word != -* && ${#COMPREPLY[@]} -eq 0 ]] && mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"+
		"  return 0\n}\ncomplete -o filenames -F _lode lode\n")
}

// enums are the flags that take one of a few words, by name, in the order of their names.
func enums(root *kong.Node) iter.Seq2[string, []string] {
	words := map[string][]string{}
	walkFlags(root, func(_ *kong.Node, f *kong.Flag) {
		for _, word := range f.EnumSlice() {
			if word != "" && f.Enum != "" && !slices.Contains(words[f.Name], word) {
				words[f.Name] = append(words[f.Name], word)
			}
		}
	})
	return func(yield func(string, []string) bool) {
		for _, name := range slices.Sorted(maps.Keys(words)) {
			if !yield(name, words[name]) {
				return
			}
		}
	}
}

// completions are the words that may follow a command.
func completions(node, root *kong.Node) []string {
	words := commandNames(node)
	for _, argument := range node.Positional {
		if argument.Enum != "" {
			words = append(words, argument.EnumSlice()...)
		}
	}
	flags := shownFlags(node)
	if node != root {
		flags = append(flags, shownFlags(root)...)
	}
	for _, f := range flags {
		word := "--" + f.Name
		if !f.IsBool() {
			word += "="
		}
		words = append(words, word)
	}
	return append(words, "--help")
}

func writeFish(w io.Writer, root *kong.Node) {
	fmt.Fprint(w, "complete -c lode -f\n")
	for _, node := range commands(root) {
		condition := "__fish_use_subcommand"
		if node != root {
			condition = "__fish_seen_subcommand_from " + node.Name
		}
		for _, child := range node.Children {
			if !child.Hidden {
				fmt.Fprintf(w, "complete -c lode -n %s -a %s -d %s\n", quote(condition), child.Name, quote(sentence(child.Help)))
			}
		}
		for _, argument := range node.Positional {
			words := argument.EnumSlice()
			if node.Name == "help" {
				words = commandNames(root)
			}
			if argument.Enum != "" || node.Name == "help" {
				fmt.Fprintf(w, "complete -c lode -n %s -a %s\n", quote(condition), quote(strings.Join(words, " ")))
			}
		}
		if node == root {
			condition = "true"
		}
		for _, f := range shownFlags(node) {
			argument := ""
			if !f.IsBool() {
				argument = " -r -F"
			}
			if f.Enum != "" {
				argument = " -x -a " + quote(strings.Join(f.EnumSlice(), " "))
			}
			fmt.Fprintf(w, "complete -c lode -n %s -l %s%s -d %s\n", quote(condition), f.Name, argument, quote(f.Help))
		}
	}
}

// quote is for fish, which knows only \' and \\ between single quotes.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", " ").Replace(s) + "'"
}
