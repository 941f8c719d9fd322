package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lode/devmesos"
	"lode/devnode"
)

// documents are those whose blocks are run, in this order. Of the generated ones none has
// any.
var documents = []string{
	"README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/operations.md", "docs/security.md", "docs/stratum.md", "docs/performance.md",
	"docs/conformance.md", "docs/architecture.md", "docs/api.md", "docs/dependencies.md",
}

// block is a fenced block of a document. A comment in the line before its fence says what
// is special about it:
//
//	<!-- test: until "TEXT" -->        it goes on until Ctrl-C; TEXT tells that it works
//	<!-- test: file PATH -->           it is what stands in a file
//	<!-- test: not here, REASON -->    it cannot be run by a test
type block struct {
	at       string // README.md:11
	language string
	text     string
	until    string
	file     string
	reason   string // why it is not run
}

var marker = regexp.MustCompile(`^<!-- test: (?:until "(.+)"|file (\S+)|not here, (.+)) -->$`)

// blocksOf reads the blocks of a document. Each has a language, and there are no others:
// what is only indented, nothing would run.
func blocksOf(name, text string) (blocks []block, faults []string) {
	var open *block
	before, list := "", false
	for i, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", name, i+1)
		switch {
		case open != nil && line == "```":
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "```"):
			open = &block{at: at, language: strings.TrimPrefix(line, "```")}
			if m := marker.FindStringSubmatch(before); m != nil {
				open.until, open.file, open.reason = m[1], m[2], m[3]
			}
			if !slices.Contains([]string{"console", "sh", "yaml", "text"}, open.language) {
				faults = append(faults, fmt.Sprintf("%s: a block is console, sh, yaml or text, not %q", at, open.language))
			}
		case strings.HasPrefix(line, "    ") && strings.TrimSpace(line) != "" && before == "" && !list:
			faults = append(faults, at+": an indented block is run by nobody: put it between ``` and ```")
		case strings.HasPrefix(before, "<!-- test:"):
			faults = append(faults, at+": there is no block behind the marker")
		case strings.HasPrefix(line, "<!-- test:") && !marker.MatchString(line):
			faults = append(faults, at+": a marker says until \"TEXT\", file PATH or not here, REASON")
		}
		if open == nil {
			list = strings.HasPrefix(strings.TrimSpace(line), "- ") || list && (line == "" || strings.HasPrefix(line, " "))
		}
		before = line
	}
	if open != nil {
		faults = append(faults, open.at+": the block has no end")
	}
	return blocks, faults
}

// script is what a shell is to run: of a console the lines behind $.
func (b *block) script() string {
	if b.language == "sh" {
		return b.text
	}
	var commands []string
	for line := range strings.Lines(b.text) {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			commands = append(commands, c)
		}
	}
	return strings.Join(commands, "")
}

// shown is what a console block says that the commands print.
func (b *block) shown() []string {
	if b.language != "console" {
		return nil
	}
	var lines []string
	for line := range strings.Lines(b.text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "$ ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// Each block of the documents is run, in its order, in a folder of its own. Machines that
// the reader has are stood in for by one Mesos and one node on loopback, and what takes
// minutes to measure is measured for moments.
func TestDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	t.Parallel()
	node, err := devnode.Start(t.Context(), devnode.Config{Dir: filepath.Join(t.TempDir(), "btcd"), Binary: filepath.Join(bin, "btcd"), PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Stop() })
	ports := worldPorts()
	mesos, err := devmesos.Start(t.Context(), devmesos.Config{
		WorkDir: filepath.Join(t.TempDir(), "mesos"), Launcher: "/proc/self/exe",
		Agents: []devmesos.AgentConfig{{Hostname: "127.0.0.1", Resources: fmt.Sprintf("cpus:2.5;mem:1024;ports:[%d-%d]", ports, ports+99)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mesos.Close() })
	tariff := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "0.12") }))
	t.Cleanup(tariff.Close)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	api := freeAddress(t)
	standIns := strings.NewReplacer(
		"http://10.0.0.1:5050,http://10.0.0.2:5050,http://10.0.0.3:5050", mesos.MasterURL(),
		"http://10.0.0.1:5050, http://10.0.0.2:5050, http://10.0.0.3:5050", mesos.MasterURL(),
		"http://10.0.0.9:8332", node.URL, "http://127.0.0.1:8332", node.URL, "http://127.0.0.1:29556", node.URL,
		"--node-user lode", "--node-user "+node.User, "node-user: lode", "node-user: "+node.User, "--node-user u ", "--node-user "+node.User+" ",
		"the RPC password", node.Password, "LODE_NODE_PASSWORD=…", "LODE_NODE_PASSWORD="+node.Password,
		"bc1q…", devnode.DefaultMiningAddress, "S…", devnode.DefaultMiningAddress,
		"--user nobody", "--user "+me.Username, "user: nobody", "user: "+me.Username,
		"0.0.0.0:8650", api, "10.0.0.5:8650", api, "0.0.0.0:3333", freeAddress(t), "127.0.0.1:3334", freeAddress(t), "127.0.0.1:23333", freeAddress(t),
		"stratum+tcp://pool.example:3333", "stratum+tcp://"+net.JoinHostPort("127.0.0.1", closedPort(t)), "https://tariff.example/now", tariff.URL,
		"/etc/lode", filepath.Join(scratch, "etc"), "/var/lib/", filepath.Join(scratch, "lib")+"/",
	)
	for _, folder := range []string{"etc", "lib", "work"} {
		if err := os.Mkdir(filepath.Join(scratch, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	clone := filepath.Join(scratch, "clone")
	copyTree(t, "..", clone)
	r := &documentRunner{
		t: t, standIns: standIns, clone: clone, work: filepath.Join(scratch, "work"),
		env: append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LODE_NODE_PASSWORD="+node.Password, "TMPDIR="+t.TempDir(), "NO_COLOR=1"),
	}
	ran := 0
	for _, name := range documents {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		blocks, _ := blocksOf(name, string(text)) // faults: TestDocumentsNameWhatIsThere
		for i := range blocks {
			if r.run(&blocks[i]) {
				ran++
			}
			if t.Failed() {
				return
			}
		}
		r.endLast()
	}
	if ran < 8 {
		t.Errorf("only %d blocks were run: are the documents read right?", ran)
	}
}

type documentRunner struct {
	t           *testing.T
	standIns    *strings.Replacer
	clone, work string
	env         []string
	last        *process // that goes on until Ctrl-C
}

func (r *documentRunner) endLast() {
	if r.last != nil {
		r.last.stop(r.t)
		r.last = nil
	}
}

// quick are what shortens measurements: nobody reads their results here.
var quick = []struct {
	flag *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`--time \S+`), "--time 50ms"},
	{regexp.MustCompile(`--rounds \S+`), "--rounds 1 --time 100ms"},
	{regexp.MustCompile(`--connections \S+ --ramp \S+ --duration \S+ --shares \S+`), "--connections 10 --ramp 1s --duration 2s --shares 5"},
}

func (r *documentRunner) run(b *block) bool {
	text := r.standIns.Replace(b.text)
	for _, q := range quick {
		text = q.flag.ReplaceAllString(text, q.with)
	}
	shown := b.shown()
	b = &block{at: b.at, language: b.language, text: text, until: b.until, file: b.file, reason: b.reason}
	switch {
	case b.language == "text":
		return false
	case b.reason != "":
		r.t.Logf("%s is not run: %s", b.at, b.reason)
		return false
	case b.file != "":
		write(r.t, r.standIns.Replace(b.file), b.text)
		return false
	case b.language == "yaml":
		r.t.Errorf("%s: which file is this (<!-- test: file PATH -->)?", b.at)
		return false
	}
	r.t.Logf("%s runs", b.at)
	folder := r.work
	if strings.HasPrefix(b.script(), "make ") || strings.HasPrefix(b.script(), "bin/") {
		folder = r.clone
	}
	shell := []string{"-euo", "pipefail", "-c", b.script()}
	if b.until != "" {
		r.endLast()
		// The last command of the block is in the shell's place, so that signals reach it.
		if i := strings.LastIndex("\n"+b.script(), "\nlode "); i >= 0 {
			shell[3] = b.script()[:i] + "exec " + b.script()[i:]
		} else if i := strings.LastIndex(b.script(), " lode "); i >= 0 {
			shell[3] = "exec env " + b.script()
		}
		r.last = startIn(r.t, folder, r.env, "bash", shell...)
		eventually(r.t, b.at+" says "+b.until, func() bool {
			if !r.last.running() {
				r.t.Fatalf("%s ended:\n%s\n%s", b.at, b.script(), r.last.output())
			}
			return strings.Contains(r.last.output(), b.until)
		}, r.last.output)
		return true
	}
	cmd := exec.CommandContext(r.t.Context(), "bash", shell...)
	cmd.Dir, cmd.Env = folder, r.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Errorf("%s: %v\n%s\n%s", b.at, err, b.script(), out)
		return true
	}
	printed := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		printed[shape(line)] = true
	}
	for _, line := range shown {
		if !printed[shape(line)] {
			r.t.Errorf("%s shows a line like none that is printed:\n%s\nin\n%s", b.at, line, out)
		}
	}
	return true
}

// shapes are what differs from run to run.
var shapes = []struct {
	what *regexp.Regexp
	is   string
}{
	{regexp.MustCompile(`(\bhashrate ).*`), "${1}…"}, // of miners that may just begin
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "…"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "HASH"},
	{regexp.MustCompile(`[0-9.]+:[0-9]+(, [0-9.]+:[0-9]+)*`), "ADDRESSES"},
	{regexp.MustCompile(`[0-9]+(\.[0-9]+)?`), "N"},
	{regexp.MustCompile(`\s+`), " "},
}

// shape is a line of output without what differs from run to run.
func shape(line string) string {
	line = strings.TrimSpace(line)
	for _, s := range shapes {
		line = s.what.ReplaceAllString(line, s.is)
	}
	return line
}

// startIn is start in a folder.
func startIn(t *testing.T, folder string, env []string, name string, args ...string) *process {
	t.Helper()
	return startCommand(t, &exec.Cmd{Path: lookPath(t, name), Args: append([]string{name}, args...), Dir: folder, Env: env})
}

func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// closedPort is one where nobody listens; it is that of a connection, so nobody else gets it.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); l.Close() })
	_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
	return port
}

// copyTree copies the sources, as a clone would have them.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && slices.Contains([]string{".git", "bin", "dist", "shared", "node_modules"}, d.Name()):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Commands, flags and targets of make that the documents name in a sentence are there, and what is run is marked as
// such: this takes a moment, and TestDocuments runs it.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	reference, err := os.ReadFile("../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	flags := make(map[string][]string) // by command
	command := ""
	for line := range strings.Lines(string(reference)) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			command = strings.TrimSpace(name)
			flags[command] = nil
		}
		if m := regexp.MustCompile("^\\| `(?:-(\\w), )?--([a-z0-9-]+)").FindStringSubmatch(line); m != nil {
			flags[command] = append(flags[command], m[2], m[1])
		}
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, name := range append(documents, "CHANGELOG.md") {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		_, faults := blocksOf(name, string(text))
		for _, f := range faults {
			t.Error(f)
		}
		for _, m := range regexp.MustCompile("`((?:bin/)?lode|make) ([^`]+)`").FindAllStringSubmatch(string(text), -1) {
			words := strings.Fields(m[2])
			named++
			if m[1] == "make" {
				if target := words[0]; !strings.Contains(target, "=") && !strings.Contains(string(makefile), "\n"+target+":") {
					t.Errorf("%s names make %s, and there is no such target", name, target)
				}
				continue
			}
			if fault := namedWrongly(flags, words); fault != "" {
				t.Errorf("%s names `lode %s`: %s", name, m[2], fault)
			}
		}
	}
	if named < 80 {
		t.Errorf("only %d commands found: are the documents read right?", named)
	}
}

// namedWrongly says what is wrong with the words behind lode; "": nothing.
func namedWrongly(flags map[string][]string, words []string) string {
	command, rest := "lode", words
	for len(rest) > 0 {
		next := command + " " + strings.Trim(rest[0], ",")
		if _, known := flags[next]; !known {
			break
		}
		command, rest = next, rest[1:]
	}
	if command == "lode" && !strings.HasPrefix(rest[0], "-") {
		return "there is no such command"
	}
	if len(rest) > 0 && rest[0] == "…" { // any of them
		return ""
	}
	for _, w := range rest {
		w = strings.Trim(w, "[](),")
		flag, ok := strings.CutPrefix(w, "--")
		if !ok {
			continue
		}
		flag, _, _ = strings.Cut(flag, "=")
		if flag == "help" || strings.Contains(flag, "…") || strings.Contains(flag, "NAME") {
			continue
		}
		if !slices.Contains(flags[command], flag) && !slices.Contains(flags["lode"], flag) {
			return command + " has no flag --" + flag
		}
	}
	return ""
}

func TestNamedWrongly(t *testing.T) {
	flags := map[string][]string{"lode": {"version", "V"}, "lode status": {"watch"}, "lode upgrade": nil, "lode upgrade start": {"json"}}
	for words, wrong := range map[string]bool{
		"status": false, "status [--watch]": false, "--version": false, "upgrade start --json": false, "status … --anything": false, "status, upgrade": false,
		"stauts": true, "status --wacht": true, "upgrade --json": true, "--verison": true,
	} {
		if fault := namedWrongly(flags, strings.Fields(words)); (fault != "") != wrong {
			t.Errorf("lode %s: %q", words, fault)
		}
	}
}

func TestBlocksOf(t *testing.T) {
	blocks, faults := blocksOf("x.md", "text\n\n<!-- test: until \"up\" -->\n```sh\na\n```\n\n```console\n$ b\nprinted\n```\n")
	if len(faults) > 0 || len(blocks) != 2 || blocks[0].until != "up" || blocks[0].script() != "a\n" || blocks[1].script() != "b\n" || blocks[1].shown()[0] != "printed" {
		t.Errorf("%v %+v", faults, blocks)
	}
	for name, text := range map[string]string{
		"no language":        "```\na\n```\n",
		"indented":           "text\n\n    lode status\n",
		"no end":             "```sh\na\n",
		"an odd marker":      "<!-- test: perhaps -->\n```sh\na\n```\n",
		"a marker and a gap": "<!-- test: not here, it is late -->\n\n```sh\na\n```\n",
	} {
		if _, faults := blocksOf("x.md", text); len(faults) == 0 {
			t.Errorf("%s: nothing is said", name)
		}
	}
	var none *exec.ExitError
	if out, err := exec.Command("bash", "-euo", "pipefail", "-c", "false | true\ntrue").CombinedOutput(); !errors.As(err, &none) {
		t.Errorf("a command that fails in the middle of a block is not noticed: %v %s", err, out)
	}
}
