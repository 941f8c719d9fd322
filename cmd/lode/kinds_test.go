package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// needed are the flags and arguments without which a command does not begin.
var needed = map[string][]string{
	"scheduler":  {"--master=http://127.0.0.1:1", "--node=http://127.0.0.1:1", "--payout-address=" + simnetAddress, "--state-dir=state", "--listen=127.0.0.1:0", "--executor=program"},
	"proxy":      {"--upstream=node:http://127.0.0.1:1", "--payout-address=" + simnetAddress, "--state-dir=state", "--listen=127.0.0.1:0"},
	"mine":       {"--pool=127.0.0.1:1", "--user=me", "--kernel=portable"},
	"load":       {"--pool=127.0.0.1:1", "--user=me"},
	"bench":      {"--kernel=portable", "--time=10ms"},
	"dev":        {"--btcd=program", "--executor=program"},
	"dev-mesos":  {"--listen=127.0.0.1:0"},
	"dev-node":   {"--listen=127.0.0.1:0"},
	"teardown":   {"--master=http://127.0.0.1:1", "framework"},
	"logs":       {"task"},
	"scale":      {"1"},
	"drain":      {"agent"},
	"undrain":    {"agent"},
	"restart":    {"task"},
	"kill":       {"task"},
	"completion": {"bash"},
}

const simnetAddress = "SMPL7pCX7q6pEkTyoipdVgHvk9tE5D6XNW"

// badAddresses and the others are wrong for each flag of their kind.
var (
	badAddresses = []string{"nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http", "::1:80", "[::1]", "[::1:80", "1 2:80", "u@h:1", "unix:/x", "http://127.0.0.1:1/", "127.0.0.1:1/path", "256.1.1.1:80", "ä:80", "127.0.0.1:1, 127.0.0.1:2"}
	badURLs      = []string{"http://", "http:///", "http://h:0", "http://h:65536", "http://h:", "http://h:abc", "http://a b:1", "http://::1:80", "http://256.1.1.1:1", "http://h:1#f", "ä"}
	badFiles     = []string{"none", "folder", "text/x", "big", "/dev/zero"}
	badPrograms  = []string{"none", "folder", "text/x", "void", "/dev/zero"}
	badFolders   = []string{"text", "text/x"}
	badPlots     = []string{"x.png", "x", "none/x.svg", "folder.svg", "text/x.svg"}
	badTexts     = []string{"a\nb", "\x00", "\x1b[2J", "\xff", strings.Repeat("x", 5000)}
	badNumbers   = []string{"", "-1", "nan", "-inf", "inf", "1e300", "abc", "1,5", "1 2"}
	badCounts    = []string{"", "-1", "1.5", "1e3", "0x10", "99999999999999999999", "abc", " 1"}
	badDurations = []string{"", "-1s", "1", "abc", "1.5", "1ns", "1000000h", "9999999999h", "5 s"}
	badBools     = []string{"", "2", "maybe"}
	badNames     = []string{"a=1;a=1", "=", "a=", "=b", "a"}
)

// wrong are values that a flag must refuse for its kind.
func wrong(f *kong.Flag) (values []string) {
	t := f.Target.Type()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	list := t.Kind() == reflect.Slice
	if list {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return badDurations
	case t == reflect.TypeFor[logLevel]():
		return []string{"", "loud", "inf", "1"}
	case t.Kind() == reflect.Bool:
		return badBools
	case t.Kind() == reflect.Float64:
		return badNumbers
	case t.Kind() == reflect.Map:
		if f.Tag.MapSep == -1 {
			return badNames[1:]
		}
		return badNames
	case list && t.Kind() != reflect.String:
		return badCounts[1:]
	case t.Kind() != reflect.String:
		return badCounts
	case f.Enum != "":
		word := f.EnumSlice()[len(f.EnumSlice())-1]
		return []string{strings.ToUpper(word), word[:1], word + " ", "x", word + "," + word}
	}
	values = slices.Clone(badTexts)
	if f.PlaceHolder != textPlaceholder {
		values = append(values, " x", "x ", "  ")
	}
	if f.Required {
		values = append(values, "")
	}
	values = append(values, map[string][]string{
		addressPlaceholder: badAddresses, urlPlaceholder: badURLs, filePlaceholder: badFiles, programPlaceholder: badPrograms,
		folderPlaceholder: badFolders, plotPlaceholder: badPlots,
	}[f.PlaceHolder]...)
	if list && f.Tag.Sep != -1 {
		values = append(values, ",", "a,,b", "a,a")
	}
	return values
}

// attempt runs a command whose context has ended: one that is right ends at once with 130.
func attempt(args ...string) (code int, said string) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	code = run(ctx, args, &stdout, &stderr)
	return code, stderr.String()
}

// Each flag refuses what makes no sense for its kind, in one line that names it; so it does
// in the environment and in a file, and then the line names these. Nothing is left behind.
func TestEveryFlagRefusesWhatIsWrong(t *testing.T) {
	t.Chdir(t.TempDir())
	files := map[string]string{"text": "hello\n", "void": "", "big": "", "program": "#!/bin/false\n"}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate("big", 1<<40); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"folder", "folder.svg"} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	k, err := kong.New(new(cli), kong.Name("lode"), kong.PostBuild(nameVariables), kinds())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	tried := 0
	walkFlags(k.Model.Node, func(n *kong.Node, f *kong.Flag) {
		same := f.Name + f.Help + f.PlaceHolder
		if f.Name == "help" || f.Name == "version" || f.Hidden || n.Hidden || seen[same] {
			return
		}
		seen[same] = true
		path := commandPath(n)
		args := slices.Clone(path)
		if len(path) == 0 {
			args = []string{"version"}
		} else {
			args = append(args, slices.DeleteFunc(slices.Clone(needed[path[0]]), func(a string) bool { return strings.HasPrefix(a, "--"+f.Name+"=") })...)
		}
		check := func(how, value string, names string, args ...string) {
			tried++
			code, said := attempt(args...)
			if code != 2 || strings.Count(said, "\n") != 1 || len(said) > 1500 || !strings.Contains(said, names) || !strings.HasPrefix(said, "lode: ") {
				t.Errorf("%s --%s=%.40q %s: exit code %d, it says %.300q; want 2, and one line with %s", n.FullPath(), f.Name, value, how, code, said, names)
			}
		}
		values := wrong(f)
		if testing.Short() {
			values = values[len(values)-1:]
		}
		for _, value := range values {
			names := "--" + f.Name
			if _, isConfig := f.Target.Interface().(configFile); isConfig {
				names = filepath.Base(value)
				if len(value) > 100 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
					names = "--config"
				}
			}
			check("on the command line", value, names, append(slices.Clone(args), "--"+f.Name+"="+value)...)
		}
		value := values[len(values)-1]
		if f.Name == "config" {
			return
		}
		for _, variable := range f.Envs {
			if value == "" {
				value = values[0]
			}
			t.Setenv(variable, value)
			check("in the environment", value, variable, args...)
			os.Unsetenv(variable)
		}
		file := "\n"
		for i, command := range path {
			file += strings.Repeat(" ", i) + command + ":\n"
		}
		file += fmt.Sprintf("%s%s: %q\n", strings.Repeat(" ", len(path)), f.Name, value)
		if err := os.WriteFile("lode.yaml", []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		check("in a file", value, fmt.Sprintf("lode.yaml:%d: --%s", strings.Count(file, "\n"), f.Name), append(args, "--config=lode.yaml")...)
		os.Remove("lode.yaml")
	})
	if tried < 1500 && !testing.Short() {
		t.Errorf("only %d values were tried: are flags found?", tried)
	}
	for _, name := range []string{"text", "void", "big", "program", "folder", "folder.svg"} {
		os.Remove(name)
	}
	left, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("left behind: %s", e.Name())
	}
}
