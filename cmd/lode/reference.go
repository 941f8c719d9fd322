package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"lode/internal/metricdoc"
	"lode/pool/monitor"
	"lode/scheduler"
)

//go:generate go run . reference --markdown ../../docs/reference.md --sample ../../docs/configuration.yaml --metrics ../../docs/metrics.md

// referenceCmd is `lode reference`: it writes what the flags say of themselves, as
// the page of the documents, as man pages and as a configuration file, and what the
// metrics are.
type referenceCmd struct {
	Markdown string `help:"File for the page of all commands." placeholder:"FILE.md"`
	Sample   string `help:"File for a configuration with all names, in comments." placeholder:"FILE.yaml"`
	Metrics  string `help:"File for the page of all metrics." placeholder:"FILE.md"`
	Man      string `help:"Folder for the man pages." placeholder:"DIR"`
}

// Run is called by execute.
func (cmd *referenceCmd) Run(env *environment, app *kong.Kong) error {
	pages := 0
	for _, p := range []struct {
		file  string
		write func(io.Writer) error
	}{
		{cmd.Markdown, func(w io.Writer) error { writeMarkdown(w, app.Model.Node); return nil }},
		{cmd.Sample, func(w io.Writer) error { writeSample(w, app.Model.Node); return nil }},
		{cmd.Metrics, writeMetrics},
	} {
		if p.file == "" {
			continue
		}
		pages++
		var page bytes.Buffer
		if err := p.write(&page); err != nil {
			return err
		}
		if err := os.WriteFile(p.file, page.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if cmd.Man == "" && pages == 0 {
		return usagef("name a file or a folder (--markdown, --sample, --metrics, --man)")
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
		"[configuration.yaml](configuration.yaml) is such a file, with every name in it.\n\n",
		"| exit code | meaning |\n|---|---|\n")
	for _, e := range exitCodes {
		only := ""
		if e.only != "" {
			only = "`" + e.only + "`: "
		}
		fmt.Fprintf(w, "| %d | %s%s |\n", e.code, only, e.meaning)
	}
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
	fmt.Fprint(w, ".SH EXIT STATUS\n")
	for _, e := range exitCodes {
		if e.only == "" || e.only == node.FullPath() {
			fmt.Fprintf(w, ".TP\n.B %d\n%s\n", e.code, roff(e.meaning))
		}
	}
}

// writeSample writes a configuration file that says nothing yet: every name that a file may
// hold stands in it, in a comment, with what it means and its default.
func writeSample(w io.Writer, root *kong.Node) {
	fmt.Fprint(w, "## All that a configuration file of lode may hold (--config FILE), written by `lode reference` (make generate).\n",
		"## Take the # away from a line, and from that of its section. What is set for several commands alike may stand\n",
		"## at the top, without a section. The command line and variables go before the file. Secrets have files of their own.\n\n")
	for _, node := range commands(root) {
		depth := len(commandPath(node))
		if !slices.ContainsFunc(commands(node), func(n *kong.Node) bool { return len(shownFlags(n)) > 0 }) {
			continue // there is nothing to set
		}
		if depth > 0 {
			fmt.Fprintf(w, "\n## %s\n#%s%s:\n", sentence(node.Help), strings.Repeat("  ", depth-1), node.Name)
		}
		for _, f := range shownFlags(node) {
			if f.Name == "config" || f.Name == "version" {
				continue // do not belong into a file
			}
			indent := strings.Repeat("  ", depth)
			fmt.Fprintf(w, "##%s %s\n#%s%s: %s\n", indent, sentence(f.Help), indent, f.Name, sampleValue(f))
		}
	}
}

// sampleValue is the default as YAML writes it, or else what kind of value is wanted.
func sampleValue(f *kong.Flag) string {
	switch {
	case f.IsBool():
		return "false"
	case f.PlaceHolder == "LEVEL":
		return "info"
	case f.HasDefault && f.Default != "":
		if f.IsSlice() || f.IsMap() {
			return "[" + quoted(f.Default) + "]"
		}
		return quoted(f.Default)
	case f.IsSlice():
		return "[" + quoted(flagValueName(f)) + "]"
	case f.IsMap():
		return "{NAME: " + quoted(afterLast(flagValueName(f), "=")) + "}"
	}
	return quoted(flagValueName(f))
}

// quoted is a text that YAML takes for a text.
func quoted(s string) string {
	if strings.ContainsAny(s, ":#[]{},&*!|>'\"%@`= ") {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return s
}

// writeMetrics writes what can be scraped, from where.
func writeMetrics(w io.Writer) error {
	fmt.Fprint(w, "# Reference of the metrics\n\n",
		"<!-- Written by `lode reference` (make generate) from the collectors themselves. -->\n\n",
		"All are at `/metrics`, for Prometheus. Every process also has `lode_build_info` (labels `version`, `goversion`) and the usual\n",
		"`process_…` and `go_…`. `deploy/alerts.yml` and `deploy/grafana/lode.json` use them. No label comes from a miner or names a task.\n")
	for _, part := range []struct {
		title    string
		describe func() ([]metricdoc.Metric, error)
	}{
		{"The scheduler", scheduler.DescribeMetrics},
		{"A pool-proxy", monitor.DescribeMetrics},
		{"lode mine --http", describeMineMetrics},
	} {
		metrics, err := part.describe()
		if err != nil {
			return fmt.Errorf("%s: %w", part.title, err)
		}
		fmt.Fprintf(w, "\n## %s\n\n", part.title)
		metricdoc.Write(w, metrics)
	}
	return nil
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
