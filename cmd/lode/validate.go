package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"lode/miner"
	"lode/plot"
	"lode/pool/node"
	"lode/stratum"
)

// What cannot work is refused at start, by every command alike: checkFlags looks at
// the flags of whatever command was called, work at what miners are to work on.

// Placeholders mark what flags are.
const (
	addressPlaceholder = "HOST:PORT"
	filePlaceholder    = "FILE"     // to be read
	programPlaceholder = "PROGRAM"  // to be run
	plotPlaceholder    = "FILE.svg" // to be written
	folderPlaceholder  = "DIR"      // there may be none yet
	urlPlaceholder     = "URL"
	textPlaceholder    = "TEXT" // for people: it may be anything
)

// Bounds of values of any flag.
const (
	mostNumber    = 1e18              // no difficulty, rate or amount is near it
	mostDuration  = 87600 * time.Hour // ten years: sums and products of some of them are durations, too
	leastDuration = time.Millisecond  // but for 0: shorter ones keep a processor busy
	mostText      = 4096              // bytes; the longest are paths
)

// checkFlags refuses values that make no sense for any flag of their kind: negative
// or endless numbers, empty elements of lists, empty values where there has to be one,
// addresses that are none, files that cannot be read.
func checkFlags(ctx *kong.Context) error {
	if selected := ctx.Selected(); selected != nil {
		for _, arg := range selected.Positional {
			text, ok := arg.Target.Interface().(string)
			if ok && strings.TrimSpace(text) == "" && arg.Required {
				return usagef("<%s> is empty", arg.Name)
			}
			if ok {
				if err := checkCharacters(&kong.Flag{Value: arg}, text); err != nil {
					return usagef("<%s>%w", arg.Name, err)
				}
			}
		}
	}
	for _, f := range ctx.Flags() {
		if err := checkFlag(f, ctx.FlagValue(f)); err != nil {
			return usagef("--%s%w", f.Name, err)
		}
	}
	return nil
}

func checkFlag(f *kong.Flag, value any) error {
	v := reflect.ValueOf(value)
	for v.IsValid() && v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	if f.HasDefault && fmt.Sprint(v.Interface()) == f.Default {
		return nil // -1 may stand for "whatever is best"
	}
	if d, isDuration := v.Interface().(time.Duration); isDuration {
		switch {
		case d > mostDuration:
			return fmt.Errorf("=%v: want at most %s", d, hours(mostDuration))
		case d > 0 && d < leastDuration:
			return fmt.Errorf("=%v: want %v or more", d, leastDuration)
		}
	}
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if v.Int() < 0 {
			return fmt.Errorf("=%v: want 0 or more", v.Interface())
		}
	case reflect.Float64:
		switch n := v.Float(); {
		case !(n >= 0) || math.IsInf(n, 0):
			return fmt.Errorf("=%v: want a number, 0 or more", n)
		case n > mostNumber:
			return fmt.Errorf("=%v: want at most %g", n, mostNumber)
		}
	case reflect.String:
		text := v.String()
		if text == "" {
			if f.Required || f.HasDefault && f.Default != "" && !f.Tag.Has("empty") {
				return errors.New(" is empty")
			}
			return nil
		}
		return checkText(f, text)
	case reflect.Map:
		for _, name := range v.MapKeys() {
			if name.String() == "" || v.MapIndex(name).String() == "" {
				return errors.New(": want NAME=VALUE, neither of them empty")
			}
		}
	case reflect.Slice:
		if f.Required && v.Len() == 0 {
			return errors.New(" is empty")
		}
		seen := make(map[string]bool)
		for i := range v.Len() {
			text, isText := v.Index(i).Interface().(string)
			if !isText {
				if err := checkFlag(f, v.Index(i).Interface()); err != nil {
					return err
				}
				continue
			}
			switch {
			case strings.TrimSpace(text) == "":
				return errors.New(": one of its values is empty")
			case seen[text]:
				return fmt.Errorf(": %s is given twice", hideUser(text))
			}
			seen[text] = true
			if err := checkText(f, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkText checks what no flag of text, and no flag of its kind, takes.
func checkText(f *kong.Flag, text string) error {
	if err := checkCharacters(f, text); err != nil {
		return err
	}
	return checkKind(f, text)
}

func checkCharacters(f *kong.Flag, text string) error {
	switch {
	case len(text) > mostText:
		return fmt.Errorf(": %d bytes are more than %d", len(text), mostText)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New(" holds a control character")
	case strings.ContainsRune(text, utf8.RuneError): // invalid bytes count as one, and kong may have put one in their place
		return errors.New(" is no text in UTF-8")
	case f.PlaceHolder != textPlaceholder && strings.TrimSpace(text) != text:
		return fmt.Errorf("=%q begins or ends with a space", text)
	}
	return nil
}

// checkKind checks what the placeholder promises.
func checkKind(f *kong.Flag, text string) error {
	switch f.PlaceHolder {
	case addressPlaceholder:
		if err := checkAddress(text); err != nil {
			return err
		}
		if strings.HasSuffix(text, ":0") && !strings.Contains(f.Name, "listen") && f.Name != "artifact-advertise" {
			return fmt.Errorf("=%s: want HOST:PORT with a port of 1 to 65535", text)
		}
	case urlPlaceholder:
		return checkURL(text)
	case filePlaceholder:
		return checkFile(text)
	case programPlaceholder:
		return checkProgram(text)
	case plotPlaceholder:
		if err := plot.CheckName(text); err != nil {
			return fmt.Errorf(": %w", err)
		}
		return checkWritable(filepath.Dir(text))
	case folderPlaceholder:
		return checkFolder(text)
	}
	return nil
}

// checkFile checks that a file is there and can be read, and that it is none of those that
// have no end. A pipe is left alone: it may be read only once.
func checkFile(name string) error {
	info, err := statFile(name)
	switch {
	case err != nil:
		return err
	case info.Size() > mostFile:
		return fmt.Errorf(": %s has %d bytes: want at most %d", name, info.Size(), mostFile)
	case info.Mode()&fs.ModeDevice != 0 && name != os.DevNull:
		return fmt.Errorf(": %s is a device, want a file", name)
	case !info.Mode().IsRegular():
		return nil
	}
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf(": %w", err)
	}
	return file.Close()
}

func statFile(name string) (fs.FileInfo, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf(": open %s: there is no such file", name)
	case err != nil:
		return nil, fmt.Errorf(": %w", err)
	case info.IsDir():
		return nil, fmt.Errorf(": %s is a folder, want a file", name)
	}
	return info, nil
}

// checkProgram checks that there is a file with something in it: whether agents can run it,
// lode scheduler check says.
func checkProgram(name string) error {
	info, err := statFile(name)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf(": %s is no file", name)
	case info.Size() == 0:
		return fmt.Errorf(": %s is empty", name)
	}
	return nil
}

// checkFolder checks that a folder is there, or that it can be made, and that we may write there.
func checkFolder(name string) error {
	for there := filepath.Clean(name); ; there = filepath.Dir(there) {
		info, err := os.Stat(there)
		switch {
		case err == nil && info.IsDir():
			return checkWritable(there)
		case err == nil:
			return fmt.Errorf(": %s is a file, want a folder", there)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
			return fmt.Errorf(": %w", err)
		case there == filepath.Dir(there):
			return nil
		}
	}
}

func checkWritable(folder string) error {
	if err := writable(folder); err != nil {
		return fmt.Errorf(": we may not write into %s: %w", folder, err)
	}
	return nil
}

// mostFile bounds files that are read as a whole, in bytes.
const mostFile = 16 << 20

// readFile reads a file that a flag names.
func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, mostFile+1))
	if err == nil && len(b) > mostFile {
		err = fmt.Errorf("%s has more than %d bytes", name, mostFile)
	}
	return b, err
}

// hideUser leaves the user out of a URL: errors go to logs.
func hideUser(text string) string {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return text
	}
	return scheme + "://" + afterLast(rest, "@")
}

// checkAddress checks host:port; the host may be left out, as in ":8650", the port
// may be 0.
func checkAddress(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil && !strings.Contains(text, ":") {
		return fmt.Errorf("=%s: want HOST:PORT", text)
	}
	if err != nil {
		return fmt.Errorf("=%s: want HOST:PORT, with [brackets] around an IPv6 address", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("=%s: want HOST:PORT with a port of 0 to 65535", text)
	}
	if host != "" {
		return checkHost(text, host)
	}
	return nil
}

// checkHost checks that a host can be one: whether there is such a name, only a resolver
// knows.
func checkHost(text, host string) error {
	if _, err := netip.ParseAddr(host); err == nil || hostName.MatchString(host) && !numbers.MatchString(host) {
		return nil
	}
	return fmt.Errorf("=%s: %q is no name of a host and no address", text, host)
}

// checkURL checks what all URLs have. What else one has to have depends on what it is for.
func checkURL(text string) error {
	scheme, rest, found := strings.Cut(strings.TrimPrefix(text, "node:"), "://")
	switch scheme {
	case "file", "zk": // a path; a list of hosts
		return nil
	}
	if !found {
		scheme, rest = "http", scheme
	}
	u, err := url.Parse(scheme + "://" + rest)
	host, _, _ := strings.Cut(afterLast(rest, "@"), "/")
	switch {
	case strings.Count(host, ":") > 1 && !strings.Contains(host, "["):
		return fmt.Errorf("=%s: an IPv6 address stands in brackets, as in [::1]:3333", hideUser(text))
	case strings.HasPrefix(host, "[") && strings.Contains(host, "%") && !strings.Contains(host, "%25"):
		return fmt.Errorf("=%s: the %% before the zone of an IPv6 address is written %%25 in a URL", hideUser(text))
	case err != nil, u.Hostname() == "": // whose messages know more
		return nil
	case strings.Contains(text, "#"):
		return fmt.Errorf("=%s: a URL has no # here", hideUser(text))
	case strings.HasSuffix(u.Host, ":"):
		return fmt.Errorf("=%s: the port is missing behind %s", hideUser(text), u.Host)
	}
	return checkHost(hideUser(text), u.Hostname())
}

// takenPort says which flag's address cannot be listened at, and what most probably has it.
func takenPort(flag, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s=%s: the port is taken: another one may be running, or choose another port", flag, address)
	}
	return fmt.Errorf("%s=%s: %w", flag, address, err)
}

// portIsRight says that a URL has no port, or one that there can be.
func portIsRight(u *url.URL) bool {
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil && n > 0
}

// source is an upstream as validation sees it.
type source struct {
	url, user, password string
	flag                string // that named it
}

// work is what miners are to work on, as every command that mines has it.
type work struct {
	sources          []source
	payout           string
	tag              string
	kernel           string
	minBlockInterval time.Duration
	userFlag         string // that names the user at pools
}

func (w work) check() error {
	nodes := false
	var seen []string
	for _, s := range w.sources {
		isNode, err := s.check(w.userFlag)
		if err != nil {
			return err
		}
		nodes = nodes || isNode
		if slices.Contains(seen, s.url) {
			return usagef("%s: %s is named twice", s.flag, hideUser(s.url))
		}
		seen = append(seen, s.url)
	}
	switch {
	case nodes && w.payout == "":
		return usagef("a node pays to an address: name it (--payout-address)")
	case len(w.tag) > 40:
		return usagef("--coinbase-tag: %d bytes are more than 40", len(w.tag))
	case w.kernel != "" && !miner.KnownKernel(w.kernel):
		return unknownKernel(w.kernel)
	}
	if w.payout == "" {
		return nil
	}
	if err := node.CheckAddress(w.payout); err != nil { // of the right network? A node knows
		return usagef("--payout-address: %w", err)
	}
	if w.minBlockInterval > 0 && !node.IsScript(w.payout) {
		for _, n := range node.Networks() {
			if _, err := n.PayoutScript(w.payout); err == nil && n.Name == "mainnet" {
				return usagef("--min-block-interval is for test networks, and %s is an address of the main network", w.payout)
			}
		}
	}
	return nil
}

// check looks at one upstream and says whether it is a node.
func (s source) check(userFlag string) (isNode bool, err error) {
	address, isNode := strings.CutPrefix(s.url, "node:")
	if !isNode {
		host, _, err := stratum.ParseURL(s.url)
		if err != nil {
			if !strings.HasPrefix(s.url, "stratum+") {
				err = fmt.Errorf("%q is none of node:URL, stratum+tcp://host:port, stratum+tls://host:port", hideUser(s.url))
			}
			return false, usagef("%s: %w", s.flag, err)
		}
		if s.user == "" && !hasUser(s.url) {
			return false, usagef("%s: the pool at %s needs a user (%s)", s.flag, host, userFlag)
		}
		return false, nil
	}
	u, err := url.Parse(address)
	if err != nil { // its text would repeat a password
		return true, usagef("%s %q: it is no URL such as http://host:8332", s.flag, afterLast(address, "@"))
	}
	shown := *u
	shown.User = nil
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Port() == "0" {
		return true, usagef("%s %q: it is no URL such as http://host:8332", s.flag, shown.String())
	} else if !portIsRight(u) {
		return true, usagef("%s %q: want a port of 1 to 65535", s.flag, shown.String())
	}
	if s.password != "" && s.user == "" && u.User == nil {
		return true, usagef("%s %q: there is a password but no user (--node-user)", s.flag, shown.String())
	}
	return true, nil
}

func unknownKernel(name string) error {
	var names []string
	for _, k := range miner.Kernels() {
		names = append(names, k.Name)
	}
	return usagef("--kernel: no kernel is called %q%s: there are %s", name, didYouMean(name, names), strings.Join(names, ", "))
}

func afterLast(text, sep string) string { return text[strings.LastIndex(text, sep)+1:] }

// networkPatience is how long a start waits for a node to say what network it is on.
// A node that does not answer is none of validation's business: it may come later.
const networkPatience = 3 * time.Second

// checkNetwork refuses a payout address that a node says is of another network.
func checkNetwork(ctx context.Context, nodes []*node.Node, payout string) error {
	ctx, cancel := context.WithTimeout(ctx, networkPatience)
	defer cancel()
	first := ""
	for _, n := range nodes {
		id, err := n.Identify(ctx)
		if err != nil {
			continue
		}
		if first == "" {
			first = id.Network.Name
		}
		if id.Network.Name != first {
			return usagef("the nodes are on different networks: %s and %s", first, id.Network.Name)
		}
		if _, err := id.Network.PayoutScript(payout); err != nil {
			return usagef("--payout-address: %w", err)
		}
	}
	return nil
}

func checkRoles(roles []string) error {
	for _, role := range roles {
		if err := checkRole(role); err != nil {
			return err
		}
	}
	return nil
}

// checkRole checks a role as Mesos writes it (docs/roles.md there).
func checkRole(role string) error {
	if role == "*" {
		return nil
	}
	for part := range strings.SplitSeq(role, "/") {
		switch {
		case part == "":
			return usagef("--role %q: a role is a name, or names with a / between them", role)
		case part == "." || part == ".." || part == "*" || strings.HasPrefix(part, "-"):
			return usagef("--role %q: %q is no name of a role", role, part)
		case strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }):
			return usagef("--role %q: spaces, backslashes and control characters are not allowed", role)
		}
	}
	return nil
}
