package stratum

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// TestCertificateFaults has pools with certificates that are wrong in one way each: the
// error says in which, and what to do.
func TestCertificateFaults(t *testing.T) {
	var keys [3]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	key, signerKey, otherKey := keys[0], keys[1], keys[2]
	authority := &x509.Certificate{Subject: pkix.Name{CommonName: "Authority"}}
	old := &x509.Certificate{Subject: pkix.Name{CommonName: "Old"}, NotAfter: time.Now().Add(-time.Hour)}
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	for name, c := range map[string]struct {
		form    x509.Certificate
		trusted bool              // it is given as CA
		signer  *x509.Certificate // nil: it is signed by itself
		given   *x509.Certificate // as CA, with the key of the signer if it is that
		want    string            // "": it is taken
	}{
		"right":                    {form: x509.Certificate{IPAddresses: loopback}, trusted: true},
		"right, unknown":           {form: x509.Certificate{IPAddresses: loopback}, want: "signed by itself (CN=127.0.0.1): give it as the pool's CA"},
		"no SAN":                   {trusted: true, want: `has no subject alternative name that is one, and its common name "127.0.0.1" does not count: it must be made anew with "127.0.0.1"`},
		"no SAN, unknown":          {want: "no subject alternative name that is one"},
		"of another host":          {form: x509.Certificate{DNSNames: []string{"pool.example", "b.example"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}, trusted: true, want: `is for pool.example, b.example, 10.0.0.1, not for "127.0.0.1"`},
		"an address for a name":    {form: x509.Certificate{DNSNames: []string{"127.0.0.1"}}, trusted: true, want: `has "127.0.0.1" as a name (DNS:127.0.0.1), where it must be an address (IP:127.0.0.1)`},
		"no host at all":           {form: x509.Certificate{EmailAddresses: []string{"me@b.example"}}, trusted: true, want: "has no subject alternative name that is one"},
		"signed":                   {form: x509.Certificate{IPAddresses: loopback}, signer: authority, given: authority},
		"signed, unknown":          {form: x509.Certificate{IPAddresses: loopback}, signer: authority, given: &x509.Certificate{Subject: pkix.Name{CommonName: "Other"}}, want: `is signed by "CN=Authority": give that one's as the pool's CA`},
		"signed by a namesake":     {form: x509.Certificate{IPAddresses: loopback}, signer: authority, given: &x509.Certificate{Subject: authority.Subject}, want: `is not signed by the "CN=Authority" that is given as the pool's CA, but by another one of that name`},
		"signed by an old one":     {form: x509.Certificate{IPAddresses: loopback}, signer: old, given: old, want: `the certificate of its signer "CN=Old" has expired`},
		"expired":                  {form: x509.Certificate{IPAddresses: loopback, NotAfter: time.Now().Add(-time.Hour)}, trusted: true, want: "has expired"},
		"not valid yet":            {form: x509.Certificate{IPAddresses: loopback, NotBefore: time.Now().Add(time.Hour)}, trusted: true, want: "is not valid yet"},
		"for clients, not servers": {form: x509.Certificate{IPAddresses: loopback, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, trusted: true, want: "its certificate is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			form := c.form
			form.SerialNumber, form.Subject = big.NewInt(1), pkix.Name{CommonName: "127.0.0.1"}
			if form.NotAfter.IsZero() {
				form.NotAfter = time.Now().Add(2 * time.Hour)
			}
			if form.NotBefore.IsZero() {
				form.NotBefore = time.Now().Add(-2 * time.Hour)
			}
			issuer, issuerKey := &form, key
			if c.signer != nil {
				issuer, issuerKey = c.signer, signerKey
			}
			der, err := x509.CreateCertificate(rand.Reader, &form, issuer, &key.PublicKey, issuerKey)
			if err != nil {
				t.Fatal(err)
			}
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_ = conn.(*tls.Conn).Handshake()
					conn.Close()
				}
			}()
			o := ClientOptions{URL: "stratum+tls://" + l.Addr().String(), User: "me", Timeout: time.Minute}
			if c.trusted {
				o.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
			}
			if ca := c.given; ca != nil {
				caKey := signerKey
				if ca != c.signer {
					caKey = otherKey
				}
				form := *ca
				form.SerialNumber, form.IsCA, form.BasicConstraintsValid = big.NewInt(2), true, true
				if form.NotAfter.IsZero() {
					form.NotAfter = time.Now().Add(time.Hour)
				}
				der, err := x509.CreateCertificate(rand.Reader, &form, &form, &caKey.PublicKey, caKey)
				if err != nil {
					t.Fatal(err)
				}
				o.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
			}
			_, err = Dial(t.Context(), o)
			var bad *tls.CertificateVerificationError
			switch {
			case c.want == "" && errors.As(err, &bad):
				t.Errorf("not taken: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}
