package driver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// tlsFromEnv reads libprocess' variables (docs/ssl.md of Apache Mesos); nil: the
// agent speaks plain HTTP. An executor gets them from its own CommandInfo or from
// the agent's --executor_environment_variables: they are not inherited.
//
// As in Mesos the agent's certificate is checked only if
// LIBPROCESS_SSL_VERIFY_SERVER_CERT (before 1.9: LIBPROCESS_SSL_VERIFY_CERT) is set.
func tlsFromEnv(get func(string) string) (*tls.Config, error) {
	flag := func(names ...string) (bool, error) {
		for _, name := range names {
			if on, err := parseBool(name, get(name)); on || err != nil {
				return on, err
			}
		}
		return false, nil
	}
	on, err := flag("LIBPROCESS_SSL_ENABLED", "SSL_ENABLED")
	if err != nil || !on {
		return nil, err
	}
	verify, err := flag("LIBPROCESS_SSL_VERIFY_SERVER_CERT", "LIBPROCESS_SSL_VERIFY_CERT")
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if key, cert := get("LIBPROCESS_SSL_KEY_FILE"), get("LIBPROCESS_SSL_CERT_FILE"); key != "" && cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("LIBPROCESS_SSL_CERT_FILE and _KEY_FILE: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	// The check of crypto/tls would insist on the IP address of the endpoint in
	// the certificate; libprocess also takes the host's name.
	cfg.InsecureSkipVerify = true
	if !verify {
		return cfg, nil
	}
	roots, err := caFromEnv(get("LIBPROCESS_SSL_CA_FILE"), get("LIBPROCESS_SSL_CA_DIR"))
	if err != nil {
		return nil, err
	}
	endpoint := get("MESOS_AGENT_ENDPOINT")
	cfg.VerifyConnection = func(state tls.ConnectionState) error { return verifyAgent(state, endpoint, roots) }
	return cfg, nil
}

func caFromEnv(file, dir string) (*x509.CertPool, error) {
	var files []string
	if file != "" {
		files = append(files, file)
	}
	if dir != "" {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("LIBPROCESS_SSL_CA_DIR: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(files) == 0 {
		return nil, nil // the system's
	}
	pool := x509.NewCertPool()
	found := false
	for _, f := range files {
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("LIBPROCESS_SSL_CA_FILE: %w", err)
		}
		found = pool.AppendCertsFromPEM(pem) || found
	}
	if !found {
		return nil, fmt.Errorf("no certificate in %s", strings.Join(files, ", "))
	}
	return pool, nil
}

func verifyAgent(state tls.ConnectionState, endpoint string, roots *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the agent shows no certificate")
	}
	leaf := state.PeerCertificates[0]
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(options); err != nil {
		return fmt.Errorf("certificate of the agent: %w", err)
	}
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		host = endpoint
	}
	hostErr := leaf.VerifyHostname(host)
	if hostErr == nil {
		return nil
	}
	// Mesos' default scheme ("legacy") compares the reverse name of the address.
	names, _ := net.LookupAddr(host)
	for _, name := range names {
		if leaf.VerifyHostname(strings.TrimSuffix(name, ".")) == nil {
			return nil
		}
	}
	return fmt.Errorf("certificate of the agent: %w", hostErr)
}
