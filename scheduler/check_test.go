package scheduler_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lode/internal/freeport"
	"lode/scheduler"
	"lode/scheduler/internal/fakemaster"
)

// leading is a master that answers what lode scheduler check asks.
type leading struct {
	flags     string // JSON
	agents    int
	principal string // "": anybody may subscribe
	follows   string // another leads, at this host:port
}

func (l leading) start(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		to := l.follows
		if to == "" {
			to = strings.TrimPrefix(server.URL, "http://")
		}
		w.Header().Set("Location", "//"+to)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("POST /api/v1/scheduler", func(w http.ResponseWriter, r *http.Request) {
		if name, secret, _ := r.BasicAuth(); l.principal != "" && (name != l.principal || secret != masterSecret) {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		http.Error(w, "Expecting 'Content-Type' to be present", http.StatusBadRequest)
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":"1.11.0"}`) })
	mux.HandleFunc("GET /flags", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"flags":{%s}}`, l.flags) })
	mux.HandleFunc("GET /metrics/snapshot", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"master/slaves_active":%d.0,"other":1.5}`, l.agents)
	})
	return server.URL
}

// program is a file that begins like one for Linux.
func program(machine uint16, interpreter string) []byte {
	b := make([]byte, 64+56, 200)
	copy(b, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(b[16:], 2) // ET_EXEC
	le.PutUint16(b[18:], machine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint16(b[58:], 64)
	if interpreter != "" {
		le.PutUint32(b[64:], 3) // PT_INTERP
		le.PutUint64(b[64+8:], uint64(len(b)))
		le.PutUint64(b[64+32:], uint64(len(interpreter)+1))
		b = append(append(b, interpreter...), 0)
	}
	return b
}

func TestCheck(t *testing.T) {
	const amd64, arm64, ppc = 62, 183, 21
	for _, test := range []struct {
		name   string
		change func(t *testing.T, c *scheduler.Config)
		ok     []string // what findings say, in part
		failed []string
	}{
		{"all is well", func(t *testing.T, c *scheduler.Config) {
			c.Masters = []string{leading{agents: 3}.start(t)}
		}, []string{"it leads", "Mesos 1.11.0, 3 agents", "static, linux/amd64", "writable", "free", "comes to this machine"}, nil},
		{"two masters, of which one is away", func(t *testing.T, c *scheduler.Config) {
			m := leading{agents: 1}.start(t)
			c.Masters = []string{m, leading{follows: strings.TrimPrefix(m, "http://")}.start(t), "http://127.0.0.1:1"}
		}, []string{"it leads", "it says that http://127.0.0.1", "Mesos 1.11.0, 1 agents"}, []string{"master http://127.0.0.1:1: "}},
		{
			"no master", func(t *testing.T, c *scheduler.Config) { c.Masters = []string{"http://127.0.0.1:1"} }, nil,
			[]string{"connection refused", "masters: no master leads"},
		},
		{"a secret is wanted", func(t *testing.T, c *scheduler.Config) {
			c.Masters = []string{leading{principal: "lode"}.start(t)}
		}, nil, []string{"it wants a principal"}},
		{"another secret", func(t *testing.T, c *scheduler.Config) {
			c.Masters, c.Principal, c.Secret = []string{leading{principal: "lode"}.start(t)}, "lode", "wrong"
		}, nil, []string{`principal "lode"`}},
		{"the secret", func(t *testing.T, c *scheduler.Config) {
			c.Masters, c.Principal, c.Secret = []string{leading{principal: "lode", agents: 1}.start(t)}, "lode", masterSecret
		}, []string{"Mesos 1.11.0"}, nil},
		{"a role that the master does not know", func(t *testing.T, c *scheduler.Config) {
			c.Masters = []string{leading{agents: 1, flags: `"roles":"web,batch"`}.start(t)}
		}, nil, []string{"it knows the roles batch, web (its --roles), and not mining (--role)"}},
		{"root", func(t *testing.T, c *scheduler.Config) {
			c.Masters, c.User = []string{leading{agents: 1, flags: `"root_submissions":"false"`}.start(t)}, "root"
		}, nil, []string{"--user"}},
		{"no agent", func(t *testing.T, c *scheduler.Config) { c.Masters = []string{leading{}.start(t)} }, nil, []string{"it has no agent"}},
		{"something else at the master's address", func(t *testing.T, c *scheduler.Config) {
			s := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(s.Close)
			c.Masters = []string{s.URL}
		}, nil, []string{"no master leads"}},
		{"a script for an executor", executorOf("#!/bin/sh\n"), nil, []string{"executor", "it is no program for Linux"}},
		{
			"an executor of shared libraries", executorOf(string(program(amd64, "/lib64/ld-linux-x86-64.so.2"))), nil,
			[]string{"it needs /lib64/ld-linux-x86-64.so.2 and shared libraries", "CGO_ENABLED=0"},
		},
		{"an executor for arm64", executorOf(string(program(arm64, ""))), []string{"static, linux/arm64"}, nil},
		{"the beginning of an executor", executorOf(string(program(amd64, "/lib")[:80])), nil, []string{"the beginning of a program"}},
		{"an executor for something else", executorOf(string(program(ppc, ""))), nil, []string{"want amd64 or arm64"}},
		{"no executor", func(t *testing.T, c *scheduler.Config) {
			c.Masters, c.Executor = []string{leading{agents: 1}.start(t)}, filepath.Join(t.TempDir(), "none")
		}, nil, []string{"there is no executor binary"}},
		{"a state folder that is a file", func(t *testing.T, c *scheduler.Config) {
			c.Masters = []string{leading{agents: 1}.start(t)}
			c.StateDir = filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(c.StateDir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"state folder"}},
		{"a name that is unknown", func(t *testing.T, c *scheduler.Config) {
			c.Masters, c.ArtifactAdvertise = []string{leading{agents: 1}.start(t)}, "no-such-host.invalid:1"
		}, nil, []string{"agents will hardly know the name"}},
		{"an address that is somebody else's", func(t *testing.T, c *scheduler.Config) {
			s := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(s.Close)
			c.Masters, c.ArtifactAdvertise = []string{leading{agents: 1}.start(t)}, strings.TrimPrefix(s.URL, "http://")
		}, nil, []string{"does not come to this machine"}},
		{"an address that is none", func(t *testing.T, c *scheduler.Config) {
			c.Masters, c.ArtifactAdvertise = []string{leading{agents: 1}.start(t)}, "0.0.0.0"
		}, nil, []string{"0.0.0.0 is no address"}},
		{"a port that something else has", func(t *testing.T, c *scheduler.Config) {
			s := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(s.Close)
			c.Masters, c.Listen = []string{leading{agents: 1}.start(t)}, strings.TrimPrefix(s.URL, "http://")
		}, nil, []string{"by something that is no scheduler"}},
		{"a certificate that is over", certificateFor(-time.Hour, "h1"), nil, []string{"it was good until"}},
		{"a certificate that is soon over", certificateFor(24*time.Hour, "h1"), nil, []string{"only"}},
		{"a certificate of nobody", certificateFor(1000 * time.Hour), nil, []string{"it names no host"}},
		{"a good certificate", certificateFor(1000*time.Hour, "h1"), []string{"for h1, until"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(t)
			executorOf(string(program(amd64, "")))(t, &c)
			test.change(t, &c)
			var ok, failed strings.Builder
			for _, f := range scheduler.Check(t.Context(), c) {
				if f.Err != nil {
					fmt.Fprintf(&failed, "%s: %v\n", f.What, f.Err)
				} else {
					fmt.Fprintf(&ok, "%s: %s\n", f.What, f.Detail)
				}
			}
			for _, part := range test.ok {
				if !strings.Contains(ok.String(), part) {
					t.Errorf("%q is not said; well: %s\nfailed: %s", part, &ok, &failed)
				}
			}
			for _, part := range test.failed {
				if !strings.Contains(failed.String(), part) {
					t.Errorf("%q is not complained of; well: %s\nfailed: %s", part, &ok, &failed)
				}
			}
			if test.failed == nil && failed.Len() > 0 {
				t.Errorf("complaints: %s", &failed)
			}
		})
	}
}

func executorOf(content string) func(*testing.T, *scheduler.Config) {
	return func(t *testing.T, c *scheduler.Config) {
		if len(c.Masters) == 0 {
			c.Masters = []string{leading{agents: 1}.start(t)}
		}
		if err := os.WriteFile(c.Executor, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func certificateFor(life time.Duration, names ...string) func(*testing.T, *scheduler.Config) {
	return func(t *testing.T, c *scheduler.Config) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lode"}, DNSNames: names,
			NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(life),
		}
		der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		certificate := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		c.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }}
	}
}

// TestCheckBesideTheScheduler: what runs has the port and the folder.
func TestCheckBesideTheScheduler(t *testing.T) {
	m := fakemaster.New(t)
	c := config(t, m.URL())
	c.Listen = freeAddress(t)
	run(t, m, c)
	var said []string
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		said = nil
		for _, f := range scheduler.Check(t.Context(), c) {
			said = append(said, fmt.Sprintf("%s: %s %v", f.What, f.Detail, f.Err))
		}
		all := strings.Join(said, "\n")
		if strings.Contains(all, "a scheduler answers there") && strings.Contains(all, "a request there comes to this machine") &&
			strings.Contains(all, "in use by the scheduler at http://"+c.Listen) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(all)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ports, err := freeport.On("127.0.0.1", 1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", ports[0])
}
