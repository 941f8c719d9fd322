package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"lode/miner"
	"lode/pool/node"
	"lode/stratum"
)

// What cannot work is refused at start, by every command alike: checkFlags looks at
// the flags of whatever command was called, work at what miners are to work on.

// Placeholders mark what flags are.
const (
	addressPlaceholder = "HOST:PORT"
	filePlaceholder    = "FILE" // to be read
	folderPlaceholder  = "DIR"  // there may be none yet
)

// mostNumber bounds numbers of any kind: no difficulty, rate or amount is near it.
const mostNumber = 1e18

// checkFlags refuses values that make no sense for any flag of their kind: negative
// or endless numbers, empty elements of lists, empty values where there has to be one,
// addresses that are none, files that cannot be read.
func checkFlags(ctx *kong.Context) error {
	if selected := ctx.Selected(); selected != nil {
		for _, arg := range selected.Positional {
			if text, ok := arg.Target.Interface().(string); ok && text == "" && arg.Required {
				return usagef("<%s> is empty", arg.Name)
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
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if _, isLevel := v.Interface().(slog.Level); !isLevel && v.Int() < 0 {
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
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errors.New(" holds a control character")
		}
		switch f.PlaceHolder {
		case addressPlaceholder:
			if err := checkAddress(text); err != nil {
				return err
			}
			if strings.HasSuffix(text, ":0") && !strings.Contains(f.Name, "listen") && f.Name != "artifact-advertise" {
				return fmt.Errorf("=%s: want HOST:PORT with a port of 1 to 65535", text)
			}
		case filePlaceholder:
			return checkFile(text)
		case folderPlaceholder:
			if info, err := os.Stat(text); err == nil && !info.IsDir() {
				return fmt.Errorf(": %s is a file, want a folder", text)
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
			switch text = strings.TrimSpace(text); {
			case text == "":
				return errors.New(": one of its values is empty")
			case seen[text]:
				return fmt.Errorf(": %s is given twice", hideUser(text))
			}
			seen[text] = true
		}
	}
	return nil
}

// checkFile checks that a file is there and can be read. What is no plain file, such as
// a pipe, is left alone: it may be read only once.
func checkFile(name string) error {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf(": open %s: there is no such file", name)
	case err != nil:
		return fmt.Errorf(": %w", err)
	case info.IsDir():
		return fmt.Errorf(": %s is a folder, want a file", name)
	case !info.Mode().IsRegular():
		return nil
	}
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf(": %w", err)
	}
	return file.Close()
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
	_, port, err := net.SplitHostPort(text)
	if err != nil && !strings.Contains(text, ":") {
		return fmt.Errorf("=%s: want HOST:PORT", text)
	}
	if err != nil {
		return fmt.Errorf("=%s: want HOST:PORT, with [brackets] around an IPv6 address", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("=%s: want HOST:PORT with a port of 0 to 65535", text)
	}
	return nil
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
	if port := u.Port(); u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || port == "0" {
		return true, usagef("%s %q: it is no URL such as http://host:8332", s.flag, shown.String())
	} else if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
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
