package driver

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// recorded is the environment of trace 03, checkpoint true.
var recorded = map[string]string{
	"LIBPROCESS_IP": "127.0.0.1", "LIBPROCESS_PORT": "0",
	"MESOS_AGENT_ENDPOINT": "127.0.0.1:15031", "MESOS_CHECKPOINT": "1", "MESOS_DIRECTORY": "/var/lib/mesos/runs/97808b6b",
	"MESOS_EXECUTOR_ID": "ex-s03-1-0", "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "5secs",
	"MESOS_FRAMEWORK_ID": "51df2919-0001", "MESOS_HTTP_COMMAND_EXECUTOR": "0", "MESOS_RECOVERY_TIMEOUT": "15mins",
	"MESOS_SANDBOX": "/mnt/mesos/sandbox", "MESOS_SLAVE_ID": "51df2919-S0", "MESOS_SLAVE_PID": "slave(1)@127.0.0.1:15031",
	"MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs",
}

func TestParseEnv(t *testing.T) {
	tests := []struct {
		name   string
		change map[string]string // "": unset
		check  func(Config) bool
		err    string
	}{
		{"as recorded", nil, func(c Config) bool {
			return c.FrameworkID == "51df2919-0001" && c.ExecutorID == "ex-s03-1-0" && c.AgentID == "51df2919-S0" &&
				c.AgentEndpoint == "127.0.0.1:15031" && c.Checkpoint && c.RecoveryTimeout == 15*time.Minute &&
				c.BackoffMax == 2*time.Second && c.ShutdownGrace == 5*time.Second && c.Sandbox == "/mnt/mesos/sandbox" &&
				c.TLS == nil && c.Token == ""
		}, ""},
		{
			"without checkpoint",
			map[string]string{"MESOS_CHECKPOINT": "0", "MESOS_RECOVERY_TIMEOUT": "", "MESOS_SUBSCRIPTION_BACKOFF_MAX": ""},
			func(c Config) bool { return !c.Checkpoint && c.RecoveryTimeout > 0 && c.BackoffMax > 0 }, "",
		},
		{"sandbox from directory", map[string]string{"MESOS_SANDBOX": ""}, func(c Config) bool { return c.Sandbox == "/var/lib/mesos/runs/97808b6b" }, ""},
		{
			"fractional durations",
			map[string]string{"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "1.5mins"},
			func(c Config) bool { return c.ShutdownGrace == 90*time.Second }, "",
		},
		{
			"domain socket without endpoint",
			map[string]string{"MESOS_DOMAIN_SOCKET": "agent.sock", "MESOS_AGENT_ENDPOINT": ""},
			func(c Config) bool { return c.DomainSocket == "agent.sock" }, "",
		},
		{"TLS", map[string]string{"LIBPROCESS_SSL_ENABLED": "true"}, func(c Config) bool { return c.TLS != nil }, ""},
		{"TLS off", map[string]string{"LIBPROCESS_SSL_ENABLED": "0"}, func(c Config) bool { return c.TLS == nil }, ""},
		{"token", map[string]string{tokenVariable: "a.b.c"}, func(c Config) bool { return c.Token == "a.b.c" }, ""},

		{"no framework", map[string]string{"MESOS_FRAMEWORK_ID": ""}, nil, "MESOS_FRAMEWORK_ID not set: this program is a Mesos executor"},
		{
			"nothing",
			map[string]string{"MESOS_FRAMEWORK_ID": "", "MESOS_EXECUTOR_ID": "", "MESOS_AGENT_ENDPOINT": "", "MESOS_DIRECTORY": "", "MESOS_SANDBOX": ""},
			nil, "MESOS_FRAMEWORK_ID, MESOS_EXECUTOR_ID, MESOS_AGENT_ENDPOINT, MESOS_DIRECTORY not set",
		},
		{"Go duration", map[string]string{"MESOS_RECOVERY_TIMEOUT": "15m"}, nil, "MESOS_RECOVERY_TIMEOUT"},
		{"bad checkpoint", map[string]string{"MESOS_CHECKPOINT": "maybe"}, nil, "MESOS_CHECKPOINT"},
		{
			"TLS without the CA file",
			map[string]string{"LIBPROCESS_SSL_ENABLED": "1", "LIBPROCESS_SSL_VERIFY_CERT": "1", "LIBPROCESS_SSL_CA_FILE": "/does/not/exist"},
			nil, "/does/not/exist",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := parseEnv(func(name string) (string, bool) {
				if v, ok := test.change[name]; ok {
					return v, v != ""
				}
				v, ok := recorded[name]
				return v, ok
			})
			switch {
			case test.err != "":
				if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v, expected one line with %q", err, test.err)
				}
			case err != nil:
				t.Error(err)
			case !test.check(cfg):
				t.Errorf("%+v", cfg)
			}
		})
	}
}

// TestTokenIsErased runs this test again as a child that reads its environment as
// an executor does.
func TestTokenIsErased(t *testing.T) {
	const child = "LODE_TEST_TOKEN_CHILD"
	const secret = "eyJhbGciOiJIUzI1NiJ9.secret-claims.signature"
	if os.Getenv(child) != "" {
		cfg, err := FromEnv()
		if err != nil || cfg.Token != secret {
			t.Fatalf("token %q, %v", cfg.Token, err)
		}
		if _, there := os.LookupEnv(tokenVariable); there {
			t.Error("the token is still in the environment")
		}
		if cfg.TokenExposed != nil {
			// A hardened kernel may forbid it; the warning is all that can be done.
			t.Skip("the environment block cannot be overwritten here: ", cfg.TokenExposed)
		}
		environ, err := os.ReadFile("/proc/self/environ")
		if err != nil {
			t.Skip("no /proc here: ", err)
		}
		if bytes.Contains(environ, []byte(secret)) || bytes.Contains(environ, []byte("signature")) {
			t.Error("the token is still in /proc/self/environ")
		}
		if !bytes.Contains(environ, []byte("MESOS_EXECUTOR_ID=ex-s03-1-0")) {
			t.Error("more than the token was erased")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestTokenIsErased$", "-test.v")
	cmd.Env = append(cmd.Env, child+"=1", tokenVariable+"="+secret)
	for k, v := range recorded {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
