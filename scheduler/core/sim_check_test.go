package core

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

// store puts what changed on disk. To encode and decode it takes longer than all else
// of a history, so most keep the values.
func (h *harness) store() {
	if h.decoded == nil {
		h.disk, h.decoded = make(map[string][]byte), NewState([]byte(simKey))
	}
	h.decoded = h.kept()
	if !h.encodes {
		h.core.touched.clear()
		return
	}
	changes, err := h.core.Changes()
	if err != nil {
		h.fail("encode: %v", err)
		return
	}
	for _, c := range changes {
		if c.Value == nil {
			delete(h.disk, c.Key)
		} else {
			h.disk[c.Key] = c.Value
		}
	}
}

// kept is the state on disk with what the core says that it touched.
func (h *harness) kept() *State {
	is, was := h.core.state, h.decoded
	s := *is
	s.Tasks, s.Blocks = was.Tasks, nil
	for _, touched := range h.core.touched.tasks {
		if t := is.Tasks[touched.ID]; t != nil {
			own := *t
			own.run = nil
			s.Tasks[t.ID] = &own
		} else {
			delete(s.Tasks, touched.ID)
		}
	}
	for _, b := range was.Blocks {
		if !slices.Contains(h.core.touched.blocks, b.Hash) {
			s.Blocks = append(s.Blocks, b)
		}
	}
	for _, b := range is.Blocks {
		if slices.Contains(h.core.touched.blocks, b.Hash) {
			own := *b
			s.Blocks = append(s.Blocks, &own)
		}
	}
	s.Retired, s.FormerKeys = slices.Clone(is.Retired), slices.Clone(is.FormerKeys)
	s.Operator.Log, s.Operator.Drained, s.Operator.AgentCPUs = slices.Clone(is.Operator.Log), maps.Clone(is.Operator.Drained), maps.Clone(is.Operator.AgentCPUs)
	return &s
}

// stored is the state that a scheduler finds that starts.
func (h *harness) stored() (*State, error) {
	disk := h.disk
	if !h.encodes {
		entries, err := h.decoded.Entries()
		if err != nil {
			return nil, err
		}
		disk = make(map[string][]byte)
		for _, e := range entries {
			disk[e.Key] = e.Value
		}
	}
	return RestoreState(disk)
}

// checkDisk makes sure that the changes, put together, are the state.
func (h *harness) checkDisk() {
	s, err := h.stored()
	if err != nil {
		h.fail("stored state: %v", err)
		return
	}
	got, _ := json.Marshal(s.Tasks)
	want, _ := json.Marshal(h.core.state.Tasks)
	if string(got) != string(want) || s.Epoch != h.core.state.Epoch || len(s.Blocks) != len(h.core.state.Blocks) {
		h.fail("stored is %s, expected %s", got, want)
	}
}

// checkOrder makes sure that what must be stored comes before what depends on it.
func (h *harness) checkOrder(actions []Action) {
	stage := 0
	for _, a := range actions {
		n := 2
		switch a.(type) {
		case StoreBlock:
			n = 0
		case Persist:
			n = 1
		}
		if n < stage {
			h.fail("%T comes after others", a)
		}
		stage = n
	}
}

// checkCore checks what must be true of the state at any time.
func (h *harness) checkCore(e Event) {
	c := h.core
	for _, touched := range c.touched.tasks {
		if t := c.state.Tasks[touched.ID]; t != nil && t.Kill != "" {
			h.checkNeed(t, e)
		}
	}
	h.watch.note(h)
	h.noteProxies()
	h.noteObstacle()
	h.noteBad()
	h.checkFlip()
	if _, tick := e.(Tick); !tick {
		return
	}
	var sums tally
	wanted := make(map[int]int)
	good := make(map[string]bool)
	shards := make(map[uint32]bool)
	if len(c.tasks) != len(c.state.Tasks) {
		h.fail("%d tasks in the index, %d in the state", len(c.tasks), len(c.state.Tasks))
	}
	for i, t := range c.tasks {
		if t.run.index != i || c.state.Tasks[t.ID] != t || !slices.Contains(t.run.agent.tasks, t) || c.agents[t.AgentID] != t.run.agent {
			h.fail("task %s is not where it should be", t.ID)
		}
		if t.Kind == KindProxy {
			if shards[t.Shard] {
				h.fail("two proxies have the number %d", t.Shard)
			}
			shards[t.Shard] = true
		}
		if t.Kill != "" {
			continue
		}
		if t.Kind == KindProxy {
			wanted[t.Slot]++
			continue
		}
		sums.miners++
		if !away(t.State) {
			sums.live++
			sums.cpus += t.CPUs
			if progress(t.State) < progress(stateRunning) {
				sums.flight++
			}
		}
		if t.State == stateRunning {
			good[t.AgentID] = true
			if c.outdated(t) {
				sums.old++
			}
		}
	}
	sums.good = len(good)
	if sums != c.sums {
		h.fail("sums are %+v, expected %+v", c.sums, sums)
	}
	for slot, n := range wanted {
		switch {
		case n > 2:
			h.fail("%d proxies are wanted at once for place %d", n, slot)
		case n == 2:
			h.checkSecond(slot)
		}
	}
	if c.sums.flight > judgeFlight+2*len(h.agents) {
		h.fail("%d miners are on their way", c.sums.flight)
	}
	for _, s := range c.slots {
		h.checkTold(s)
	}
}

// checkTold makes sure that miners are told of a proxy for as long as it serves.
func (h *harness) checkTold(s *slot) {
	listed := h.core.state.Proxies.of(s.n)
	t := s.active
	if t == nil || t.Kill != "" {
		if len(listed) > 0 {
			h.fail("miners are told of %v, which is to end", listed)
		}
		return
	}
	x := h.task(t.ID)
	if x != nil && !x.executor.started && len(listed) > 0 {
		h.fail("miners are told of %s, which does not run yet", t.ID)
	}
	if h.awake().Sub(h.watch.late) < 25*time.Second {
		return
	}
	if x == nil || !x.executor.serves() || x.executor.readyAt.IsZero() || !h.seen(x.executor, 20*time.Second) || h.awake().Sub(x.executor.readyAt) < 20*time.Second {
		return
	}
	if !slices.Equal(listed, t.Addresses) {
		h.fail("%s serves for %v, and miners are told of %v", t.ID, h.awake().Sub(x.executor.readyAt), listed)
	}
}

// checkPublic makes sure that a text that others may see holds no secret.
func (h *harness) checkPublic(what, text string) {
	if strings.Contains(text, simPassword) || strings.Contains(text, simKey) {
		h.fail("a secret is in the %s", what)
	}
}

// checkCall checks what must be on disk, and what must be true of a call, before it
// goes out.
func (h *harness) checkCall(a Call) {
	call := a.Call
	if int(a.Session) != h.session && h.session != 0 && h.core.connected && !h.batched {
		h.fail("%s call for subscription %d on %d", call.Type, a.Session, h.session)
	}
	h.watch.rate(h, call)
	if h.disk == nil {
		h.fail("%s call before the framework id is stored", call.Type)
		return
	}
	disk := h.decoded
	if disk.FrameworkID == "" || call.FrameworkID.GetValue() != disk.FrameworkID {
		h.fail("%s call with framework id %q, stored is %q", call.Type, call.FrameworkID.GetValue(), disk.FrameworkID)
	}
	if h.framework == "" {
		h.framework = disk.FrameworkID
	}
	if h.framework != disk.FrameworkID {
		h.fail("framework id changed from %s to %s", h.framework, disk.FrameworkID)
	}
	if call.Type != scheduler.Call_MESSAGE {
		if n := call.Size(); cap(h.buffer) < n {
			h.buffer = make([]byte, 2*n)
		}
		n, err := call.MarshalTo(h.buffer[:cap(h.buffer)])
		if err != nil || bytes.Contains(h.buffer[:n], []byte(simPassword)) || bytes.Contains(h.buffer[:n], []byte(simKey)) {
			h.fail("a secret is in the %s call: %v", call.Type, err)
		}
	}
	switch call.Type {
	case scheduler.Call_KILL:
		h.checkOrphan(call.Kill.TaskID.Value)
		if d := disk.Tasks[call.Kill.TaskID.Value]; d != nil && d.Kill == "" {
			h.fail("KILL of %s, which is stored as wanted", d.ID)
		}
		if t := h.core.state.Tasks[call.Kill.TaskID.Value]; t != nil && (away(t.State) || t.Kill == "") && !h.batched {
			h.fail("KILL of %s, which is %s and to end for %q", t.ID, t.State, t.Kill)
		}
	case scheduler.Call_ACKNOWLEDGE:
		h.checkAcknowledge(disk, call.Acknowledge)
	case scheduler.Call_ACCEPT:
		h.checkAccept(disk, call.Accept)
	case scheduler.Call_MESSAGE:
		h.checkMessage(disk, call.Message)
	}
}

func (h *harness) checkAcknowledge(disk *State, ack *scheduler.Call_Acknowledge) {
	t := h.task(ack.TaskID.Value)
	if t == nil {
		return
	}
	for _, u := range t.updates {
		if string(u.UUID) != string(ack.UUID) {
			continue
		}
		state := u.GetState().String()
		d := disk.Tasks[ack.TaskID.Value]
		switch {
		case terminal(state) && d != nil:
			h.fail("%s of %s is acknowledged, but it is stored as %s", state, d.ID, d.State)
		case d != nil && !away(d.State) && progress(d.State) < progress(state):
			h.fail("%s of %s is acknowledged, but it is stored as %s", state, d.ID, d.State)
		}
	}
}

func (h *harness) checkAccept(disk *State, accept *scheduler.Call_Accept) {
	if len(accept.OfferIDs) != 1 {
		h.fail("%d offers in one ACCEPT", len(accept.OfferIDs))
	}
	var inv inventory
	if o := h.master.offers[accept.OfferIDs[0].Value]; o != nil {
		inv = newInventory(o.info.Resources, true)
	}
	for _, op := range accept.Operations {
		for _, info := range op.Launch.TaskInfos {
			id := info.TaskID.Value
			if disk.Tasks[id] == nil {
				h.fail("task %s is launched before it is stored", id)
				return
			}
			if h.executed[id] {
				h.fail("task id %s is used again", id)
			}
			h.executed[id] = true
			if _, ok := disk.Operator.Drained[info.AgentID.Value]; ok && !h.batched {
				h.fail("task %s is launched on %s, which an operator drains", id, info.AgentID.Value)
			}
			h.watch.launched[id] = h.watch.connected
			h.say("launch %s on %s", id, info.AgentID.Value)
			all := slices.Concat(info.Resources, info.Executor.Resources)
			if inv != nil && !inv.subtract(all) {
				h.fail("task %s does not fit into its offer: %v", id, all)
			}
			if x := newInventory(info.Executor.Resources, true); x.total("cpus") < 10 || x.total("mem") < 32000 {
				h.fail("the executor of %s has less than a master likes: %v", id, info.Executor.Resources)
			}
			for _, name := range []string{"cpus", "mem", "ports"} {
				flavours := newInventory(all, true).of(name)
				for _, f := range flavours {
					if f.revocable != flavours[0].revocable {
						h.fail("task %s mixes revocable %s with others", id, name)
					}
				}
			}
			if b := disk.Bad; b != nil && !b.Runs && h.good != h.digest && disk.Tasks[id].Digest == b.Digest && !h.batched {
				h.fail("task %s is launched with an executor that did not run: %s", id, b.Why)
			}
			h.checkBad(id, disk.Tasks[id].Digest)
			if disk.Tasks[id].Kind == KindMiner {
				h.checkFutile()
				h.checkProbes(id)
			}
			if info.Executor.ExecutorID.Value != id {
				h.fail("task %s has executor %s", id, info.Executor.ExecutorID.Value)
			}
			task, err := message.DecodeTask(info.Data)
			if err != nil {
				h.fail("data of %s: %v", id, err)
				return
			}
			if task.GetProxy() != nil {
				epoch := disk.Tasks[id].Epoch
				if old := h.proxies[epoch]; old != "" {
					h.fail("proxies %s and %s have the same epoch %d", old, id, epoch)
				}
				h.proxies[epoch] = id
				h.checkProxyLaunch(id)
			} else {
				h.checkList(info.AgentID.Value, task.GetMiner().Proxies)
			}
		}
	}
}

// checkList makes sure that an epoch means one list for an agent, whenever it is sent.
func (h *harness) checkList(agent string, list *message.Proxies) {
	text := strings.Join(list.GetAddresses(), ",")
	key := fmt.Sprint(list.GetEpoch(), " ", agent)
	if old, known := h.epochs[key]; known && old != text {
		h.fail("epoch %d is %q and %q for %s", list.GetEpoch(), old, text, agent)
	}
	h.epochs[key] = text
	h.checkChoice(agent, list)
}

func (h *harness) checkMessage(disk *State, m *scheduler.Call_Message) {
	var envelope message.Envelope
	if err := envelope.Unmarshal(m.Data); err != nil {
		h.fail("message to %s: %v", m.ExecutorID.Value, err)
		return
	}
	if envelope.Session != disk.Session {
		h.fail("message of session %d, stored is %d", envelope.Session, disk.Session)
	}
	e, err := message.DecodeToExecutor(envelope.Body)
	if err != nil {
		h.fail("message to %s: %v", m.ExecutorID.Value, err)
		return
	}
	t := disk.Tasks[m.ExecutorID.Value]
	switch {
	case e.GetSecrets() != nil:
		h.fail("secrets are sent in the clear")
	case e.GetSealedSecrets() != nil:
		if (t == nil || t.Kind != KindProxy || t.Kill != "") && !h.batched {
			h.fail("secrets are sent to %s, which is no wanted proxy", m.ExecutorID.Value)
		}
		if t != nil && len(t.Key) == 0 {
			h.fail("secrets are sent to %s for a key that is not stored", m.ExecutorID.Value)
		}
	case e.GetProxies() != nil:
		h.checkList(m.AgentID.Value, e.GetProxies())
		h.watch.ledger.checkListPause(h, m.ExecutorID.Value, e.GetProxies().Epoch)
		if c := h.core.state.Tasks[m.ExecutorID.Value]; c != nil && h.awake().Sub(h.watch.restarted) < 10*time.Second &&
			!c.run.fresh && h.core.state.Epoch == h.watch.epoch && c.run.report == nil && c.run.digest == "" {
			h.fail("%s is told what it may well know, at once after a restart", c.ID)
		}
		if disk.Epoch < e.GetProxies().Epoch {
			h.fail("epoch %d is sent before it is stored", e.GetProxies().Epoch)
		}
	case e.GetBlockReceived() != nil:
		hash := fmt.Sprintf("%x", reversed(e.GetBlockReceived().Hash))
		if h.blocks[hash] == nil {
			h.fail("receipt of block %s is sent, but it is not on disk", hash)
		}
	}
	h.checkPublic("message", string(m.Data))
}

// explain lists the last decisions, for who has to find out what went wrong.
func (h *harness) explain() string {
	if h.core == nil {
		return "the scheduler is down"
	}
	s := h.core.Snapshot(h.now)
	var b strings.Builder
	fmt.Fprintf(&b, "need %+v, %d proxies, suppressed %v, problems %+v\n", s.Need, s.NeedProxy, s.Suppressed, s.Problems)
	for _, slot := range h.core.slots {
		fmt.Fprintf(&b, "slot %+v\n", *slot)
	}
	for _, d := range s.Decisions[:min(5, len(s.Decisions))] {
		fmt.Fprintf(&b, "%v offer of %s: %s %s, refuse %v\n", d.At.Sub(simEpoch), d.AgentID, d.Outcome, d.Reason.Text, d.Refuse)
	}
	for _, t := range h.core.tasks {
		fmt.Fprintf(&b, "%s %s %s\n", t.ID, t.State, t.Kill)
	}
	return b.String()
}

// any says that there is a task in a state.
func (h *harness) any(state string) bool {
	return h.core != nil && slices.ContainsFunc(h.core.tasks, func(t *Task) bool { return t.State == state })
}

// isFirstOfNone says that no miner would use the proxy of a slot, so that nobody finds
// out whether it can be reached.
func (h *harness) isFirstOfNone(slot int) bool {
	for _, t := range h.core.tasks {
		first := true
		for other := range h.proxyN {
			first = first && affinity(t.AgentID, slot) <= affinity(t.AgentID, other)
		}
		if t.Kind == KindMiner && t.Kill == "" && !away(t.State) && first {
			return false
		}
	}
	return true
}

// healthy says what is missing to a cluster that mines with all it has; "": nothing.
func (h *harness) healthy() string {
	c := h.core
	if c == nil || !c.connected {
		return "the scheduler is not subscribed"
	}
	if !c.settled() || c.recon.pending > 0 {
		return "reconciliation is under way"
	}
	for _, a := range c.agents {
		if a.down != nil && c.clock-a.down.told < staleAfter {
			return "maintenance is called off, and that is not known yet"
		}
	}
	proxies := make(map[int]*simExecutor)
	miners := make(map[string]int)
	total := 0
	for _, a := range h.agents {
		if a.lost {
			if h.awake().Sub(a.cutAwake) < 2*time.Minute {
				return "that agent " + a.id + " is lost is not known yet"
			}
			continue
		}
		for id, t := range a.tasks {
			if t.terminal {
				return "the end of " + id + " is not acknowledged"
			}
			known := c.state.Tasks[id]
			if known == nil || known.Kill != "" {
				return "task " + id + " runs and is not wanted"
			}
			if t.state != mesos.TASK_RUNNING || known.State != stateRunning || len(t.updates) > 0 {
				return fmt.Sprintf("task %s is %v, known as %s, with %d updates on the way", id, t.state, known.State, len(t.updates))
			}
			if t.executor.hung {
				return fmt.Sprintf("task %s hangs", id)
			}
			if got := t.executor.task.ExecutorDigest; h.upgrade && got != h.digest && c.rollout.stopped == "" {
				return fmt.Sprintf("task %s has executor %s, not %s", id, got, h.digest)
			}
			if t.executor.task.GetProxy() != nil {
				if proxies[known.Slot] != nil {
					return "two proxies run in one place"
				}
				proxies[known.Slot] = t.executor
			} else {
				miners[a.id]++
				total++
			}
		}
	}
	for i := range h.proxyN {
		proxy := proxies[i]
		if proxy == nil || !proxy.serves() && !(proxy.remote && h.isFirstOfNone(i)) {
			return "no proxy serves"
		}
		if proxy.serves() && !h.known(proxy, 15*time.Second) {
			return "that the proxy serves is not known yet"
		}
		if got := proxy.task.GetProxy().PayoutAddress; got != h.payout {
			return fmt.Sprintf("the proxy pays to %s, not to %s", got, h.payout)
		}
	}
	if len(proxies) != h.proxyN {
		return fmt.Sprintf("%d proxies run, of %d", len(proxies), h.proxyN)
	}
	for _, b := range h.blocks {
		if len(b) == 0 {
			return "an empty block is stored"
		}
	}
	if h.maxMiners > 0 && total > h.maxMiners {
		return fmt.Sprintf("%d miners run, at most %d should", total, h.maxMiners)
	}
	for _, a := range h.agents {
		for id, t := range a.tasks {
			if m := t.executor.task.GetMiner(); m != nil && !a.lost && t.executor.works() == "" {
				return fmt.Sprintf("miner %s has the proxies of epoch %d, newest is %d, and does not work", id, t.executor.proxies.GetEpoch(), c.state.Proxies.Epoch)
			}
		}
		if a.lost || h.maxMiners > 0 && total >= h.maxMiners {
			continue
		}
		if _, ok := c.state.Operator.Drained[a.id]; ok || c.paused() {
			return "a command of an operator is not lifted"
		}
		for _, f := range a.free().of("cpus") {
			if f.amount >= leastMinerCPU && !h.constrained(a) {
				return fmt.Sprintf("agent %s has %d thousandths of cpu unused", a.id, f.amount)
			}
		}
	}
	return ""
}
