package conformance

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// checkTimeout bounds one check beyond the timers that it waits for.
const checkTimeout = 4 * time.Minute

// suite is what the checks of one run against one target share.
type suite struct {
	target      Target
	timing      Timing
	hub         *hub
	master      *client // as a framework
	operator    *client // as an operator
	masterFlags Doc
	agentFlags  Doc
	agents      []agentInfo
	runID       string
	seq         *atomic.Int64
}

type agentInfo struct{ ID, Endpoint string }

func (s *suite) unique() string { return fmt.Sprintf("%s%d", s.runID, s.seq.Add(1)) }

// Run runs the checks whose needs the target meets, in parallel where they do not disturb each
// other, and skips the others with the reason. If fresh is given, checks that need a cluster
// for themselves get a new one from it; otherwise they run one after the other on target.
func Run(t *testing.T, target Target, fresh func(testing.TB, Check) Target) {
	t.Helper()
	RunTopics(t, target, fresh)
}

// RunTopics is Run for those checks whose names begin with one of the topics; none means all.
func RunTopics(t *testing.T, target Target, fresh func(testing.TB, Check) Target, topics ...string) {
	t.Helper()
	if target.ProbePath == "" {
		target.ProbePath = BuildProbe(t, target.Arch)
	}
	s := newSuite(t, target)
	if len(s.agents) == 0 {
		t.Logf("the master at %s has no agent: checks that launch something will fail", target.Master)
	}
	var tally tally
	one := func(check Check, s *suite) bool {
		return t.Run(check.Name, func(t *testing.T) {
			defer tally.count(t)
			s := s
			if why := s.unmet(check); why != "" {
				tally.skip(why)
				t.Skip(why)
			}
			if fresh != nil && check.Needs&(NeedExclusive|NeedFaults|NeedOwn) != 0 {
				own := fresh(t, check)
				own.ProbePath = target.ProbePath
				s = newSuite(t, own)
			}
			s.run(t, check, &tally)
		})
	}
	var alone, together []Check
	for _, check := range Checks() {
		if len(topics) > 0 && !slices.ContainsFunc(topics, func(topic string) bool { return strings.HasPrefix(check.Name, topic) }) {
			continue
		}
		if fresh == nil && check.Needs&(NeedExclusive|NeedFaults|NeedOwn) != 0 {
			alone = append(alone, check)
		} else {
			together = append(together, check)
		}
	}
	// Own workers: t.Parallel would bind the number to the processors, but checks mostly wait.
	queue := make(chan Check)
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for check := range queue {
				one(check, s)
			}
		})
	}
	for _, check := range together {
		queue <- check
	}
	close(queue)
	wg.Wait()
	for _, check := range alone {
		one(check, s)
	}
	t.Log(tally.String())
}

// parallel is how many checks run at a time.
const parallel = 8

func newSuite(t testing.TB, target Target) *suite {
	t.Helper()
	if target.Patience == 0 {
		target.Patience = 30 * time.Second
	}
	if target.Quiet == 0 {
		target.Quiet = 2 * time.Second
	}
	if target.User == "" {
		u, err := user.Current()
		if err != nil {
			t.Fatalf("current user: %v; set Target.User", err)
		}
		target.User = u.Username
	}
	h, err := newHub(target.Advertise, target.ProbePath)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	s := &suite{
		target: target, hub: h, seq: new(atomic.Int64),
		master:   newClient(target.Master, basicAuth(target.Principal, target.Secret)),
		operator: newClient(target.Master, basicAuth(target.Operator, target.OperatorSecret)),
		runID:    fmt.Sprintf("%x", time.Now().UnixNano()&0xffffff),
	}
	t.Cleanup(func() { s.master.close(); s.operator.close() })
	s.discover(t)
	s.timing = target.Timing.resolve(s.masterFlags, s.agentFlags)
	return s
}

// discover reads the flags of the master and of one agent, and the list of agents.
func (s *suite) discover(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s.target.Patience)
	defer cancel()
	// A master just started answers 503 until it has recovered (§2.1 row 3).
	for {
		a, err := s.master.get(ctx, schedulerAPI.path)
		if err != nil {
			t.Fatalf("no master at %s: %v", s.target.Master, err)
		}
		if a.Status == http.StatusTemporaryRedirect {
			t.Fatalf("the master at %s does not lead; the leader is at %s", s.target.Master, a.Header.Get("Location"))
		}
		if a.Status != http.StatusServiceUnavailable || ctx.Err() != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if a, err := s.operator.get(ctx, "/flags"); err == nil {
		s.masterFlags, _ = at(a.doc(), "flags").(Doc)
	}
	// A cluster just started may have no agents yet.
	for {
		if a, err := s.operator.get(ctx, "/slaves"); err == nil {
			s.agents = nil
			for _, slave := range items(a.doc(), "slaves") {
				_, endpoint, _ := strings.Cut(text(slave, "pid"), "@")
				s.agents = append(s.agents, agentInfo{text(slave, "id"), endpoint})
			}
		}
		if len(s.agents) > 0 || ctx.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, a := range s.agents {
		cl := newClient("http://"+a.Endpoint, basicAuth(s.target.Operator, s.target.OperatorSecret))
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		if ans, err := cl.get(ctx, "/flags"); err == nil && ans.Status == 200 {
			s.agentFlags, _ = at(ans.doc(), "flags").(Doc)
		}
		cancel()
		cl.close()
		if s.agentFlags != nil {
			break
		}
	}
}

func (s *suite) launcher() string {
	if l := text(s.agentFlags, "launcher"); l != "" {
		return l
	}
	return s.target.Launcher
}

// unmet returns why the check cannot be run here; "" if it can.
func (s *suite) unmet(check Check) string {
	need := func(n Need) bool { return check.Needs&n != 0 }
	switch {
	case need(NeedFaults) && s.target.Faults == nil:
		return "needs a fault switch (kill or hold a master or an agent), which this target does not have"
	case need(NeedOwn) && !s.target.Own:
		return "changes the cluster itself; only done with -own"
	case need(NeedTwoAgents) && len(s.agents) < 2:
		return "needs two agents"
	case need(NeedPrincipal) && s.target.Principal == "":
		return "needs framework authentication and -principal"
	case need(NeedAnonymous) && s.target.Principal != "":
		return "needs a master without framework authentication"
	case need(NeedPosixLauncher) && s.launcher() != "posix":
		return "known for agents with --launcher=posix only"
	case need(NeedAgentHTTP) && s.agentFlags == nil:
		return "needs the agents' HTTP port to be reachable from here"
	}
	if check.Takes != nil && testing.Short() {
		if d := check.Takes(s.timing); d > 5*time.Second {
			return fmt.Sprintf("waits %v for the cluster's timers; not with -short", d)
		}
	}
	return ""
}

func (s *suite) run(t *testing.T, check Check, y *tally) {
	defer func() {
		if t.Failed() {
			t.Logf("expected by %s", check.Doc)
		}
	}()
	s.judge(t, check, y)
}

// judge runs a check.
func (s *suite) judge(t testing.TB, check Check, y *tally) {
	limit := checkTimeout
	if check.Takes != nil {
		limit += check.Takes(s.timing)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := &C{TB: t, suite: s, ctx: ctx, tally: y}
	defer c.cleanup()
	check.Run(c)
}

// BuildProbe builds the probe executor as a static file for the architecture ("" = this one)
// and returns its path.
func BuildProbe(t testing.TB, arch string) string {
	t.Helper()
	if arch == "" {
		arch = runtime.GOARCH
	}
	path := filepath.Join(t.TempDir(), "probe")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "lode/devmesos/conformance/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the probe executor: %v\n%s", err, out)
	}
	return path
}

// tally counts results for the last line.
type tally struct {
	mu                     sync.Mutex
	passed, failed, absent int
	reasons                map[string]int
}

func (y *tally) count(t *testing.T) {
	y.mu.Lock()
	defer y.mu.Unlock()
	switch {
	case t.Skipped():
		y.absent++
	case t.Failed():
		y.failed++
	default:
		y.passed++
	}
}

func (y *tally) skip(why string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.reasons == nil {
		y.reasons = map[string]int{}
	}
	y.reasons[why]++
}

func (y *tally) String() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "conformance: %d passed, %d failed, %d skipped", y.passed, y.failed, y.absent)
	var lines []string
	for why, n := range y.reasons {
		lines = append(lines, fmt.Sprintf("\n\t%d × %s", n, why))
	}
	slices.Sort(lines)
	return b.String() + strings.Join(lines, "")
}
