package zookeeper

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-zookeeper/zk"
)

// masterPrefix begins the names of nodes by which masters contend; a sequence number
// follows. The lowest one leads. (src/master/detector/zookeeper.cpp of Mesos)
const masterPrefix = "json.info_"

const (
	// mostMasters is of how many masters the addresses are read, and maxMasterInfo
	// bounds what one says of itself, in bytes.
	mostMasters   = 20
	maxMasterInfo = 64 << 10
)

// Masters finds the Mesos masters that contend for the lead at a path.
type Masters struct {
	session session
	scheme  string
	done    chan struct{}

	mu      sync.Mutex
	urls    []string // as they were found last
	changed chan struct{}
}

// NewMasters looks at u, and does so only in Find. secure says that the masters speak
// https, which ZooKeeper does not tell.
func NewMasters(u URL, secure bool, log *slog.Logger) *Masters {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return &Masters{session: session{url: u, log: log}, scheme: scheme, done: make(chan struct{})}
}

// Close ends the session. No Find may be called then.
func (m *Masters) Close() {
	close(m.done)
	m.session.close()
}

// found is what a look at ZooKeeper gave.
type found struct {
	urls    []string
	changed <-chan zk.Event
}

// Find returns the URLs of masters, the leader's first; none: nobody leads. The channel
// is closed when that may not be true any more.
func (m *Masters) Find(ctx context.Context) (urls []string, changed <-chan struct{}, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.changed:
	default:
		if m.changed != nil {
			return m.urls, m.changed, nil // or else ZooKeeper would have told
		}
	}
	m.changed = nil
	conn, err := m.session.get()
	if err != nil {
		return nil, nil, m.session.url.explain(err)
	}
	f, err := call(ctx, func() (found, error) { return m.look(conn) })
	switch {
	case err != nil && err == ctx.Err():
		return nil, nil, err
	case errors.Is(err, zk.ErrNoNode):
		return nil, nil, fmt.Errorf("ZooKeeper %s: there is no such path: no Mesos master was ever elected there", m.session.url)
	case err != nil:
		m.session.drop(conn)
		return nil, nil, m.session.url.explain(err)
	}
	c := make(chan struct{})
	m.urls, m.changed = f.urls, c
	go func() {
		defer close(c)
		select {
		case <-f.changed:
		case <-m.done:
		}
	}()
	return f.urls, c, nil
}

func (m *Masters) look(conn *zk.Conn) (f found, err error) {
	u := m.session.url
	if err := m.session.authenticate(conn); err != nil {
		return f, err
	}
	var names []string
	if names, _, f.changed, err = conn.ChildrenW(u.Path); err != nil {
		return f, err
	}
	var errs []error
	for _, name := range contenders(names) {
		data, _, err := conn.Get(path.Join(u.Path, name))
		if errors.Is(err, zk.ErrNoNode) {
			continue // it went meanwhile, which the watch tells as well
		}
		if err != nil {
			return f, err
		}
		address, err := masterAddress(data)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		f.urls = append(f.urls, m.scheme+"://"+address)
	}
	if len(f.urls) == 0 {
		err = errors.Join(errs...)
	}
	return f, err
}

// contenders are the nodes of masters, the leader's first.
func contenders(names []string) []string {
	type contender struct {
		name   string
		number uint64
	}
	var all []contender
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, masterPrefix)
		n, err := strconv.ParseUint(digits, 10, 64)
		if ok && err == nil {
			all = append(all, contender{name, n})
		}
	}
	slices.SortFunc(all, func(a, b contender) int { return cmp.Compare(a.number, b.number) })
	sorted := make([]string, 0, min(len(all), mostMasters))
	for _, c := range all[:min(len(all), mostMasters)] {
		sorted = append(sorted, c.name)
	}
	return sorted
}

// masterAddress reads host:port out of a MasterInfo in JSON.
func masterAddress(data []byte) (string, error) {
	if len(data) > maxMasterInfo {
		return "", fmt.Errorf("a master's information of %d bytes", len(data))
	}
	var info struct {
		Hostname string `json:"hostname"`
		Port     int    `json:"port"`
		Address  struct {
			Hostname string `json:"hostname"`
			IP       string `json:"ip"`
			Port     int    `json:"port"`
		} `json:"address"`
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return "", fmt.Errorf("a master's information is not as expected: %w", err)
	}
	// The number "ip" is not looked at: its byte order is anybody's guess.
	host, port := info.Address.IP, info.Address.Port
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = cmp.Or(info.Address.Hostname, info.Hostname)
	}
	port = cmp.Or(port, info.Port)
	if host == "" || strings.ContainsAny(host, " /@?#[]\\") || port < 1 || port > 65535 {
		return "", fmt.Errorf("a master's information has no address: host %q, port %d", host, port)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}
