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
    source <(lode completion zsh)                                 # this one, after compinit
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
		writeZsh(&script, root)
	case "fish":
		writeFish(&script, root)
	}
	_, err := env.stdout.Write(script.Bytes())
	return err
}

// writeBash writes a function that finds the command among the words before the
// cursor, and offers its flags and the commands below it.
func writeBash(w io.Writer, root *kong.Node) {
	fmt.Fprint(w, "_lode() {\n  local word=${COMP_WORDS[COMP_CWORD]} at=lode offered= i\n"+
		"  for ((i = 1; i < COMP_CWORD; i++)); do\n")
	writeCommand(w, root, "${COMP_WORDS[i]}")
	fmt.Fprint(w, "  done\n  local flag=${COMP_WORDS[COMP_CWORD-1]}\n"+
		"  [[ $word == = ]] && word=\n  [[ $flag == = && COMP_CWORD -gt 1 ]] && flag=${COMP_WORDS[COMP_CWORD-2]}\n")
	writeOffered(w, root)
	fmt.Fprint(w, "  mapfile -t COMPREPLY < <(compgen -W \"$offered\" -- \"$word\")\n"+
		"  [[ ${COMPREPLY[*]} == *= ]] && compopt -o nospace\n"+
		"  [[ $word != -* && ${#COMPREPLY[@]} -eq 0 ]] && mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"+
		"  return 0\n}\ncomplete -o filenames -F _lode lode\n")
}

// writeZsh writes the same for zsh, whose imitation of bash's completion lacks half of it.
// The script is one for a folder of fpath, and one to source.
func writeZsh(w io.Writer, root *kong.Node) {
	fmt.Fprint(w, "#compdef lode\n_lode() {\n  local at=lode offered= flag=${words[CURRENT-1]} i\n"+
		"  for ((i = 2; i < CURRENT; i++)); do\n")
	writeCommand(w, root, "${words[i]}")
	fmt.Fprint(w, "  done\n  if [[ $PREFIX == --*=* ]]; then\n    flag=${PREFIX%%=*}\n    compset -P '*='\n  fi\n")
	writeOffered(w, root)
	fmt.Fprint(w, "  local -a all=(${=offered})\n  local none=1\n"+
		"  compadd -- ${all:#*=} && none=0\n"+
		"  compadd -S '' -- ${(M)all:#*=} && none=0\n"+
		"  ((none)) && [[ $PREFIX != -* ]] && _files && none=0\n"+
		"  return none\n}\n"+
		"if [[ ${funcstack[1]-} == _lode ]]; then _lode \"$@\"; else compdef _lode lode; fi\n")
}

// writeCommand writes, for bash and zsh, how a word leads from the command in $at to one below it.
func writeCommand(w io.Writer, root *kong.Node, word string) {
	fmt.Fprintf(w, "    case \"$at %s\" in\n", word)
	for _, node := range commands(root)[1:] {
		fmt.Fprintf(w, "    %q) at=%q ;;\n", node.FullPath(), node.FullPath())
	}
	fmt.Fprint(w, "    esac\n")
}

// writeOffered writes, for bash and zsh, what is offered to the command in $at after the word in $flag.
func writeOffered(w io.Writer, root *kong.Node) {
	fmt.Fprintf(w, "  case $at in\n  %q*) offered=%q ;;\n", root.Name+" help", strings.Join(commandNames(root), " "))
	for _, node := range commands(root) {
		fmt.Fprintf(w, "  %q) offered=%q ;;\n", node.FullPath(), strings.Join(completions(node), " "))
	}
	fmt.Fprint(w, "  esac\n  case $flag in\n")
	for name, words := range enums(root) {
		fmt.Fprintf(w, "  --%s) offered=%q ;;\n", name, strings.Join(words, " "))
	}
	fmt.Fprint(w, "  esac\n")
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

// flagsAt are the flags that a command takes: its own, and those of the commands above it.
func flagsAt(node *kong.Node) (flags []*kong.Flag) {
	for ; node != nil; node = node.Parent {
		flags = append(flags, shownFlags(node)...)
	}
	return flags
}

// completions are the words that may follow a command.
func completions(node *kong.Node) []string {
	words := commandNames(node)
	for _, argument := range node.Positional {
		if argument.Enum != "" {
			words = append(words, argument.EnumSlice()...)
		}
	}
	for _, f := range flagsAt(node) {
		word := "--" + f.Name
		if !f.IsBool() {
			word += "="
		}
		words = append(words, word)
	}
	return append(words, "--help")
}

// writeFish writes rules that hold where the words before the cursor lead to their command.
func writeFish(w io.Writer, root *kong.Node) {
	fmt.Fprint(w, "function __lode_at\n  set -l at lode\n  set -l words (commandline -opc)\n  set -e words[1]\n"+
		"  for word in $words\n    switch \"$at $word\"\n      case")
	for _, node := range commands(root)[1:] {
		fmt.Fprint(w, " ", quote(node.FullPath()))
	}
	fmt.Fprint(w, "\n        set at \"$at $word\"\n    end\n  end\n  test \"$at\" = \"$argv\"\nend\n"+
		"complete -c lode -f\n")
	for _, node := range commands(root) {
		condition := quote("__lode_at " + node.FullPath())
		for _, child := range node.Children {
			if !child.Hidden {
				fmt.Fprintf(w, "complete -c lode -n %s -a %s -d %s\n", condition, child.Name, quote(sentence(child.Help)))
			}
		}
		for _, argument := range node.Positional {
			switch {
			case node.Name == "help":
				fmt.Fprintf(w, "complete -c lode -n %s -a %s\n", condition, quote(strings.Join(commandNames(root), " ")))
			case argument.Enum != "":
				fmt.Fprintf(w, "complete -c lode -n %s -a %s\n", condition, quote(strings.Join(argument.EnumSlice(), " ")))
			case argument.Tag.PlaceHolder == filePlaceholder:
				fmt.Fprintf(w, "complete -c lode -n %s -F\n", condition)
			}
		}
		for _, f := range flagsAt(node) {
			argument := ""
			switch {
			case f.Enum != "":
				argument = " -x -a " + quote(strings.Join(f.EnumSlice(), " "))
			case !f.IsBool():
				argument = " -r -F"
			}
			fmt.Fprintf(w, "complete -c lode -n %s -l %s%s -d %s\n", condition, f.Name, argument, quote(f.Help))
		}
	}
	fmt.Fprintf(w, "complete -c lode -s h -l help -d %s\n", quote("Show what a command does and takes."))
}

// quote is for fish, which knows only \' and \\ between single quotes.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", " ").Replace(s) + "'"
}
