package conformance

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lode/devmesos"
)

// The flags of TestCluster. Without -master it is skipped.
var (
	masterURL      = flag.String("master", "", "URL of the leading master of the cluster to check, http://host:port")
	followers      = flag.String("followers", "", "URLs of masters that do not lead, separated by commas")
	advertise      = flag.String("advertise", "", "host or host:port under which the agents reach this machine (default 127.0.0.1)")
	asUser         = flag.String("user", "", "user that executors run as (default: the user of this process)")
	principal      = flag.String("principal", "", "principal of frameworks, if the master authenticates them")
	secret         = flag.String("secret", "", "its secret")
	operator       = flag.String("operator", "", "principal for the operator endpoints, if they are authenticated")
	operatorSecret = flag.String("operator-secret", "", "its secret")
	faults         = flag.String("faults", "", "program that breaks the cluster on demand; see docs/conformance.md")
	own            = flag.Bool("own", false, "the cluster may be marked: maintenance schedules, drained agents")
	patience       = flag.Duration("patience", 30*time.Second, "how long an event that must come may take")
	quiet          = flag.Duration("quiet", 2*time.Second, "how long to wait to see that an event does not come")
	agentArch      = flag.String("agent-arch", "", "GOARCH of the agents (default: this machine's)")
)

func TestMain(m *testing.M) {
	devmesos.LauncherMain()
	os.Setenv(leakMarker, "must not reach executors")
	goleak.VerifyTestMain(m)
}

// TestCluster checks a cluster that runs already.
func TestCluster(t *testing.T) {
	if *masterURL == "" {
		t.Skip("no cluster given; use -master=http://host:5050 (make conformance MASTER=...)")
	}
	target := Target{
		Master: *masterURL, Advertise: *advertise, User: *asUser, Own: *own, Arch: *agentArch, Patience: *patience, Quiet: *quiet,
		Principal: *principal, Secret: *secret, Operator: *operator, OperatorSecret: *operatorSecret,
	}
	if *followers != "" {
		target.Followers = strings.Split(*followers, ",")
	}
	if *faults != "" {
		target.Faults = CommandFaults(*faults)
	}
	Run(t, target, nil)
}
