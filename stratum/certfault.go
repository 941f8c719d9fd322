package stratum

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
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
		switch {
		case net.ParseIP(hostname.Host) != nil && slices.Contains(c.DNSNames, hostname.Host):
			return fmt.Sprintf("its certificate has %[1]q as a name (DNS:%[1]s), where it must be an address (IP:%[1]s): it must be made anew", hostname.Host), true
		case len(names) == 0:
			return fmt.Sprintf("its certificate names no host: it has no subject alternative name that is one, and its common name %.64q does not count: "+
				"it must be made anew with %q as subjectAltName", c.Subject.CommonName, hostname.Host), true
		}
		return fmt.Sprintf("its certificate is for %.200s, not for %q: write one of them in its address, or have it made anew", strings.Join(names, ", "), hostname.Host), true
	case errors.As(err, &invalid) && invalid.Cert != nil && invalid.Reason == x509.Expired:
		which, what := "its certificate", "has expired"
		if shown := (*tls.CertificateVerificationError)(nil); errors.As(err, &shown) && !invalid.Cert.Equal(shown.UnverifiedCertificates[0]) {
			which = fmt.Sprintf("the certificate of its signer %.100q", invalid.Cert.Subject)
		}
		if time.Now().Before(invalid.Cert.NotBefore) {
			what = "is not valid yet"
		}
		return fmt.Sprintf("%s %s: it is valid from %s to %s (or is this machine's clock wrong?)", which, what,
			invalid.Cert.NotBefore.UTC().Format(time.DateOnly), invalid.Cert.NotAfter.UTC().Format(time.DateOnly)), true
	case errors.As(err, &invalid):
		return fmt.Sprintf("its certificate is not valid: %v", invalid), true
	case errors.As(err, &authority) && authority.Cert != nil:
		if strings.Contains(err.Error(), "candidate authority certificate") { // crypto/x509 says so in words alone
			return fmt.Sprintf("its certificate is not trusted: it is not signed by the %.100q that is given as %s, but by another one of that name (or in a way that is not taken any more)",
				authority.Cert.Issuer, whose), true
		}
		if c := authority.Cert; c.Issuer.String() == c.Subject.String() {
			return fmt.Sprintf("its certificate is not trusted: it is signed by itself (%.100s): give it as %s", c.Subject, whose), true
		}
		return fmt.Sprintf("its certificate is not trusted: it is signed by %.100q: give that one's as %s", authority.Cert.Issuer, whose), true
	case errors.As(err, &authority):
		return fmt.Sprintf("its certificate is not trusted: give it, or that of who signed it, as %s", whose), true
	}
	return "", false
}
