package pool

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"lode/pool/node"
	"lode/pool/template"
	"lode/stratum"
)

// Finding is one result of Check.
type Finding struct {
	What   string // what was looked at
	Detail string // what was found
	Err    error  // what is wrong with it; nil: nothing
}

const checkTimeout = 30 * time.Second

// Check looks whether a configuration would work: addresses, files, and each
// upstream, down to a trial block that nodes are asked to judge. It changes nothing.
func Check(ctx context.Context, config Config) []Finding {
	findings := checkLocal(config)
	if len(config.Upstreams) == 0 {
		return append(findings, Finding{What: "upstreams", Err: fmt.Errorf("none: give node:http://host:port or stratum+tcp://host:port")})
	}
	network := ""
	for _, u := range config.Upstreams {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		findings = append(findings, checkUpstream(ctx, config, u, &network))
		cancel()
	}
	return findings
}

func checkLocal(config Config) []Finding {
	var list []Finding
	opener := &Proxy{config: config}
	if config.ListenFunc == nil {
		opener.config.ListenFunc = net.Listen
	}
	for _, address := range []string{config.Listen, config.ListenTLS, config.HTTPListen} {
		if address == "" {
			continue
		}
		f := Finding{What: "listen at " + address, Detail: "free"}
		l, err := opener.open(address)
		if f.Err = err; err == nil {
			_ = l.Close()
		}
		list = append(list, f)
	}
	if config.CertFile != "" {
		_, err := tls.LoadX509KeyPair(config.CertFile, config.KeyFile)
		list = append(list, Finding{What: "TLS certificate " + config.CertFile, Detail: "loads", Err: err})
	}
	if config.StateDir != "" {
		list = append(list, Finding{What: "state folder " + config.StateDir, Detail: "writable", Err: checkFolder(config.StateDir)})
	}
	return list
}

func checkFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".check-")
	if err != nil {
		return err
	}
	_ = f.Close()
	return os.Remove(filepath.Clean(f.Name()))
}

func checkUpstream(ctx context.Context, config Config, u Upstream, network *string) Finding {
	p := &Proxy{config: config, log: slog.New(slog.DiscardHandler), now: time.Now}
	p.config.Upstreams = []Upstream{u}
	if err := p.makeSources(); err != nil {
		return Finding{What: "upstream", Err: err}
	}
	s := p.sources[0]
	f := Finding{What: "upstream " + s.url()}
	switch s := s.(type) {
	case *nodeSource:
		defer s.node.Close()
		f.Detail, f.Err = p.checkNode(ctx, s, network)
	case *poolSource:
		f.Detail, f.Err = s.check(ctx)
	}
	return f
}

// checkNode goes the way of a block as far as one can without proof of work.
func (p *Proxy) checkNode(ctx context.Context, s *nodeSource, network *string) (string, error) {
	id, err := s.node.Identify(ctx)
	if err != nil {
		return "", err
	}
	if *network == "" {
		*network = id.Network.Name
	}
	if *network != id.Network.Name {
		return "", fmt.Errorf("it is on %s, another upstream on %s", id.Network.Name, *network)
	}
	if err := s.learn(ctx); err != nil {
		return "", err
	}
	t, err := s.node.Template(ctx)
	if err != nil {
		return "", err
	}
	reason, err := proposeTrial(ctx, s.node, t, p.coinbaseOptions(s.script, ownExtranonceSize, make([]byte, instanceSize)))
	if err != nil {
		return "", fmt.Errorf("trial block: %w", err)
	}
	if reason != "" {
		return "", fmt.Errorf("the node would refuse a block made of its template: %s", reason)
	}
	return fmt.Sprintf("%s on %s, next block %d with %d transactions, trial block would be accepted",
		id.Software, id.Network.Name, t.Height, len(t.Transactions)), nil
}

// proposeTrial asks the node to judge a block made of the template.
func proposeTrial(ctx context.Context, n *node.Node, t *template.Template, o template.Options) (reason string, err error) {
	w, err := template.New(t, o)
	if err != nil {
		return "", err
	}
	extranonce := make([]byte, o.ExtranonceSize)
	j := stratum.Job{
		PrevBlock: t.PreviousHash, Coinbase1: w.Coinbase1, Coinbase2: w.Coinbase2, MerkleBranch: w.Branch, Bits: t.Bits,
	}
	header, _ := j.HeaderBytes(nil, extranonce, nil, t.Version, max(t.CurrentTime, t.MinTime), 0)
	return n.Propose(ctx, w.Block(header, extranonce))
}
