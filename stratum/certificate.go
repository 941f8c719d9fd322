package stratum

import (
	"crypto"
	"crypto/tls"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
)

// Certificate is a TLS certificate that can be replaced while a server runs:
//
//	cert, err := stratum.LoadCertificate("pool.crt", "pool.key")
//	go server.ServeTLS(ctx, listener, cert.Config())
//	…
//	err = cert.Reload() // the files were renewed
type Certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
	signing           chan struct{} // holds one for each signature that is made now
}

// LoadCertificate reads a certificate with its chain, and its key, from PEM files.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, signing: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1))}
	return c, c.Reload()
}

// Reload reads the files again. If that fails, the certificate stays what it was.
func (c *Certificate) Reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	if signer, ok := pair.PrivateKey.(crypto.Signer); ok {
		pair.PrivateKey = &pacedSigner{signer, c.signing}
	}
	c.current.Store(&pair)
	return nil
}

// pacedSigner lets few signatures be made at once. They are what a handshake costs: a
// millisecond of a processor each with RSA, which a thousand strangers can ask for in
// one moment, while miners wait to have their shares judged.
type pacedSigner struct {
	crypto.Signer
	slots chan struct{}
}

func (s *pacedSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	return s.Signer.Sign(random, digest, opts)
}

// Config is for ServeTLS: TLS 1.2 and later, always with the current certificate. It has no
// key exchange with ML-KEM: a handshake would take 1.6 times as long to keep secret in
// decades, too, what is told here, which is shares and the names of workers.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS12,
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}
