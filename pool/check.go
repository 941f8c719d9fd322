package pool

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"time"
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
	config.Logger = nil // what is found is told once
	config.setDefaults()
	findings := checkLocal(config)
	if len(config.Upstreams) == 0 {
		return append(findings, Finding{What: "upstreams", Err: errNoUpstream})
	}
	var shared network
	for _, u := range config.Upstreams {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		findings = append(findings, checkUpstream(ctx, config, u, &shared))
		cancel()
	}
	return findings
}

func checkLocal(config Config) []Finding {
	var list []Finding
	for _, address := range []string{config.Listen, config.ListenTLS, config.HTTPListen} {
		if address == "" {
			continue
		}
		f := Finding{What: "listen at " + address, Detail: "free"}
		l, err := config.open(address)
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

func checkUpstream(ctx context.Context, config Config, u Upstream, shared *network) Finding {
	config.Upstreams = []Upstream{u}
	made, err := makeSources(&config, &surroundings{now: time.Now, join: shared.join, network: shared.get})
	if err != nil {
		return Finding{What: "upstream", Err: err}
	}
	s := made.sources[0]
	defer s.Close()
	f := Finding{What: "upstream " + s.URL()}
	f.Detail, f.Err = s.Check(ctx)
	return f
}
