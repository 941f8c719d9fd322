package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// listener is an open port with what serves it.
type listener struct {
	net.Listener
	serve func(ctx context.Context) error
}

func (l *listener) close() { _ = l.Close() }

func (p *Proxy) openListeners() (list []*listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range list {
				l.close()
			}
		}
	}()
	if p.config.Listen != "" {
		l, err := p.open(p.config.Listen)
		if err != nil {
			return list, err
		}
		list = append(list, &listener{l, func(ctx context.Context) error { return p.server.Serve(ctx, l) }})
		p.stateMu.Lock()
		p.listen = l.Addr().String()
		p.stateMu.Unlock()
		p.log.Info("serving miners", "address", l.Addr().String())
	}
	return list, nil
}

func (p *Proxy) open(address string) (net.Listener, error) {
	l, err := p.config.ListenFunc("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen at %s: the port is taken: another proxy may be running, or choose another port", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", address, err)
	}
	return l, nil
}
