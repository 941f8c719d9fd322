package core

import (
	"container/heap"
	"net"
	"slices"
	"strconv"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// How long the rest of an offer is refused. A filter hides only what it covers: an
// agent that has more than was refused is offered again at once, and a REVIVE lifts
// all filters when we come to need more. So a long refusal costs nothing, and leaves
// the resources to other frameworks.
const (
	refuseUseless     = 10 * time.Minute // nothing that we could ever use as it is
	refuseSatisfied   = 2 * time.Minute  // nothing is needed now
	refuseMaintenance = 15 * time.Second // only an offer tells that it was called off
	refuseLater       = 5 * time.Second  // will be of use in a moment
	refuseLeast       = time.Second
	// offerLife bounds how long an offer is kept while others could use it.
	offerLife = 10 * time.Second
	// holdPause is how long no offer of an agent is kept after one was for as long as may
	// be: what it waits for may not come soon, and others can use it meanwhile.
	holdPause = time.Minute
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
	offer    *mesos.Offer // never changed
	agent    *agent
	received time.Duration
	why      Reason // it is held
	gone     bool   // answered, or taken back
}

// offerBook holds the offers that wait for something. They are looked at again when
// what they wait for changed, and given back when they were kept for too long.
type offerBook struct {
	byID map[string]*heldOffer
	held []*heldOffer // oldest first; some are gone, at most as many as are not
	had  demand       // when they were last looked at
}

// demand is what the judgement of an offer depends on, besides the offer.
type demand struct {
	reconciling bool
	proxies     int
	spread      bool
	backoff     bool
	miners      reasonCode
	room        bool // another miner may be launched
}

func newOfferBook() offerBook { return offerBook{byID: make(map[string]*heldOffer)} }

func (b *offerBook) clear() {
	for _, h := range b.held {
		h.gone = true
	}
	b.held = nil
	clear(b.byID)
}

func (c *Core) receiveOffers(offers []mesos.Offer) {
	came := make([]heldOffer, len(offers))
	for i := range offers { // how many there are says how large a proxy has to be
		o := &offers[i]
		a := c.agent(o.AgentID.Value, o.Hostname)
		c.unavailability(a, o.Unavailability)
		c.learnPlace(a, o)
		a.url = o.URL
		came[i] = heldOffer{offer: o, agent: a, received: c.clock}
	}
	var crowded []*heldOffer
	for i := range came {
		c.counters.OffersReceived++
		h := &came[i]
		if v := c.judge(h); v.crowded() {
			crowded = append(crowded, h)
		} else {
			c.settleOffer(h, v)
		}
	}
	c.reconsiderCrowded(crowded)
}

// settleOffer answers an offer that came, or keeps it.
func (c *Core) settleOffer(h *heldOffer, v verdict) {
	if !c.answerWith(h, v) {
		c.offers.byID[h.offer.ID.Value] = h
		c.offers.held = append(c.offers.held, h)
		c.after(offerLife, func() { c.expire(h) })
	}
}

func (c *Core) rescind(id string) {
	c.counters.OffersRescinded++
	if h := c.offers.byID[id]; h != nil {
		c.release(h)
		c.decide(h, "rescinded", Reason{reasonRescinded, "the master took the offer back"}, 0, nil)
	}
}

func (c *Core) release(h *heldOffer) {
	h.gone = true
	b := &c.offers
	delete(b.byID, h.offer.ID.Value)
	if n := len(b.held); n > 16 && n > 2*len(b.byID) {
		b.held = slices.DeleteFunc(b.held, func(h *heldOffer) bool { return h.gone })
	}
}

// expire gives an offer back that was kept for as long as may be. It comes again
// when there is use for it: the need then revives.
func (c *Core) expire(h *heldOffer) {
	if h.gone {
		return
	}
	c.counters.OffersExpired++
	refuse, pause := refuseSatisfied, refuseSatisfied
	if h.why.Code == reasonPace || h.why.Code == reasonSpread {
		refuse, pause = refuseLater, holdPause
	}
	h.agent.noHold = c.clock + pause
	c.release(h)
	c.decline(h, h.why, refuse)
}

func (c *Core) demand() demand {
	miners, _ := c.minersWanted()
	n := c.proxiesWanted()
	return demand{
		reconciling: c.launchesHeld(), proxies: n, spread: n > 0 && c.spreadOver(),
		backoff: c.clock < c.proxies.until, miners: miners, room: c.minerRoom() != 0,
	}
}

// reconsiderOffers looks at held offers again, if what they wait for changed.
func (c *Core) reconsiderOffers() {
	if len(c.offers.held) == 0 {
		return
	}
	d := c.demand()
	if d == c.offers.had {
		return
	}
	c.offers.had = d
	held, seen := c.offers.held, 0
	c.offers.held = nil // release does not touch them meanwhile
	var kept []*heldOffer
	for _, h := range held {
		seen++
		if h.gone || c.answer(h) {
			continue
		}
		kept = append(kept, h)
		if h.why.Code == reasonPace && c.proxiesWanted() == 0 {
			break // nor is there room for those behind it
		}
	}
	clear(held[:seen])
	copy(held[seen-len(kept):], kept)
	c.offers.held = held[seen-len(kept):]
	c.offers.had = c.demand()
}

// verdict is the result of looking at an offer: launch something, decline, or hold.
type verdict struct {
	launches []launch
	reason   Reason
	refuse   time.Duration
	hold     bool
}

// answer says whether the offer is answered.
func (c *Core) answer(h *heldOffer) bool { return c.answerWith(h, c.judge(h)) }

func (c *Core) answerWith(h *heldOffer, v verdict) bool {
	if v.hold && c.clock < h.agent.noHold {
		v.hold, v.refuse = false, max(v.refuse, refuseLater)
	}
	if len(v.launches) == 0 && v.hold {
		h.why = v.reason
		return false
	}
	c.release(h)
	if len(v.launches) > 0 {
		c.accept(h, v)
	} else {
		c.decline(h, v.reason, v.refuse)
	}
	return true
}

// judge decides about an offer without answering it.
func (c *Core) judge(h *heldOffer) verdict {
	o, a := h.offer, h.agent
	if role := o.GetAllocationInfo().GetRole(); role != "" && !slices.Contains(c.set.Roles, role) {
		return verdict{reason: because(reasonRole, "it is for role %q, ours: %q", role, c.set.Roles), refuse: refuseUseless}
	}
	if d, yes := c.drained(o.AgentID.Value, o.Hostname); yes {
		return verdict{reason: because(reasonDrained, "drained by %s", d.Who), refuse: refuseUseless}
	}
	if from, soon := a.maintenance(c.now, maintenanceMargin); soon {
		return verdict{
			reason: because(reasonMaintenance, "maintenance of the agent begins %s", from.UTC().Format(time.RFC3339)),
			refuse: refuseMaintenance,
		}
	}
	if wait := a.until - c.clock; wait > 0 {
		return verdict{
			reason: because(reasonAgentBackoff, "the agent is left alone after failures (%.1f lately)", a.failures.count(c.clock)),
			refuse: max(wait, refuseLeast),
		}
	}
	if c.launchesHeld() {
		return verdict{reason: c.explain(reasonReconciling, ""), hold: true}
	}
	miners, detail := c.minersWanted()
	if c.proxiesWanted() == 0 && miners != reasonNone && !miners.soon() {
		return c.turnDown(miners, detail)
	}

	c.inventory = c.inventory.with(o.Resources, c.set.Revocable)
	inv := c.inventory
	a.spare.see(c.clock, inv)
	launches, v := c.judgeProxies(o, a, inv)
	if miners != reasonNone {
		switch {
		case len(launches) > 0: // the rest is for miners once the proxy is up
			return verdict{launches: launches, refuse: refuseLater}
		case v.reason.Code != reasonNone:
			return v
		}
		if unfit := c.minerUnfit(inv); unfit.Code != reasonNone {
			return verdict{reason: unfit, refuse: refuseUseless}
		}
		if place := c.minerPlace(a, 0); place.Code == reasonConstraint {
			return verdict{reason: place, refuse: refuseUseless}
		}
		return c.turnDown(miners, detail)
	}
	more, reason := c.placeMiners(a, inv, c.minerRoom())
	launches = append(launches, more...)
	refuse := refuseUseless
	// What is of no use now is when the agent is not left to others any more.
	if a.busy != nil && a.busy.wait(c.now) > 0 {
		refuse = max(refuseLeast, min(refuse, a.busy.wait(c.now)))
	}
	if len(launches) == 0 {
		return verdict{reason: reason, refuse: refuse}
	}
	return verdict{launches: launches, refuse: refuse}
}

// turnDown is the verdict when miners are not wanted now.
func (c *Core) turnDown(miners reasonCode, detail string) verdict {
	v := verdict{reason: c.explain(miners, detail), refuse: refuseSatisfied, hold: miners.soon()}
	if miners == reasonMinerBackoff {
		wait, _ := c.causes.wait(KindMiner, c.clock)
		v.refuse = max(wait, refuseLater)
	}
	return v
}

// judgeProxies places the proxies that are wanted, one of them at most on an agent,
// or says why none is placed.
func (c *Core) judgeProxies(o *mesos.Offer, a *agent, inv inventory) (launches []launch, v verdict) {
	s := c.slotToFill()
	if s == nil {
		return nil, verdict{}
	}
	if wait := c.proxies.until - c.clock; wait > 0 {
		v.reason = Reason{reasonProxyBackoff, "proxies failed lately, the next one waits"}
		v.hold, v.refuse = wait < offerLife, max(wait, refuseLeast)
		return nil, v
	}
	if place := refusal(c.proxyPlaces(s).Judge(a.place, 0)); place.Code != reasonNone {
		return nil, verdict{reason: place, refuse: refuseUseless}
	}
	if a.hasProxy() && !s.spreadOver(c) {
		return nil, verdict{reason: Reason{reasonSpread, "the agent has a proxy"}, hold: true}
	}
	l, why := c.placeProxy(o, inv, s)
	if l == nil {
		return nil, verdict{reason: why, refuse: refuseUseless}
	}
	return []launch{*l}, verdict{}
}

// launch is a task that is about to be.
type launch struct {
	task      *Task
	resources share
}

// placeProxy cuts a proxy out of the inventory, or says why that cannot be.
func (c *Core) placeProxy(o *mesos.Offer, inv inventory, s *slot) (*launch, Reason) {
	cpus, mem := c.proxySize(s, inv)
	if inv.sum("cpus", false) < cpus {
		return nil, because(reasonProxyUnfit, "a proxy needs %g cpu", fromMilli(cpus))
	}
	if inv.sum("mem", false) < mem {
		return nil, because(reasonProxyUnfit, "a proxy needs %d MB", mem/1000)
	}
	if addressesOf(o, 0) == nil {
		return nil, Reason{reasonProxyUnfit, "a proxy needs an address of its agent"}
	}
	shard, ok := c.freeShard(s)
	if !ok {
		return nil, Reason{reasonProxyUnfit, "a proxy needs a number that no other one has"}
	}
	ports, resources := inv.takePorts(proxyPorts, c.set.Rand)
	if ports == nil {
		return nil, Reason{reasonProxyUnfit, "a proxy needs 2 ports"}
	}
	cut := inv.cutTask(cpus, mem, false)
	cut.task = append(cut.task, resources...)
	t := newTask()
	t.Kind, t.CPUs = KindProxy, cpus
	t.Slot, t.Shard, t.Ports, t.Addresses = s.n, shard, ports, addressesOf(o, ports[0])
	return &launch{task: t, resources: cut}, Reason{}
}

// placeMiners cuts a miner out of the inventory on all of its cpus, and one more on
// those that are revocable, which no task may mix with others; at most room (-1: any
// number). It says why there is none.
func (c *Core) placeMiners(a *agent, inv inventory, room int) (launches []launch, reason Reason) {
	if unfit := c.minerUnfit(inv); unfit.Code != reasonNone {
		return nil, unfit
	}
	// Revocable ones first: the kernel gives them the least weight.
	for _, revocable := range []bool{true, false} {
		cpus := c.minerCPUs(inv, revocable)
		if cpus >= leastMinerCPU && !revocable && c.set.IdleMode && a.others().wait(c.now) > 0 {
			reason = Reason{reasonBusy, "its agent is left to other work (--mode idle)"}
			continue
		}
		if most := c.cpuRoom(a, launches); most >= 0 && cpus > most {
			if cpus = most; cpus < leastMinerCPU {
				reason = Reason{reasonBounded, "an operator bounds the cpus that miners may have"}
			}
		}
		if cpus < leastMinerCPU || room == 0 || inv.sum("mem", false) < c.minerMem() {
			continue
		}
		if place := c.minerPlace(a, len(launches)); place.Code != reasonNone {
			reason = place
			break
		}
		t := newTask()
		t.Kind, t.CPUs, t.Revocable = KindMiner, cpus, revocable
		launches = append(launches, launch{task: t, resources: inv.cutTask(cpus, c.minerMem(), revocable)})
		room--
	}
	return launches, reason
}

// minerMem is what a miner is given, in thousandths of a MB.
func (c *Core) minerMem() int64 { return int64(c.set.MinerMem) * 1000 }

// minerCPUs is what a miner may have.
func (c *Core) minerCPUs(inv inventory, revocable bool) int64 {
	cpus := inv.sum("cpus", revocable)
	switch {
	case revocable:
		return cpus
	case c.set.OnlyRevocable:
		return 0
	}
	return cpus - toMilli(c.set.HoldBackCPUs)
}

// minerUnfit says why no miner could ever run on what there is.
func (c *Core) minerUnfit(inv inventory) Reason {
	switch {
	case inv.total("cpus") < leastMinerCPU:
		return Reason{reasonNoCPUs, "no cpus are left"}
	case c.set.OnlyRevocable && c.minerCPUs(inv, true) < leastMinerCPU:
		return Reason{reasonNotRevocable, "its cpus are not revocable (--only-revocable)"}
	case c.minerCPUs(inv, false) < leastMinerCPU && c.minerCPUs(inv, true) < leastMinerCPU:
		return because(reasonHeldBack, "its cpus are held back (--hold-back-cpus %g)", c.set.HoldBackCPUs)
	case inv.sum("mem", false) < c.minerMem():
		return because(reasonMinerUnfit, "a miner needs %d MB", c.set.MinerMem)
	}
	return Reason{}
}

// endpointOf is where an agent's API is, scheme://host:port; "": the offer does not tell.
func endpointOf(u *mesos.URL) string {
	if u == nil {
		return ""
	}
	host := u.Address.GetIP()
	if host == "" {
		host = u.Address.GetHostname()
	}
	if host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return u.Scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(u.Address.Port)))
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
	infos := make([]mesos.TaskInfo, len(v.launches))
	ids := make([]string, len(v.launches))
	for i, l := range v.launches {
		if err := c.launch(h.agent, l, &infos[i]); err != nil {
			c.stop(err)
			return
		}
		ids[i] = l.task.ID
	}
	c.counters.OffersAccepted++
	c.places.refused, c.places.served = "", c.clock
	c.call(acceptOf(h.offer.ID, infos, v.refuse))
	c.revive.filtered = true
	c.tell(Accepted{c.decide(h, "accepted", Reason{}, v.refuse, ids)})
}

func (c *Core) decline(h *heldOffer, reason Reason, refuse time.Duration) {
	c.counters.OffersDeclined[string(reason.Code)]++
	c.refusedPlace(reason)
	c.call(declineOf(h.offer.ID, refuse))
	c.revive.filtered = true
	c.decide(h, "declined", reason, refuse, nil)
}

func (c *Core) decide(h *heldOffer, outcome string, reason Reason, refuse time.Duration, tasks []string) Decision {
	d := Decision{
		At: c.now, OfferID: h.offer.ID.Value, AgentID: h.offer.AgentID.Value, Hostname: h.offer.Hostname,
		Resources: h.offer.Resources, Outcome: outcome, Reason: reason, Tasks: tasks, Refuse: refuse,
	}
	c.decisions.add(d)
	return d
}

// inverseOffers agrees to every request for resources: watchMaintenance ends our
// tasks in time.
func (c *Core) inverseOffers(offers []mesos.InverseOffer) {
	for i := range offers {
		o := &offers[i]
		if o.AgentID != nil {
			c.unavailability(c.agent(o.AgentID.Value, ""), &o.Unavailability)
		}
		// They are repeated after the filter for as long as the maintenance is
		// planned; once in a while is enough.
		c.call(calls.AcceptInverseOffers(o.OfferID).With(calls.RefuseSeconds(inverseEvery)))
	}
}

// watchMaintenance ends tasks on agents that are about to go down.
func (c *Core) watchMaintenance() {
	for len(c.outages) > 0 && c.now.Add(evacuation).After(c.outages[0].from) {
		o := heap.Pop(&c.outages).(*outage) // Mesos tells of it again and again
		if _, soon := o.agent.maintenance(c.now, evacuation); !soon || c.clock-o.told >= staleAfter {
			continue
		}
		for _, t := range o.agent.tasks {
			c.kill(t, WhyMaintenance)
		}
	}
}
