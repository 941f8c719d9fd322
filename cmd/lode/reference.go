package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
)

//go:generate go run . reference --markdown ../../docs/reference.md

// referenceCmd is `lode reference`: it writes what the flags say of themselves, as
// the page of the documents and as man pages.
type referenceCmd struct {
	Markdown string `help:"File for the page of all commands." placeholder:"FILE.md"`
	Man      string `help:"Folder for the man pages." placeholder:"DIR"`
}

// Run is called by kong.
func (cmd *referenceCmd) Run(env *environment, app *kong.Kong) error {
	if cmd.Markdown == "" && cmd.Man == "" {
		return usagef("name a file or a folder (--markdown, --man)")
	}
	if cmd.Markdown != "" {
		var page bytes.Buffer
		writeMarkdown(&page, app.Model.Node)
		if err := os.WriteFile(cmd.Markdown, page.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if cmd.Man == "" {
		return nil
	}
	if err := os.MkdirAll(cmd.Man, 0o755); err != nil {
		return err
	}
	for _, node := range commands(app.Model.Node) {
		var page bytes.Buffer
		writeMan(&page, node, app.Model.Node)
		name := strings.ReplaceAll(node.FullPath(), " ", "-") + ".1"
		if err := os.WriteFile(filepath.Join(cmd.Man, name), page.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// commands are the node and all commands below it that are shown in help.
func commands(node *kong.Node) []*kong.Node {
	list := []*kong.Node{node}
	for _, child := range node.Children {
		if !child.Hidden {
			list = append(list, commands(child)...)
		}
	}
	return list
}

func shownFlags(node *kong.Node) []*kong.Flag {
	var flags []*kong.Flag
	for _, f := range node.Flags {
		if !f.Hidden && f.Name != "help" {
			flags = append(flags, f)
		}
	}
	return flags
}

// flagValueName is what stands after a flag, "" for a switch.
func flagValueName(f *kong.Flag) string {
	switch {
	case f.IsBool():
		return ""
	case f.PlaceHolder != "":
		return f.PlaceHolder
	case f.Enum != "":
		return strings.ReplaceAll(f.Enum, ",", "|")
	default:
		return strings.ToUpper(f.Target.Type().Name())
	}
}

func flagDefault(f *kong.Flag) string {
	if !f.HasDefault || f.IsBool() {
		return ""
	}
	return f.Default
}

func flagTitle(f *kong.Flag) string {
	title := "--" + f.Name
	if f.Short != 0 {
		title = "-" + string(f.Short) + ", " + title
	}
	if v := flagValueName(f); v != "" {
		title += "=" + v
	}
	return title
}

func writeMarkdown(w io.Writer, root *kong.Node) {
	fmt.Fprint(w, "# Reference of the command line\n\n",
		"<!-- Written by `lode reference` (make generate); what it says stands in cmd/lode. -->\n\n",
		"A flag's value is taken from the command line, else from the environment variable beside it, else from the file that\n",
		"`--config` names (YAML or TOML; a flag's name without `--`, in a section named as its command), else it is the default.\n\n",
		"| exit code | meaning |\n|---|---|\n| 0 | done |\n| 1 | it failed; the last line on standard error says why |\n",
		"| 2 | the command line or the configuration is wrong |\n| 3 | `scheduler`: the framework was removed |\n",
		"| 4 | `scheduler`: another scheduler took over |\n| 130 | interrupted by Ctrl-C |\n")
	for _, node := range commands(root) {
		fmt.Fprintf(w, "\n## %s\n\n%s\n", node.FullPath(), sentence(node.Help))
		if node.Detail != "" {
			fmt.Fprintf(w, "\n```text\n%s\n```\n", strings.TrimSpace(node.Detail))
		}
		flags := shownFlags(node)
		if len(flags) == 0 {
			continue
		}
		fmt.Fprint(w, "\n| flag | environment | default | meaning |\n|---|---|---|---|\n")
		for _, f := range flags {
			fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", cell(flagTitle(f)), ticked(strings.Join(f.Tag.Envs, "`, `")), ticked(flagDefault(f)), cell(f.Help))
		}
	}
}

func sentence(help string) string {
	line, _, _ := strings.Cut(help, "\n")
	return line
}

func ticked(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s)
}

// writeMan writes a man page (man(7) macros).
func writeMan(w io.Writer, node, root *kong.Node) {
	name := strings.ReplaceAll(node.FullPath(), " ", "-")
	fmt.Fprintf(w, ".TH %s 1 \"\" \"Lode\" \"User commands\"\n", strings.ToUpper(name))
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", roff(name), roff(strings.TrimSuffix(sentence(node.Help), ".")))
	fmt.Fprintf(w, ".SH SYNOPSIS\n.B %s\n", roff(node.FullPath()))
	if len(node.Children) > 0 {
		fmt.Fprint(w, "[COMMAND] ")
	}
	fmt.Fprint(w, "[FLAGS]\n")
	if node.Detail != "" {
		fmt.Fprintf(w, ".SH DESCRIPTION\n.nf\n%s\n.fi\n", roff(strings.TrimSpace(node.Detail)))
	}
	if len(node.Children) > 0 {
		fmt.Fprint(w, ".SH COMMANDS\n")
		for _, child := range node.Children {
			if !child.Hidden {
				fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(child.Name), roff(child.Help))
			}
		}
	}
	flags := shownFlags(node)
	if node != root {
		flags = append(flags, shownFlags(root)...)
	}
	if len(flags) > 0 {
		fmt.Fprint(w, ".SH FLAGS\n")
	}
	for _, f := range flags {
		fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(flagTitle(f)), roff(f.Help))
		var notes []string
		if d := flagDefault(f); d != "" {
			notes = append(notes, "Default: "+d+".")
		}
		if len(f.Tag.Envs) > 0 {
			notes = append(notes, "Environment: "+strings.Join(f.Tag.Envs, ", ")+".")
		}
		if len(notes) > 0 {
			fmt.Fprintln(w, roff(strings.Join(notes, " ")))
		}
	}
}

// roff escapes text for a man page.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
