package core

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

// store puts what changed on disk.
func (h *harness) store() {
	changes, err := h.core.Changes()
	if err != nil {
		h.fail("encode: %v", err)
		return
	}
	if h.disk == nil {
		h.disk, h.decoded = make(map[string][]byte), NewState([]byte(simKey))
	}
	for _, c := range changes {
		if c.Value == nil {
			delete(h.disk, c.Key)
		} else {
			h.disk[c.Key] = c.Value
		}
		id, isTask := strings.CutPrefix(c.Key, keyTask)
		switch {
		case c.Key == keyHead:
			tasks := h.decoded.Tasks
			h.decoded = new(State)
			err = json.Unmarshal(c.Value, h.decoded)
			h.decoded.Tasks = tasks
		case isTask && c.Value == nil:
			delete(h.decoded.Tasks, id)
		case isTask:
			t := new(Task)
			err = json.Unmarshal(c.Value, t)
			h.decoded.Tasks[id] = t
		}
		if err != nil {
			h.fail("change of %s: %v", c.Key, err)
		}
	}
}

// checkDisk makes sure that the changes, put together, are the state.
func (h *harness) checkDisk() {
	s, err := RestoreState(h.disk)
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

// checkCore checks what must be true of the state at any time.
func (h *harness) checkCore() {
	wanted := 0
	for id, t := range h.core.state.Tasks {
		if h.core.runs[id] == nil {
			h.fail("task %s has no run", id)
		}
		if t.Kind == KindProxy && t.Kill == "" {
			wanted++
		}
	}
	if wanted > 1 {
		h.fail("%d proxies are wanted at once", wanted)
	}
	if len(h.core.runs) != len(h.core.state.Tasks) {
		h.fail("%d runs for %d tasks", len(h.core.runs), len(h.core.state.Tasks))
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
func (h *harness) checkCall(call *scheduler.Call) {
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
		b, _ := call.Marshal()
		h.checkPublic(call.Type.String()+" call", string(b))
	}
	switch call.Type {
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
			}
			if h.executed[id] {
				h.fail("task id %s is used again", id)
			}
			h.executed[id] = true
			h.say("launch %s on %s", id, info.AgentID.Value)
			if inv != nil && !inv.subtract(info.Resources) {
				h.fail("task %s does not fit into its offer: %v", id, info.Resources)
			}
			for name, flavours := range newInventory(info.Resources, true) {
				for _, f := range flavours {
					if f.revocable != flavours[0].revocable {
						h.fail("task %s mixes revocable %s with others", id, name)
					}
				}
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
			} else {
				h.checkList(task.GetMiner().Proxies)
			}
		}
	}
}

// checkList makes sure that an epoch means one list, whoever it is sent to.
func (h *harness) checkList(list *message.Proxies) {
	text := strings.Join(list.GetAddresses(), ",")
	if old, known := h.epochs[list.GetEpoch()]; known && old != text {
		h.fail("epoch %d is %q and %q", list.GetEpoch(), old, text)
	}
	h.epochs[list.GetEpoch()] = text
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
		if t == nil || t.Kind != KindProxy || t.Kill != "" {
			h.fail("secrets are sent to %s, which is no wanted proxy", m.ExecutorID.Value)
		}
	case e.GetProxies() != nil:
		h.checkList(e.GetProxies())
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
	s := h.core.Status(h.now)
	var b strings.Builder
	fmt.Fprintf(&b, "need %+v\n", s.Need)
	for _, d := range s.Decisions[:min(5, len(s.Decisions))] {
		fmt.Fprintf(&b, "%v offer of %s, %s: %s %s, refuse %g s\n",
			d.At.Sub(simEpoch), d.AgentID, d.Resources, d.Outcome, d.Reason, d.Refuse)
	}
	for _, t := range s.Tasks {
		fmt.Fprintf(&b, "%s %s %s\n", t.ID, t.State, t.Killing)
	}
	return b.String()
}

// healthy says what is missing to a cluster that mines with all it has; "": nothing.
func (h *harness) healthy() string {
	if h.core == nil || !h.core.connected {
		return "the scheduler is not subscribed"
	}
	if !h.core.settled() || len(h.core.recon.pending) > 0 {
		return "reconciliation is under way"
	}
	var proxy *simExecutor
	miners := make(map[string]int)
	total := 0
	for _, a := range h.agents {
		if a.lost {
			continue
		}
		for id, t := range a.tasks {
			if t.terminal {
				return "the end of " + id + " is not acknowledged"
			}
			known := h.core.state.Tasks[id]
			if known == nil || known.Kill != "" {
				return "task " + id + " runs and is not wanted"
			}
			if t.state != mesosRunning || known.State != stateRunning || len(t.updates) > 0 {
				return fmt.Sprintf("task %s is %v, known as %s, with %d updates on the way", id, t.state, known.State, len(t.updates))
			}
			if got := t.executor.task.ExecutorDigest; got != h.digest {
				return fmt.Sprintf("task %s has executor %s, not %s", id, got, h.digest)
			}
			if t.executor.task.GetProxy() != nil {
				if proxy != nil {
					return "two proxies run"
				}
				proxy = t.executor
			} else {
				miners[a.id]++
				total++
			}
		}
	}
	if proxy == nil || proxy.secrets == nil {
		return "no proxy runs"
	}
	if got := proxy.task.GetProxy().PayoutAddress; got != h.payout {
		return fmt.Sprintf("the proxy pays to %s, not to %s", got, h.payout)
	}
	for _, b := range h.blocks {
		if len(b) == 0 {
			return "an empty block is stored"
		}
	}
	for _, a := range h.agents {
		for id, t := range a.tasks {
			if m := t.executor.task.GetMiner(); m != nil && !a.lost {
				if t.executor.proxies.GetEpoch() != h.core.state.Proxies.Epoch || len(t.executor.proxies.GetAddresses()) == 0 {
					return fmt.Sprintf("miner %s has the proxies of epoch %d, newest is %d", id, t.executor.proxies.GetEpoch(), h.core.state.Proxies.Epoch)
				}
			}
		}
		if a.lost || h.maxMiners > 0 && total >= h.maxMiners {
			continue
		}
		if left := a.free(); miners[a.id] == 0 && left.total("cpus") >= leastMinerCPU {
			return fmt.Sprintf("agent %s has no miner and %d thousandths of cpu", a.id, left.total("cpus"))
		}
		for _, f := range a.free()["cpus"] {
			if f.amount >= leastMinerCPU {
				return fmt.Sprintf("agent %s has %d thousandths of cpu unused", a.id, f.amount)
			}
		}
	}
	if h.maxMiners > 0 && total > h.maxMiners {
		return fmt.Sprintf("%d miners run, at most %d should", total, h.maxMiners)
	}
	status, err := json.Marshal(h.core.Status(h.now))
	if err != nil {
		h.fail("status: %v", err)
	}
	h.checkPublic("status", string(status))
	return ""
}
