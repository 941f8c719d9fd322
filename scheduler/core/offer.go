package core

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"lode/scheduler/api"
)

// How long the rest of an offer is refused. A filter hides only what it covers: an
// agent that has more than was refused is offered again at once, and a REVIVE lifts
// all filters when we come to need more. So a long refusal costs nothing, and leaves
// the resources to other frameworks.
const (
	refuseUseless   = 10 * time.Minute // nothing that we could ever use as it is
	refuseSatisfied = 2 * time.Minute  // nothing is needed now
	refuseLater     = 5 * time.Second  // will be of use in a moment
	refuseLeast     = time.Second
	// offerLife bounds how long an offer is kept while others could use it.
	offerLife = 10 * time.Second
	// maintenanceMargin is how long before an agent's maintenance nothing is
	// launched there, evacuation how long before it our tasks are ended.
	maintenanceMargin = 10 * time.Minute
	evacuation        = 30 * time.Second
	// inverseEvery is how often Mesos is to ask for an agent's resources, staleAfter
	// how long its word lasts: no event tells that a maintenance is called off.
	inverseEvery = time.Minute
	staleAfter   = 5 * inverseEvery
)

// heldOffer is an offer that is ours until it is answered.
type heldOffer struct {
	offer    mesos.Offer
	received time.Time
	why      string // it is held
}

// decision is what became of an offer.
type decision api.Decision

func (c *Core) receiveOffers(offers []mesos.Offer) {
	for i := range offers {
		o := &offers[i]
		c.counters.OffersReceived++
		a := c.agent(o.AgentID.Value, o.Hostname)
		a.unavailability(o.Unavailability, c.now)
		c.offers[o.ID.Value] = &heldOffer{offer: *o, received: c.now}
	}
}

func (c *Core) rescind(id string) {
	c.counters.OffersRescinded++
	if h := c.offers[id]; h != nil {
		delete(c.offers, id)
		c.decide(h, "rescinded", "the master took the offer back", 0, nil)
	}
}

// reconsiderOffers answers every offer that can be answered now.
func (c *Core) reconsiderOffers() {
	if len(c.offers) == 0 {
		return
	}
	// Oldest first; ids have a counter at their end but no fixed width.
	ids := slices.SortedFunc(maps.Keys(c.offers), func(a, b string) int {
		if d := c.offers[a].received.Compare(c.offers[b].received); d != 0 {
			return d
		}
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return compareStrings(a, b)
	})
	for _, id := range ids {
		c.answer(c.offers[id])
	}
}

func compareStrings(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// verdict is the result of looking at an offer: launch something, decline, or hold.
type verdict struct {
	launches []*launch
	reason   string
	refuse   time.Duration
	hold     bool
}

func (c *Core) answer(h *heldOffer) {
	v := c.judge(&h.offer)
	switch {
	case len(v.launches) > 0:
		c.accept(h, v)
	case v.hold && c.now.Sub(h.received) < offerLife:
		h.why = v.reason
	case v.hold:
		c.counters.OffersExpired++
		c.decline(h, v.reason, refuseLater)
	default:
		c.decline(h, v.reason, v.refuse)
	}
}

// judge decides about an offer without answering it.
func (c *Core) judge(o *mesos.Offer) verdict {
	if role := o.GetAllocationInfo().GetRole(); role != "" && role != c.set.Role {
		return verdict{reason: fmt.Sprintf("it is for role %q, ours is %q", role, c.set.Role), refuse: refuseUseless}
	}
	a := c.agent(o.AgentID.Value, o.Hostname)
	if who, yes := c.drained(o.AgentID.Value, o.Hostname); yes {
		return verdict{reason: "drained by " + who, refuse: refuseUseless}
	}
	if from, soon := a.maintenance(c.now, maintenanceMargin); soon {
		return verdict{
			reason: "maintenance of the agent begins " + from.UTC().Format(time.RFC3339),
			refuse: refuseSatisfied,
		}
	}
	if wait := a.wait(c.now); wait > 0 {
		return verdict{
			reason: fmt.Sprintf("the agent is left alone after failures (%.1f lately)", a.failures.count(c.now)),
			refuse: max(wait, refuseLeast),
		}
	}
	if c.launchesHeld() {
		return verdict{reason: "tasks of before are being reconciled", hold: true}
	}

	inv := newInventory(o.Resources, c.set.Revocable)
	var v verdict
	proxyReason := ""
	if c.proxyWanted() {
		if wait := c.kinds[KindProxy].wait(c.now); wait > 0 {
			proxyReason = "proxies failed lately, the next one waits"
			v.hold = wait < offerLife
			v.refuse = max(wait, refuseLeast)
		} else if l, why := c.placeProxy(o, inv); l != nil {
			v.launches = append(v.launches, l)
		} else {
			proxyReason = why
			v.refuse = refuseUseless
		}
	}
	miners, why, hold := c.minersWanted()
	if !miners {
		switch {
		case len(v.launches) > 0: // the rest is for miners once the proxy is up
			v.refuse = refuseLater
		case proxyReason != "":
			v.reason = proxyReason
		default:
			v.reason, v.hold, v.refuse = why, hold, refuseSatisfied
			if launches, unfit := c.placeMiners(o, inv, 1); hold && len(launches) == 0 {
				v.reason, v.hold, v.refuse = unfit, false, refuseUseless
			}
		}
		return v
	}
	room := -1
	if most := c.maxMiners(); most >= 0 {
		room = max(0, most-c.liveMiners())
	}
	launches, reason := c.placeMiners(o, inv, room)
	v.launches = append(v.launches, launches...)
	if len(v.launches) == 0 {
		v.reason, v.hold, v.refuse = reason, false, refuseUseless
	} else {
		v.refuse = refuseUseless
	}
	return v
}

// launch is a task that is about to be.
type launch struct {
	task      *Task
	resources []mesos.Resource
}

// placeProxy cuts a proxy out of the inventory, or says why that cannot be.
func (c *Core) placeProxy(o *mesos.Offer, inv inventory) (*launch, string) {
	if inv.sum("cpus", false) < proxyCPUs {
		return nil, fmt.Sprintf("a proxy needs %g cpu", fromMilli(proxyCPUs))
	}
	if inv.sum("mem", false) < proxyMem*1000 {
		return nil, fmt.Sprintf("a proxy needs %d MB", proxyMem)
	}
	if addressesOf(o, 0) == nil {
		return nil, "a proxy needs an address of its agent"
	}
	ports, resources := inv.takePorts(2, c.set.Rand)
	if ports == nil {
		return nil, "a proxy needs 2 ports"
	}
	resources = slices.Concat(inv.cut("cpus", proxyCPUs, false), inv.cut("mem", proxyMem*1000, false), resources)
	t := &Task{Kind: KindProxy, CPUs: proxyCPUs, Ports: ports, Addresses: addressesOf(o, ports[0])}
	return &launch{task: t, resources: resources}, ""
}

// placeMiners cuts a miner out of the inventory on all of its cpus, and one more on
// those that are revocable, which no task may mix with others; at most room (-1: any
// number). It says why there is none.
func (c *Core) placeMiners(o *mesos.Offer, inv inventory, room int) (launches []*launch, reason string) {
	if inv.total("cpus") < leastMinerCPU {
		return nil, "no cpus are left"
	}
	reason = fmt.Sprintf("its cpus are held back (--hold-back-cpus %g)", c.set.HoldBackCPUs)
	// Revocable ones first: the kernel gives them the least weight.
	for _, revocable := range []bool{true, false} {
		if !revocable && c.set.OnlyRevocable {
			if len(launches) == 0 {
				reason = "its cpus are not revocable (--only-revocable)"
			}
			break
		}
		if c.set.IdleMode && !revocable && c.agent(o.AgentID.Value, o.Hostname).busy.wait(c.now) > 0 {
			if len(launches) == 0 {
				reason = "its agent is busy with other work (--mode idle)"
			}
			break
		}
		cpus := inv.sum("cpus", revocable)
		if !revocable {
			cpus -= toMilli(c.set.HoldBackCPUs)
		}
		if cpus < leastMinerCPU {
			continue
		}
		if most := c.cpuRoom(o.AgentID.Value, o.Hostname, launches); most >= 0 {
			if cpus = min(cpus, most); cpus < leastMinerCPU {
				reason = "an operator bounds the cpus that miners may have"
				continue
			}
		}
		if room == 0 {
			return launches, fmt.Sprintf("there are %d miners, and no more are wanted", c.maxMiners())
		}
		if inv.sum("mem", false) < minerMem*1000 {
			return launches, fmt.Sprintf("a miner needs %d MB", minerMem)
		}
		launches = append(launches, &launch{
			task:      &Task{Kind: KindMiner, CPUs: cpus, Revocable: revocable},
			resources: slices.Concat(inv.cut("cpus", cpus, revocable), inv.cut("mem", minerMem*1000, false)),
		})
		room--
	}
	return launches, reason
}

// addressesOf returns where a port of the agent is reached: by the address that the
// master itself uses, then by name. nil: the offer names neither.
func addressesOf(o *mesos.Offer, port uint64) []string {
	var hosts []string
	add := func(host string) {
		if host != "" && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	if o.URL != nil {
		add(o.URL.Address.GetIP())
		add(o.URL.Address.GetHostname())
	}
	add(o.Hostname)
	var addresses []string
	for _, h := range hosts {
		addresses = append(addresses, net.JoinHostPort(h, strconv.FormatUint(port, 10)))
	}
	return addresses
}

func (c *Core) accept(h *heldOffer, v verdict) {
	delete(c.offers, h.offer.ID.Value)
	var infos []mesos.TaskInfo
	var ids []string
	for _, l := range v.launches {
		info, err := c.launch(&h.offer, l)
		if err != nil {
			c.stop(err)
			return
		}
		infos = append(infos, *info)
		ids = append(ids, l.task.ID)
	}
	c.counters.OffersAccepted++
	accept := calls.Accept(calls.OfferOperations{calls.OpLaunch(infos...)}.WithOffers(h.offer.ID))
	c.call(accept.With(calls.RefuseSeconds(v.refuse)))
	c.revive.filtered = true
	d := c.decide(h, "accepted", "", v.refuse, ids)
	c.tell(Progress{Type: "offer", Decision: d})
}

func (c *Core) decline(h *heldOffer, reason string, refuse time.Duration) {
	delete(c.offers, h.offer.ID.Value)
	c.counters.OffersDeclined[reasonClass(reason)]++
	c.call(calls.Decline(h.offer.ID).With(calls.RefuseSeconds(refuse)))
	c.revive.filtered = true
	c.decide(h, "declined", reason, refuse, nil)
}

func (c *Core) decide(h *heldOffer, outcome, reason string, refuse time.Duration, tasks []string) *api.Decision {
	d := api.Decision{
		At: c.now, OfferID: h.offer.ID.Value, AgentID: h.offer.AgentID.Value, Hostname: h.offer.Hostname,
		Resources: newInventory(h.offer.Resources, true).summary(),
		Outcome:   outcome, Reason: reason, Tasks: tasks, Refuse: refuse.Seconds(),
	}
	c.decisions.add(decision(d))
	return &d
}

// reasonClass shortens a reason to a label of bounded variety.
func reasonClass(reason string) string {
	for _, class := range []struct{ prefix, label string }{
		{"it is for role", "role"},
		{"maintenance", "maintenance"},
		{"drained by", "drained"},
		{"an operator bounds", "bounded"},
		{"mining is paused", "paused"},
		{"the agent is left alone", "agent_backoff"},
		{"proxies failed", "proxy_backoff"},
		{"miners failed", "miner_backoff"},
		{"a proxy needs", "proxy_does_not_fit"},
		{"a miner needs", "miner_does_not_fit"},
		{"no cpus", "no_cpus"},
		{"its cpus are held back", "held_back"},
		{"its cpus are not revocable", "not_revocable"},
		{"its agent is busy", "agent_busy"},
		{"there are", "enough_miners"},
		{"tasks of before", "reconciling"},
	} {
		if len(reason) >= len(class.prefix) && reason[:len(class.prefix)] == class.prefix {
			return class.label
		}
	}
	return "no_proxy"
}

// inverseOffers agrees to every request for resources: watchMaintenance ends our
// tasks in time.
func (c *Core) inverseOffers(offers []mesos.InverseOffer) {
	for i := range offers {
		o := &offers[i]
		if o.AgentID != nil {
			c.agent(o.AgentID.Value, "").unavailability(&o.Unavailability, c.now)
		}
		// They are repeated after the filter for as long as the maintenance is
		// planned; once in a while is enough.
		c.call(calls.AcceptInverseOffers(o.OfferID).With(calls.RefuseSeconds(inverseEvery)))
	}
}

// watchMaintenance ends tasks on agents that are about to go down.
func (c *Core) watchMaintenance() {
	for _, id := range c.taskIDs() {
		t := c.state.Tasks[id]
		if a := c.agents[t.AgentID]; a != nil && t.Kill == "" && c.now.Sub(a.downTold) < staleAfter {
			if _, soon := a.maintenance(c.now, evacuation); soon {
				c.kill(t, "maintenance of its agent begins")
			}
		}
	}
}
