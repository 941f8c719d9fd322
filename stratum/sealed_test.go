package stratum

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sealer writes records of TLS 1.3 with AES-128 as a client may, but no library does.
type sealer struct {
	t      *testing.T
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	number uint64
	out    []byte // that is to be sent
}

func (s *sealer) expand(secret []byte, label string, length int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(length))
	info = append(append(info, byte(len("tls13 "+label))), "tls13 "+label...)
	key, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), length)
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

func (s *sealer) use(secret []byte) {
	block, err := aes.NewCipher(s.expand(secret, "key", 16))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		s.t.Fatal(err)
	}
	s.secret, s.iv, s.number = secret, s.expand(secret, "iv", 12), 0
}

// seal makes a record of a kind with some zeros after what it holds.
func (s *sealer) seal(kind byte, content string, padding int) {
	inner := append(append([]byte(content), kind), make([]byte, padding)...)
	header := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(inner)+16))
	nonce := bytes.Clone(s.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(s.number >> (56 - 8*i))
	}
	s.number++
	s.out = s.aead.Seal(append(s.out, header...), nonce, inner, header)
}

const (
	handshakeRecord = 22
	dataRecord      = 23
)

func (s *sealer) updateKey() {
	s.seal(handshakeRecord, "\x18\x00\x00\x01\x00", 0)
	s.use(s.expand(s.secret, "traffic upd", 32))
}

// A miner pays for what TLS makes the server compute beside its lines: other keys all the time,
// or records that are mostly padding. Shares in records of their own are not dearer for it.
func TestSealedNothings(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certFile, keyFile, "pool")
	cert, err := LoadCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		rounds int
		round  func(s *sealer)
		free   bool
	}{
		"shares": {300, func(s *sealer) { s.seal(dataRecord, submitLine, 0) }, true},
		"keys": {300, func(s *sealer) {
			for range 15 {
				s.updateKey()
			}
			s.seal(dataRecord, " ", 0)
		}, false},
		"padding": {300, func(s *sealer) { s.seal(dataRecord, " ", 10_000) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewServer(ServerOptions{}, &testPool{submit: func(*Conn, *Share) error { return nil }})
			addr := serveOn(t, s, func(ctx context.Context, l net.Listener) error { return s.ServeTLS(ctx, l, cert.Config()) })
			base, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer base.Close()
			var secrets strings.Builder
			conn := tls.Client(base, &tls.Config{InsecureSkipVerify: true, KeyLogWriter: &secrets})
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			if suite := conn.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
				t.Skip("this machine has other ciphers: ", tls.CipherSuiteName(suite))
			}
			seal := &sealer{t: t}
			for line := range strings.Lines(secrets.String()) {
				if words := strings.Fields(line); words[0] == "CLIENT_TRAFFIC_SECRET_0" {
					secret, _ := hex.DecodeString(words[2])
					seal.use(secret)
				}
			}
			seal.seal(dataRecord, subscribeLine+authorizeLine, 0)
			for range c.rounds {
				c.round(seal)
			}
			seal.seal(dataRecord, `{"id":"end","method":"mining.ping"}`+"\n", 0)
			go func() { _, _ = base.Write(seal.out) }()
			ended := make(chan error, 1)
			go func() {
				lines := bufio.NewScanner(conn)
				for lines.Scan() && !strings.Contains(lines.Text(), `"end"`) {
				}
				ended <- lines.Err()
			}()
			for {
				throttled := s.Stats().Throttled.Load() > 0
				select {
				case err := <-ended:
					if err != nil || throttled == c.free {
						t.Errorf("taken to the end, %v: charged %v", err, throttled)
					}
					return
				case <-time.After(time.Millisecond):
					if throttled && !c.free {
						return
					}
				}
			}
		})
	}
}
