package stratum

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// CertificateFault says in words what is wrong with the certificate of the other side, and
// what to do, where err is of its verification. whose is what its signer is to be given
// as: "the pool's CA".
func CertificateFault(err error, whose string) (text string, ok bool) {
	var (
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &hostname) && hostname.Certificate != nil:
		c := hostname.Certificate
		names := append([]string(nil), c.DNSNames...)
		for _, ip := range c.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			return fmt.Sprintf("its certificate names no host: it has no subject alternative name, and its common name %.64q does not count: "+
				"it must be made anew with %q as subjectAltName", c.Subject.CommonName, hostname.Host), true
		}
		return fmt.Sprintf("its certificate is for %.200s, not for %q: write one of them in its address, or have it made anew", strings.Join(names, ", "), hostname.Host), true
	case errors.As(err, &invalid) && invalid.Cert != nil && invalid.Reason == x509.Expired:
		what := "has expired"
		if time.Now().Before(invalid.Cert.NotBefore) {
			what = "is not valid yet"
		}
		return fmt.Sprintf("its certificate %s: it is valid from %s to %s (or is this machine's clock wrong?)", what,
			invalid.Cert.NotBefore.UTC().Format(time.DateOnly), invalid.Cert.NotAfter.UTC().Format(time.DateOnly)), true
	case errors.As(err, &invalid):
		return fmt.Sprintf("its certificate is not valid: %v", invalid), true
	case errors.As(err, &authority) && authority.Cert != nil:
		if c := authority.Cert; c.Issuer.String() == c.Subject.String() {
			return fmt.Sprintf("its certificate is not trusted: it is signed by itself (%.100s): give it as %s", c.Subject, whose), true
		}
		return fmt.Sprintf("its certificate is not trusted: it is signed by %.100q: give that one's as %s", authority.Cert.Issuer, whose), true
	case errors.As(err, &authority):
		return fmt.Sprintf("its certificate is not trusted: give it, or that of who signed it, as %s", whose), true
	}
	return "", false
}
