package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// addresses are those that were bound, "": none.
type addresses struct{ miners, secure, api string }

// list is those for miners.
func (a *addresses) list() []string {
	list := []string{}
	for _, address := range []string{a.miners, a.secure} {
		if address != "" {
			list = append(list, address)
		}
	}
	return list
}

// listener is an open port with what serves it.
type listener struct {
	net.Listener
	serve func(ctx context.Context) error
	api   bool
}

func (p *Proxy) openListeners() (list []*listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range list {
				_ = l.Close()
			}
		}
	}()
	add := func(address, what string, serve func(context.Context, net.Listener) error) (string, error) {
		if address == "" {
			return "", nil
		}
		l, err := p.config.open(address)
		if err != nil {
			return "", err
		}
		list = append(list, &listener{l, func(ctx context.Context) error { return serve(ctx, l) }, what == "HTTP"})
		p.log.Info("listening", "for", what, "address", l.Addr().String())
		return l.Addr().String(), nil
	}
	server := p.miners.Stratum()
	miners, err := add(p.config.Listen, "miners", server.Serve)
	if err != nil {
		return list, err
	}
	secure, err := add(p.config.ListenTLS, "miners with TLS", func(ctx context.Context, l net.Listener) error {
		return server.ServeTLS(ctx, l, p.certificate.Config())
	})
	if err != nil {
		return list, err
	}
	api, err := add(p.config.HTTPListen, "HTTP", p.newAPI().Serve)
	if err != nil {
		return list, err
	}
	p.bound.Store(&addresses{miners, secure, api})
	return list, nil
}

// open listens.
func (c *Config) open(address string) (net.Listener, error) {
	l, err := c.ListenFunc("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen at %s: the port is taken: another proxy may be running, or choose another port", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", address, err)
	}
	return l, nil
}
