package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"

	"lode/scheduler"
	"lode/scheduler/control"
	"lode/stratum"
)

// secure says who may use the API, and by which certificate it is known.
func (cmd *schedulerCmd) secure(config *scheduler.Config, log *slog.Logger) error {
	config.Auth = new(control.Auth)
	if cmd.TokenFile != "" {
		tokens, err := control.OpenTokens(cmd.TokenFile, func(err error) { log.Error("tokens", "error", err) })
		if err != nil {
			return usagef("--token-file: %w", err)
		}
		config.Auth.Tokens = tokens
	}
	switch {
	case (cmd.TLSCert == "") != (cmd.TLSKey == ""):
		return usagef("--tls-cert and --tls-key go together")
	case cmd.ClientCA != "" && cmd.TLSCert == "":
		return usagef("--client-ca needs TLS (--tls-cert and --tls-key)")
	case cmd.TLSCert == "":
		return nil
	}
	certificate, err := stratum.LoadCertificate(cmd.TLSCert, cmd.TLSKey)
	if err != nil {
		return usagef("--tls-cert: %w", err)
	}
	fresh := &freshCertificate{Certificate: certificate, files: []string{cmd.TLSCert, cmd.TLSKey}, log: log}
	fresh.changed()
	config.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: fresh.get, NextProtos: []string{"http/1.1"}}
	if cmd.ClientCA != "" {
		if _, config.TLS.ClientCAs, err = readCertificates("--client-ca", cmd.ClientCA); err != nil {
			return err
		}
		config.TLS.ClientAuth = tls.VerifyClientCertIfGiven // this machine needs none
		config.Auth.ClientCertificates = true
	}
	return nil
}

// freshCertificate is read again when one of its files has changed.
type freshCertificate struct {
	*stratum.Certificate
	files []string
	log   *slog.Logger

	mu     sync.Mutex // guards the rest
	stamps [2]time.Time
	looked time.Time
}

func (f *freshCertificate) changed() (yes bool) {
	for i, name := range f.files {
		if info, err := os.Stat(name); err == nil && !info.ModTime().Equal(f.stamps[i]) {
			f.stamps[i], yes = info.ModTime(), true
		}
	}
	return yes
}

func (f *freshCertificate) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	if time.Since(f.looked) > time.Second {
		f.looked = time.Now()
		if f.changed() {
			if err := f.Reload(); err != nil {
				f.log.Error("the former certificate stays in use", "error", err)
			}
		}
	}
	f.mu.Unlock()
	return f.Config().GetCertificate(hello)
}
