package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"unicode"

	"lode/zookeeper"
)

// finder knows masters.
type finder interface {
	// Find returns URLs of masters, of which any may lead. changed is closed when they
	// may be others; nil: they never are. Whoever tells of changes has the leader first.
	Find(ctx context.Context) (urls []string, changed <-chan struct{}, err error)
	Close()
}

func newFinder(config Config, log *slog.Logger) (finder, error) {
	masters, err := expand(config.Masters)
	switch {
	case err != nil:
		return nil, err
	case len(masters) == 0:
		return nil, errors.New("no Mesos master (--master)")
	case strings.HasPrefix(masters[0], zookeeper.Scheme):
		// Hosts may have been taken for several masters at their commas.
		u, err := zookeeper.Parse(strings.Join(masters, ","))
		if err != nil {
			return nil, fmt.Errorf("--master: %w", err)
		}
		return zookeeper.NewMasters(u, config.RootCAs != nil, log), nil
	}
	l := make(list, len(masters))
	for i, m := range masters {
		if l[i], err = MasterURL(m); err != nil {
			return nil, fmt.Errorf("--master: %w", err)
		}
	}
	return l, nil
}

// fileScheme begins the name of a file that holds masters, or a URL of ZooKeeper with
// its password.
const fileScheme = "file://"

func expand(masters []string) ([]string, error) {
	if len(masters) != 1 || !strings.HasPrefix(masters[0], fileScheme) {
		return masters, nil
	}
	name := strings.TrimPrefix(masters[0], fileScheme)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("--master %s: %w", masters[0], err)
	}
	masters = strings.FieldsFunc(string(b), func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	if len(masters) == 0 || strings.HasPrefix(masters[0], fileScheme) {
		return nil, fmt.Errorf("--master %s%s: the file names no master", fileScheme, name)
	}
	return masters, nil
}

// list is of masters that an operator named.
type list []string

func (l list) Find(context.Context) ([]string, <-chan struct{}, error) { return l, nil, nil }
func (l list) Close()                                                  {}

// MasterURL completes and checks the URL of a master: http and port 5050 are
// understood. The path, if any, is dropped.
func MasterURL(s string) (string, error) {
	full := s
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	if err != nil {
		return "", fmt.Errorf("%q is not a URL: %w", s, err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return "", fmt.Errorf("%q is not a URL such as http://host:5050 or zk://host:2181/mesos (and there is one of ZooKeeper, with nothing beside it)", s)
	}
	if u.User != nil {
		return "", fmt.Errorf("%s: credentials belong into --principal and --secret-file, not into the URL", u.Redacted())
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q: want a URL such as http://host:5050, with nothing behind it", s)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "5050")
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q: want a port of 1 to 65535", s)
	}
	return u.Scheme + "://" + u.Host, nil
}

// Hosts are host:port of what is asked first, for those who need the way there.
func Hosts(masters []string) (hosts []string) {
	masters, err := expand(masters)
	if err != nil {
		return nil
	}
	if len(masters) > 0 && strings.HasPrefix(masters[0], zookeeper.Scheme) {
		if u, err := zookeeper.Parse(strings.Join(masters, ",")); err == nil {
			return u.Servers
		}
		return nil
	}
	for _, m := range masters {
		if full, err := MasterURL(m); err == nil {
			_, host, _ := strings.Cut(full, "://")
			hosts = append(hosts, host)
		}
	}
	return hosts
}
