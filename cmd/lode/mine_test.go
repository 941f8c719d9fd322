package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum"
)

// minePool is a pool with one easy job, which checks every share.
type minePool struct {
	t      *testing.T
	job    *stratum.Job
	shares chan stratum.Share
	login  chan string
}

func (p *minePool) Connected(*stratum.Conn) error { return nil }

func (p *minePool) Subscribe(*stratum.Conn, string) (stratum.Subscription, error) {
	return stratum.Subscription{SessionID: "s", Extranonce1: []byte{1, 2, 3, 4}, Extranonce2Size: 8}, nil
}

func (p *minePool) Authorize(_ *stratum.Conn, user, password string) error {
	select {
	case p.login <- user + " " + password:
	default:
	}
	return nil
}

const mineDifficulty stratum.Difficulty = 1e-6

func (p *minePool) Authorized(c *stratum.Conn) {
	c.SetDifficulty(mineDifficulty)
	c.Notify(stratum.EncodeJob(p.job))
}

func (p *minePool) Submit(c *stratum.Conn, s *stratum.Share) error {
	version, err := p.job.ShareVersion(c.VersionMask(), s)
	if err != nil {
		p.t.Error(err)
		return err
	}
	header, _ := p.job.HeaderBytes(nil, []byte{1, 2, 3, 4}, s.Extranonce2, version, s.Time, s.Nonce)
	hash := chainhash.DoubleHashH(header[:])
	if target := mineDifficulty.Target(); !target.MetBy(&hash) {
		p.t.Errorf("share %+v has hash %v", s, hash)
	}
	select {
	case p.shares <- *s:
	default:
	}
	return nil
}

func (p *minePool) SuggestDifficulty(*stratum.Conn, stratum.Difficulty, bool) {}
func (p *minePool) Transactions(*stratum.Conn, string) ([][]byte, error) {
	return nil, &stratum.Error{Code: stratum.CodeOther, Text: "none"}
}
func (p *minePool) Disconnected(*stratum.Conn, error) {}

func startMinePool(t *testing.T) (*minePool, string) {
	t.Helper()
	coinbase, err := hex.DecodeString("01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff18510c")
	if err != nil {
		t.Fatal(err)
	}
	p := &minePool{
		t:      t,
		job:    &stratum.Job{ID: "1", Coinbase1: coinbase, Version: 0x20000000, Bits: 0x1d00ffff, Time: uint32(time.Now().Unix()), Clean: true},
		shares: make(chan stratum.Share, 1), login: make(chan string, 1),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := stratum.NewServer(stratum.ServerOptions{}, p)
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.Serve(context.Background(), l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		group.Wait()
	})
	return p, "stratum+tcp://" + l.Addr().String()
}

func TestMine(t *testing.T) {
	for name, c := range map[string]struct {
		flags   []string
		rolling bool
	}{
		"version rolling": {nil, true},
		"nonces only":     {[]string{"--no-version-rolling"}, false},
		"second pool":     {[]string{"--pool", "stratum+tcp://127.0.0.1:1"}, true}, // port 1 refuses
	} {
		t.Run(name, func(t *testing.T) {
			p, url := startMinePool(t)
			password := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"mine"}, c.flags...)
			args = append(args, "--pool", url, "--user", "me.rig", "--password-file", password, "--threads", "1", "--kernel", "portable", "--report-interval", "50ms")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var stdout, stderr bytes.Buffer
			code := make(chan int)
			go func() { code <- run(ctx, args, &stdout, &stderr) }()
			if login := <-p.login; login != "me.rig secret" {
				t.Errorf("login %q", login)
			}
			share := <-p.shares
			if share.Worker != "me.rig" || share.JobID != "1" || share.HasVersionBits != c.rolling {
				t.Errorf("share %+v", share)
			}
			cancel()
			if c := <-code; c != exitInterrupted {
				t.Errorf("exit code %d: %s", c, stderr.String())
			}
			if !strings.Contains(stdout.String(), "mining with 1 thread of kernel portable") || !strings.Contains(stdout.String(), "accepted ") {
				t.Errorf("printed %s", stdout.String())
			}
		})
	}
}

func TestMineUsage(t *testing.T) {
	const url = "stratum+tcp://127.0.0.1:1"
	for text, args := range map[string][]string{
		"want stratum+tcp://host:port": {"--pool", "http://127.0.0.1:1", "--user", "me"},
		"no kernel is called":          {"--pool", url, "--user", "me", "--kernel", "nonsense"},
		"--difficulty":                 {"--pool", url, "--user", "me", "--difficulty", "-1"},
		"--password-file":              {"--pool", url, "--user", "me", "--password-file", filepath.Join(t.TempDir(), "none")},
		"--pool-ca":                    {"--pool", url, "--user", "me", "--pool-ca", filepath.Join(t.TempDir(), "none")},
		"missing flags: --pool":        {"--user", "me"},
		"threads":                      {"--pool", url, "--user", "me", "--threads", "-1"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{"mine"}, args...), &stdout, &stderr); code != 2 || !strings.Contains(stderr.String(), text) {
			t.Errorf("%q: exit code %d, %s", args, code, stderr.String())
		}
	}
}
