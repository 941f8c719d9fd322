package scheduler_test

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lode/scheduler"
	"lode/scheduler/internal/fakemaster"
)

func TestNewFails(t *testing.T) {
	m := fakemaster.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	locked := config(t, m.URL())
	holder, err := scheduler.New(locked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { holder.Close() })
	for _, test := range []struct {
		name   string
		change func(*scheduler.Config)
		want   string
		is     error
	}{
		{"no master", func(c *scheduler.Config) { c.Masters = nil }, "--master", nil},
		{"bad master", func(c *scheduler.Config) { c.Masters = []string{"ftp://z/mesos"} }, "ftp://z/mesos", nil},
		{"no state folder", func(c *scheduler.Config) { c.StateDir = "" }, "--state-dir", nil},
		{"no upstream", func(c *scheduler.Config) { c.Upstreams = nil }, "--node", nil},
		{"password in URL", func(c *scheduler.Config) { c.Upstreams[0].URL = "node:http://u:hunter2@h" }, "--node-password-file", nil},
		{"no address", func(c *scheduler.Config) { c.PayoutAddress = "" }, "--payout-address", nil},
		{"missing executor", func(c *scheduler.Config) { c.Executor = "/nowhere/lode-executor" }, "/nowhere/lode-executor", nil},
		{"taken port", func(c *scheduler.Config) { c.Listen = taken.Addr().String() }, "--listen", nil},
		{"negative grace", func(c *scheduler.Config) { c.ProxyGrace = -1 }, "--proxy-grace", nil},
		{"long failover timeout", func(c *scheduler.Config) { c.FailoverTimeout = 1 << 62 }, "--failover-timeout", nil},
		{"held back too much", func(c *scheduler.Config) { c.HoldBackCPUs = -1 }, "--hold-back-cpus", nil},
		{"secret alone", func(c *scheduler.Config) { c.Secret = "x" }, "--principal", nil},
		{"bad advertised address", func(c *scheduler.Config) { c.ArtifactAdvertise = "http://x/" }, "--artifact-advertise", nil},
		{"no advertised host", func(c *scheduler.Config) { c.ArtifactAdvertise = ":80" }, "--artifact-advertise", nil},
		{"no advertised port", func(c *scheduler.Config) { c.ArtifactAdvertise = "h:http" }, "--artifact-advertise", nil},
		{"state in use", func(c *scheduler.Config) { c.StateDir = locked.StateDir }, locked.StateDir, scheduler.ErrLocked},
		{"corrupt state", func(c *scheduler.Config) { corrupt(t, c, `{"version":1,`) }, "state.json", scheduler.ErrState},
		{"foreign state", func(c *scheduler.Config) { corrupt(t, c, `{}`) }, "version", scheduler.ErrState},
		{"newer state", func(c *scheduler.Config) { corrupt(t, c, `{"version":99,"worker_key":"AAAA"}`) }, "newer", scheduler.ErrState},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(t, m.URL())
			test.change(&c)
			_, err := scheduler.New(c)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q, want %q in it", err, test.want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %q is no %q", err, test.is)
			}
		})
	}
}

func corrupt(t *testing.T, c *scheduler.Config, state string) {
	t.Helper()
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.StateDir, "state.json"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAdvertisedAddress(t *testing.T) {
	m := fakemaster.New(t)
	for _, test := range []struct{ listen, advertise, want string }{
		{"127.0.0.1:0", "", "127.0.0.1:PORT"},
		{":0", "", "127.0.0.1:PORT"}, // towards a master on loopback
		{"127.0.0.1:0", "example.org:99", "example.org:99"},
		{"127.0.0.1:0", "example.org", "example.org:PORT"},
		{"127.0.0.1:0", "[fe80::1]:7", "[fe80::1]:7"},
		{"127.0.0.1:0", "example.org:0", "example.org:PORT"},
	} {
		c := config(t, m.URL())
		c.Listen, c.ArtifactAdvertise = test.listen, test.advertise
		s, err := scheduler.New(c)
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		_, port, _ := net.SplitHostPort(s.Addr())
		want := "http://" + strings.ReplaceAll(test.want, "PORT", port) + "/artifacts/"
		if got := s.Status().Artifact.URL; !strings.HasPrefix(got, want) {
			t.Errorf("%+v: %s, want %s", test, got, want)
		}
		s.Close()
	}
}

func TestLoopbackListenerForRemoteMasterIsWarnedOf(t *testing.T) {
	c := config(t, "http://192.0.2.1:5050") // TEST-NET: nothing is sent to it by New
	log := new(lockedBuffer)
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	s, err := scheduler.New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if conn, err := net.Dial("udp", "192.0.2.1:5050"); err != nil {
		t.Skipf("no route to other machines here: %v", err)
	} else {
		conn.Close()
	}
	if !strings.Contains(log.String(), "loopback") {
		t.Errorf("no warning in the log: %s", log)
	}
}
