package core

import (
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"pgregory.net/rapid"

	"lode/message"
)

func TestBusyness(t *testing.T) {
	now := simEpoch
	var b busyness
	sees := func(share float64, for_ time.Duration) (left bool) {
		for end := now.Add(for_); now.Before(end); now = now.Add(3 * time.Second) {
			left = b.see(now, share) || left
		}
		return left
	}
	if sees(0.7, time.Hour) || sees(0.9, 20*time.Second) || sees(0.5, 3*time.Second) || sees(0.9, 20*time.Second) {
		t.Error("left for a load that does not last")
	}
	for i, want := range []time.Duration{busyFirst, 2 * busyFirst, 4 * busyFirst} {
		sees(0.1, time.Minute)
		if !sees(0.9, 36*time.Second) {
			t.Fatalf("not left, time %d", i)
		}
		if got := b.until.Sub(b.left); got != want {
			t.Errorf("left for %v, want %v", got, want)
		}
	}
	for range 20 {
		sees(0.9, time.Minute)
	}
	if got := b.until.Sub(b.left); got != busyMost {
		t.Errorf("left for %v at last", got)
	}
	sees(0.1, busyForget+time.Minute)
	sees(0.9, 36*time.Second)
	if got := b.until.Sub(b.left); got != busyFirst {
		t.Errorf("left for %v after a long quiet time", got)
	}
}

// reportOthers says what others use of a miner's machine with 4 cpus.
func (s *script) reportOthers(task string, sequence uint64, milli uint32) {
	s.say(task, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Sequence: sequence, UptimeMs: sequence * 3000,
		Detail: &message.Report_Miner{Miner: &message.MinerReport{
			ProxiesEpoch: s.c.state.Proxies.Epoch, Host: &message.Host{Cpus: 4, OthersMilli: milli},
		}},
	}}})
}

// A miner in idle mode leaves a busy agent, whose offers are declined for a while, and
// comes back.
func TestIdleMode(t *testing.T) {
	for _, test := range []struct {
		name            string
		mode, revocable bool
		others          uint32
		leaves          bool
	}{
		{"busy", true, false, 3500, true},
		{"idle", true, false, 500, false},
		{"not in idle mode", false, false, 3500, false},
		{"revocable", true, true, 3500, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			_, miners := s.mining("S9")
			s.c.set.IdleMode = test.mode
			s.c.state.Tasks[miners[0]].Revocable = test.revocable
			for i := range uint64(12) {
				s.pass(3 * time.Second)
				s.reportOthers(miners[0], i+2, test.others)
			}
			kills := len(s.calls(scheduler.Call_KILL)) > 0 || s.c.state.Tasks[miners[0]].Kill != ""
			if kills != test.leaves {
				t.Fatalf("killed: %v", kills)
			}
			if !test.leaves {
				return
			}
			s.update(miners[0], mesos.TASK_KILLED)
			offer := func(id string) {
				s.step(Offers{[]mesos.Offer{{
					ID: mesos.OfferID{Value: id}, AgentID: mesos.AgentID{Value: "S9"}, Hostname: "h",
					AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
					Resources:      []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 4096, "")},
				}}})
			}
			offer("O1")
			if n := len(s.launched()); n != 0 || !strings.Contains(s.why(), "left to other work") {
				t.Errorf("%d launches on a busy agent, %q", n, s.why())
			}
			// Mesos offers it again as soon as it may have a miner, and not much later.
			declines := s.calls(scheduler.Call_DECLINE)
			if refused := declines[len(declines)-1].Decline.Filters.GetRefuseSeconds(); refused > busyFirst.Seconds() {
				t.Errorf("refused for %v s", refused)
			}
			s.pass(busyFirst)
			offer("O2")
			if n := len(s.launched()); n != 1 {
				t.Errorf("%d launches later: %q", n, s.why())
			}
		})
	}
}

func TestRoleNeed(t *testing.T) {
	type look struct {
		after        time.Duration // of the one before
		lacked, give int64
	}
	const back = -1 // nothing is given, and before miners came back to where something was
	for name, looks := range map[string][]look{
		"nobody lacks anything":           {{0, 0, 0}, {10 * time.Second, 0, 0}, {time.Minute, 99, 0}, {time.Minute, 99, 0}},
		"a role that lacks cpus for long": {{0, 4000, 0}, {20 * time.Second, 4000, 0}, {10 * time.Second, 4000, 4000}, {10 * time.Second, 0, 0}},
		"what it lacked all the while":    {{0, 8000, 0}, {20 * time.Second, 2000, 0}, {20 * time.Second, 4000, 2000}},
		"a role that has them in time":    {{0, 4000, 0}, {20 * time.Second, 0, 0}, {10 * time.Second, 4000, 0}, {20 * time.Second, 4000, 0}},
		"what was given counts":           {{0, 4000, 0}, {30 * time.Second, 4000, 4000}, {10 * time.Second, 3000, 0}, {time.Minute, 3000, 0}, {40 * time.Second, 3000, 0}},
		"one that lacks still more": {
			{0, 4000, 0},
			{30 * time.Second, 4000, 4000},
			{10 * time.Second, 6000, 0},
			{30 * time.Second, 6000, 2000},
			{30 * time.Second, 6000, 0},
		},
		"what is not taken is not given twice": {
			{0, 4000, 0},
			{30 * time.Second, 4000, 4000},
			{roleAge, 4000, 0},
			{roleRetry - roleAge, 4000, 0}, // nothing was said for long
			{30 * time.Second, 4000, 0},
			{roleRetry, 4000, 0},
			{30 * time.Second, 4000, 0},
		},
		"what came back is tried again, but not at once": {
			{0, 4000, 0},
			{30 * time.Second, 4000, 4000},
			{roleAge, 4000, 0},
			{time.Minute, 4000, back},
			{time.Minute, 4000, 0},
			{roleRetry - roleAge - 2*time.Minute, 4000, 0}, // nothing was said for long
			{30 * time.Second, 4000, 4000},
		},
		"a master that was silent for long": {{0, 4000, 0}, {time.Hour, 4000, 0}, {20 * time.Second, 4000, 0}, {10 * time.Second, 4000, 4000}},
	} {
		t.Run(name, func(t *testing.T) {
			var n roleNeed
			now := simEpoch
			for i, l := range looks {
				now = now.Add(l.after)
				if l.give == back {
					n.returned("S1")
					l.give = 0
				}
				got := n.see(now, l.lacked)
				if got != l.give {
					t.Fatalf("look %d: gives %d, want %d", i, got, l.give)
				}
				if got > 0 {
					n.leave("S1", got)
				}
			}
		})
	}
}

// Whatever is said, no more is given than what is lacked and was not given before, unless it
// came back, and nothing for a need that is not said for half a minute.
func TestRoleNeedKeepsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var n roleNeed
		now, first := simEpoch, simEpoch // of the need
		var free int64                   // of what was given, less what was taken
		for range rapid.IntRange(1, 100).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			lacked := rapid.Int64Range(0, 8).Draw(t, "cpus") * 1000
			if lacked == 0 {
				first = now
			}
			give := n.see(now, lacked)
			if free = min(free, lacked); give > lacked-free {
				t.Fatalf("gives %d for %d, and %d are free for it already", give, lacked, free)
			}
			free += give
			if give > 0 {
				n.leave("S1", give)
			}
			if rapid.IntRange(0, 20).Draw(t, "back") == 0 {
				n.returned("S1")
				free = 0
			}
			if give < 0 || give > lacked || n.given > lacked {
				t.Fatalf("gives %d, and has given %d, for %d", give, n.given, lacked)
			}
			if give > 0 && now.Sub(first) < busyPatience {
				t.Fatalf("gives after %v", now.Sub(first))
			}
		}
	})
}

// Another role that lacks cpus gets a miner's, and no more miners end than that takes.
func TestRoleThatLacksCPUs(t *testing.T) {
	for _, test := range []struct {
		name      string
		mode      bool
		revocable bool // all miners are
		lacked    int64
		ends      []int // indices of miners on 4, 8 and 2 cpus
	}{
		{"the smallest that has enough", true, false, 3000, []int{0}},
		{"a little", true, false, 200, []int{2}},
		{"several", true, false, 9000, []int{1, 2}},
		{"more than there is", true, false, 99000, []int{0, 1, 2}},
		{"nothing", true, false, 0, nil},
		{"not in idle mode", false, false, 3000, nil},
		{"revocable ones are Mesos' affair", true, true, 3000, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			s.mining()
			var miners []string
			for i, cpus := range []float64{4, 8, 2} {
				m := s.launchOne([]string{"S1", "S2", "S3"}[i], scalar("cpus", cpus, ""), scalar("mem", 4096, ""))
				s.update(m, mesos.TASK_RUNNING)
				s.minerReport(m, s.c.state.Proxies.Epoch)
				miners = append(miners, m)
				s.c.state.Tasks[m].Revocable = test.revocable
			}
			s.c.set.IdleMode = test.mode
			for range 7 {
				s.step(RoleNeed{Milli: test.lacked, Role: "web"})
				s.pass(10 * time.Second)
			}
			var ends []int
			for i, m := range miners {
				switch why := s.c.state.Tasks[m].Kill; {
				case why == "":
				case strings.Contains(string(why), "web"):
					ends = append(ends, i)
				default:
					t.Errorf("miner %d ends: %s", i, why)
				}
			}
			if !slices.Equal(ends, test.ends) {
				t.Fatalf("miners %v end, want %v", ends, test.ends)
			}
			if len(ends) == 0 {
				return
			}
			agent := []string{"S1", "S2", "S3"}[ends[0]]
			s.update(miners[ends[0]], mesos.TASK_KILLED)
			s.offer(agent)
			if n := len(s.launched()); n != 0 || !strings.Contains(s.why(), "left to other work") {
				t.Errorf("%d launches at once, %q", n, s.why())
			}
			s.pass(busyFirst)
			s.offer(agent)
			if n := len(s.launched()); n != 1 {
				t.Errorf("%d launches later: %q", n, s.why())
			}
		})
	}
}

// Cpus that are reserved for our role are nobody else's, so no miner ends for them, and one
// that has both counts for what others can have.
func TestReservedCPUsHelpNoOtherRole(t *testing.T) {
	s := newScript(t)
	s.mining()
	var miners []string
	for i, cpus := range [][]mesos.Resource{
		{scalar("cpus", 8, "mining"), scalar("mem", 4096, "")},
		{scalar("cpus", 6, "mining"), scalar("cpus", 2, ""), scalar("mem", 4096, "")},
		{scalar("cpus", 3, ""), scalar("mem", 4096, "")},
	} {
		m := s.launchOne([]string{"S1", "S2", "S3"}[i], cpus...)
		s.update(m, mesos.TASK_RUNNING)
		s.minerReport(m, s.c.state.Proxies.Epoch)
		miners = append(miners, m)
	}
	for i, want := range []int64{8000, 6000, 0} {
		if got := s.c.state.Tasks[miners[i]].Reserved; got != want {
			t.Errorf("miner %d: %d thousandths of a cpu are reserved, want %d", i, got, want)
		}
	}
	s.c.set.IdleMode = true
	for range 7 {
		s.step(RoleNeed{Milli: 5000, Role: "web"})
		s.pass(10 * time.Second)
	}
	for i, want := range []bool{false, true, true} {
		if got := s.c.state.Tasks[miners[i]].Kill != ""; got != want {
			t.Errorf("miner %d ends: %v, want %v", i, got, want)
		}
	}
}

// What was given for a role that does not take it is not given again, hour after hour, until
// no miner is left: Mesos keeps it free for the role as long as its quota stands.
func TestQuotaThatNobodyUsesEndsFewMiners(t *testing.T) {
	s := newScript(t)
	_, miners := s.mining("S1", "S2", "S3")
	s.c.set.IdleMode = true
	for range 6 * 60 * 5 { // five hours
		s.step(RoleNeed{Milli: 4000, Role: "web"})
		s.pass(10 * time.Second)
		for _, m := range miners {
			if t := s.c.state.Tasks[m]; t != nil && t.Kill != "" {
				s.update(m, mesos.TASK_KILLED)
			}
		}
	}
	left := 0
	for _, m := range miners {
		if s.c.state.Tasks[m] != nil {
			left++
		}
	}
	if left != 2 {
		t.Errorf("%d of 3 miners are left, want 2", left)
	}
}
