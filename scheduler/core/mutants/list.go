package main

// mutant is a deliberate fault.
type mutant struct {
	name  string // what it breaks
	edits []edit
}

// edit puts a new text in the place of an old one, which is there once.
type edit struct{ file, old, new string }

func one(name, file, old, new string) mutant { return mutant{name, []edit{{file, old, new}}} }

// mutants are the faults, by what they break. None of them is to be equal to the core
// as it is: a history that could tell has to exist.
var mutants = []mutant{
	// What must be stored is stored before what depends on it is sent.
	one("the framework id is not stored", "core.go",
		"c.state.FrameworkID = e.FrameworkID\n\t\tc.dirty = true", "c.state.FrameworkID = e.FrameworkID"),
	one("the session's number is not stored", "trust.go",
		"uint64(max(0, c.now.UnixMilli())))\n\tc.dirty = true", "uint64(max(0, c.now.UnixMilli())))"),
	one("a launched task is not stored", "launch.go",
		"c.changed(t)\n\tc.counters.Launched", "c.counters.Launched"),
	one("a task's state is not stored", "task.go",
		"c.count(t, 1)\n\tc.changed(t)\n\tif t.Kind == KindProxy {\n\t\tc.slotOf(t).stale = true", "c.count(t, 1)\n\tif t.Kind == KindProxy {\n\t\tc.slotOf(t).stale = true"),
	one("a task's end is not stored", "task.go",
		"delete(c.state.Tasks, t.ID)\n\tc.changed(t)", "delete(c.state.Tasks, t.ID)"),
	one("a kill is not stored", "kill.go", "c.count(t, 1)\n\tc.changed(t)", "c.count(t, 1)"),
	one("a list of proxies is not stored", "proxies.go", "c.dirty = true\n\tc.lists.walk", "c.lists.walk"),
	one("the key for secrets is not stored", "trust.go",
		"t.Key = slices.Clone(h.PublicKey[:min(len(h.PublicKey), 64)])\n\t\tc.changed(t)", "t.Key = slices.Clone(h.PublicKey[:min(len(h.PublicKey), 64)])"),
	one("the state is stored last", "core.go",
		"if !c.dirty {\n\t\tactions = actions[1:]\n\t}", "if actions = actions[1:]; c.dirty {\n\t\tactions = append(actions, Persist{})\n\t}"),
	one("a block is stored last", "core.go", "actions = append(c.stores, actions...)", "actions = append(actions, c.stores...)"),
	one("a block's receipt is sent before it is stored", "blocks.go",
		"c.stores = append(c.stores, StoreBlock{Hash: hash, Data: data})",
		"c.stores = append(c.stores, StoreBlock{Hash: hash, Data: data})\n\tc.blockReceived(p, m.Block.Hash)"),
	one("a block that the disk refused counts as stored", "blocks.go", "if e.Err != \"\" {\n\t\tc.troubled(\"blocks\"", "if false {\n\t\tc.troubled(\"blocks\""),
	one("a changed block is not stored", "blocks.go", "c.touched.block(b.Hash)\n\tc.dirty = true", "c.dirty = true"),

	// What is used once.
	one("a task's number is used twice", "launch.go", "c.state.NextTask++\n\tn := c.state.NextTask", "n := c.state.NextTask + 1"),
	one("two proxies have one epoch", "launch.go", "c.state.Epoch++\n\t\tt.Epoch = c.state.Epoch", "t.Epoch = c.state.Epoch + 1"),
	one("an epoch means two lists", "proxies.go", "c.state.Epoch++\n\tc.state.Proxies = ProxyList", "c.state.Proxies = ProxyList"),
	one("two proxies search one space", "task.go", "c.shards[t.Shard]++", "_ = t.Shard"),
	one("calls are of the first subscription", "core.go", "c.connected, c.session, c.master, c.lastError = true, e.Session, e.Master, \"\"",
		"c.connected, c.master, c.lastError = true, e.Master, \"\"\n\tif c.session == 0 {\n\t\tc.session = e.Session\n\t}"),

	// What Mesos says.
	one("FAILURE is ignored", "task.go", "c.ask(t, 3*time.Second)", "_ = t"),
	one("RESCIND is ignored", "offer.go", "if h := c.offers.byID[id]; h != nil {", "if h := c.offers.byID[id]; h != nil && false {"),
	{"offers outlive a resubscription", []edit{
		{"core.go", "// All offers of the time before are void, without a RESCIND.\n\tc.offers.clear()", ""},
		{"core.go", "c.tell(Lost{reason})\n\t}\n\tc.offers.clear()", "c.tell(Lost{reason})\n\t}"},
	}},
	one("an update is acknowledged only once", "task.go", "if len(s.UUID) > 0 && s.AgentID != nil {",
		"if t := c.state.Tasks[s.TaskID.Value]; t != nil && len(s.UUID) > 0 && s.AgentID != nil {"),
	one("an update without a number is acknowledged", "task.go", "if len(s.UUID) > 0 && s.AgentID != nil {", "if s.AgentID != nil {"),
	one("an update of another agent is believed", "task.go", "if s.AgentID != nil && s.AgentID.Value != t.AgentID {", "if false {"),
	one("a refused ACCEPT is not noticed", "refused.go", "for _, id := range e.Tasks {", "for _, id := range e.Tasks[:0] {"),
	one("an ACCEPT that may be lost is not asked about", "refused.go", "c.ask(t, refusedPatience)", "_ = t"),
	one("maintenance is not heeded when tasks are launched", "offer.go",
		"if from, soon := a.maintenance(c.now, maintenanceMargin); soon {", "if from, soon := a.maintenance(c.now, maintenanceMargin); soon && false {"),
	one("tasks stay on an agent in maintenance", "core.go", "\tc.watchMaintenance()\n", ""),

	// Reconciliation.
	one("tasks are not asked about after a subscription", "reconcile.go",
		"t.run.asked.pending, t.run.asked.attempts = true, 0\n\t\tc.queueQuestion(t)\n\t}\n\tr.pending = len(c.tasks)", "_ = t\n\t}"),
	one("a question is asked once", "reconcile.go", "q.attempts++\n\t\t\tc.ask(t, pause)", "q.attempts++\n\t\t\t_ = pause"),
	one("Mesos is never asked for what it has", "reconcile.go", "r.implicit = false\n\t\t\tc.call(calls.Reconcile())", "r.implicit = false"),
	one("Mesos is asked for what it has only once", "reconcile.go", "c.recon.implicit = true\n\t\t\tc.counters", "c.counters"),
	one("tasks are launched before those of before are known", "reconcile.go",
		"return !c.recon.done && c.clock-c.recon.started < holdLaunches", "return false"),
	one("unknown tasks of Mesos are left alone", "orphan.go", "c.orphans[id] = k\n\tc.queueKill(k)", "c.orphans[id] = k"),
	one("unknown tasks are killed when they are over", "orphan.go", "c.endKill(k)\n\t\tdelete(c.orphans, id)", "delete(c.orphans, id)"),

	// Watchdogs.
	one("a silent proxy is never replaced", "slot.go", "case silent > silentLimit || word == idleWord && silent > c.freshFor(t):", "case silent < 0:"),
	one("a proxy without work is never replaced", "slot.go", "\t\treturn patient\n\t}\n\treturn healthNoWork\n}", "\t\treturn patient\n\t}\n\treturn patient\n}"),
	one("a proxy that its miners do not reach is never replaced", "slot.go",
		"if t == s.active && s.witness.useless(c.clock, c.witnessSpan()) {", "if false {"),
	one("a proxy that is out of sight is never replaced", "slot.go", "case c.clock-max(r.since, c.recon.started) < awayPatience && word != idleWord:", "case true:"),
	one("a next proxy that is no better is kept", "slot.go", "next <= healthNoWork && progress(s.next.State) >= progress(stateRunning) && c.clock-s.next.run.since > nextPatience", "false"),
	one("a proxy with settings of before is kept", "slot.go", "(t.Spec != c.spec(KindProxy) || c.outdated(t) &&", "(c.outdated(t) && t.Spec == c.spec(KindProxy) &&"),
	one("watchdogs run without a subscription", "clock.go", "if c.connected && !c.stalled {", "if !c.stalled {"),
	one("watchdogs run while calls wait", "clock.go", "if c.connected && !c.stalled {", "if c.connected {"),
	one("a clock that jumps rings every alarm", "clock.go", "if d > longestStep {\n\t\t\td = usualStep\n\t\t}", ""),
	one("the grace runs over a disconnection", "core.go", "\tif c.lostAt != never {\n\t\t// Without", "\tif false {\n\t\t// Without"),
	one("the grace never ends", "core.go", "\tc.graceOver()\n", ""),
	one("the grace is over at once", "proxies.go", "c.clock-c.lostAt < c.set.ProxyGrace {", "c.clock < c.lostAt {"),
	one("a launch that nothing is heard of is not asked about", "task.go", "c.ask(t, 0)\n\t\tc.watchLaunch(t)", "c.watchLaunch(t)"),
	one("a launch that never runs is waited for", "task.go", "if c.clock-r.since >= launchLimit {", "if false {"),
	one("a launch is given up early", "task.go", "if c.clock-r.since >= launchLimit {", "if c.clock-r.since >= launchLimit/5 {"),
	one("a miner that hangs is kept", "task.go", "if c.hangs(t) {", "if false {"),
	one("a miner that pauses counts as hung", "task.go", "return c.clock-spoke > silentLife", "return c.clock-spoke > silentLife/40"),
	one("unknown tasks are never given up", "task.go", "if t.State != stateUnknown && t.Kill == \"\" && c.now.Sub(t.Since) < awayLife {", "if t.Kill == \"\" && c.now.Sub(t.Since) < awayLife {"),
	one("tasks that are away are given up soon", "task.go", "if t.State != stateUnknown && t.Kill == \"\" && c.now.Sub(t.Since) < awayLife {", "if false {"),

	// Ends of tasks.
	one("KILL goes to agents that are away", "task.go", "c.pauseKill(r.killing)\n", "\n"),
	one("a killed task that comes back is left alone", "kill.go", "k.round++\n\t\tc.queueKill(k)\n\t}\n}\n\n// restartKills", "k.round++\n\t}\n}\n\n// restartKills"),
	one("KILL is sent once", "kill.go", "if k.round == round {\n\t\t\t\tc.queueKill(k)", "if k.round == round {\n\t\t\t\t_ = k"),
	one("KILL is repeated without a pause", "kill.go", "c.after(c.jitter(exponential(killFirst, killMost, float64(k.attempts-1))), func() {", "c.after(0, func() {"),
	one("an executor that ignores KILL is left alone", "kill.go", "c.call(calls.Shutdown(k.executor, k.agent))", ""),
	one("kills are forgotten by a restart", "task.go", "if t.Kill != \"\" {\n\t\tc.startKill(t)\n\t}\n}\n\n// remove", "}\n\n// remove"),
	one("what was replaced while it was away runs on", "task.go", "c.kill(t, WhySurplus)\n\t\t\treturn", "return"),
	one("a miner is killed though a proxy is on its way", "need.go", "if s == nil || !c.settled() || c.revive.wanted ||", "if s = c.slots[0]; !c.settled() || c.revive.wanted ||"),
	one("a miner is killed though there is room", "need.go", "c.clock-max(s.wanted, c.revive.at, c.recon.started, c.proxies.until) < patience || len", "patience < 0 || len"),
	one("no room is made for a proxy", "core.go", "\tc.makeRoom()\n", ""),
	one("a proxy is ended before the next one serves", "slot.go", "case next == healthServing && (s.health <= healthNoWork", "case next >= healthStarting && (s.health <= healthNoWork"),
	one("a proxy is ended before its miners have moved", "slot.go", "return moving >= dismissPause && c.allTold() || moving >= dismissLimit", "return moving >= 0"),
	one("a proxy that its miners have left runs on", "slot.go", "return moving >= dismissPause && c.allTold() || moving >= dismissLimit", "return moving < 0"),

	// Bounds.
	one("an offer is kept for ever", "offer.go", "c.after(offerLife, func() { c.expire(h) })", ""),
	one("offers are kept again and again", "offer.go", "h.agent.noHold = c.clock + pause", "_ = pause"),
	one("offers are refused for a moment only", "offer.go", "c.call(declineOf(h.offer.ID, refuse))", "c.call(declineOf(h.offer.ID, refuseLeast))"),
	one("offers are never suppressed", "need.go", "case idle && !r.suppressed:", "case false:"),
	one("offers are never revived", "need.go", "case (r.wanted || r.suppressed && !idle) && r.bucket.take(c.clock):", "case false:"),
	one("offers are revived without a limit", "need.go", "case (r.wanted || r.suppressed && !idle) && r.bucket.take(c.clock):", "case n.proxies || n.miners:"),
	one("there are more miners than are wanted", "need.go", "room = min(room, most-c.sums.live)", ""),
	one("launches are not paced", "need.go", "window := c.pace.window", "window := 1 << 30"),
	one("an agent where tasks fail gets more at once", "agent.go", "a.until = max(a.until, c.clock+c.jitter(d))", "_ = d"),
	one("a damaged copy in a cache is used for ever", "backoff.go", "// It never spoke: the file in the agent's cache may be damaged.\n\t\ta.badCache = t.Digest", ""),
	one("an archive that an agent cannot unpack is fetched for ever", "backoff.go", "a.plain = t.run.packed", "_ = a"),
	one("an upgrade has no limit", "rollout.go", "room -= max(r.killed-r.proved, c.sums.flight)", "room = 1 << 20"),
	one("an upgrade goes on though the new ones fail", "rollout.go", "if r.failures < mostFailures {", "if r.failures >= 0 {"),
	one("an upgrade that failed does not go back", "rollout.go", "r.back = !runs && c.set.Fallback.Digest != \"\" && c.set.Fallback.Digest != c.set.ArtifactDigest", "r.back = false"),
	one("an upgrade that failed begins anew at a restart", "rollout.go", "c.stopRollout(b.Why, b.Runs)", "_ = b"),
	one("tasks are not upgraded", "core.go", "\tc.roll()\n", ""),
	one("miners are told the list again without a pause", "proxies.go", "r.listEpoch == c.state.Proxies.Epoch && c.clock-r.listAt < listFirst {", "false {"),
	{"miners are told the list once", []edit{
		{"proxies.go", "if c.clock-r.listAt >= pause {", "if false {"},
		{"proxies.go", "r.knownEpoch = max(r.knownEpoch, epoch)\n\tc.wantList(t)", "r.knownEpoch = max(r.knownEpoch, epoch)"},
	}},
	one("miners hear of a proxy before it runs", "proxies.go", "t != nil && (t.run.listed || t.State == stateRunning)", "t != nil"),

	// What others want of miners and agents.
	one("what is away counts when an operator wants fewer miners", "operator.go", "if t.Kind == KindMiner && t.Kill == \"\" && !away(t.State) {\n\t\t\tminers", "if t.Kind == KindMiner && t.Kill == \"\" {\n\t\t\tminers"),
	one("a task that somebody else ends in vain is left in that", "task.go", "c.kill(t, WhyEnding)", "_ = t"),
	one("a proxy ends at once when its agent is drained", "operator.go", "c.watchDrain(t) // another one takes over first\n\t\t\t\tcontinue", "_ = t"),
	one("no other proxy is launched when the agent of one is about to go", "slot.go", "func (c *Core) planned(t *Task) bool { return c.outmoded(t) || c.leaves(t) }", "func (c *Core) planned(t *Task) bool { return c.outmoded(t) }"),
	one("a miner is killed for a proxy where none fits", "need.go", "if a.spare.known && (a.spare.mem+c.minerMem() < mem || a.spare.ports < proxyPorts) {", "if a.spare.known && mem < 0 {"),

	// Several proxies, and moves.
	one("a proxy of before does not take its place back", "slot.go",
		"s.active, s.next, s.moved, s.witness = s.next, nil, never, witness{}\n\tcase s.next:", "s.active, s.next, s.moved, s.witness = nil, nil, never, witness{}\n\tcase s.next:"),
	one("a proxy that did not last is tried again at once", "slot.go", "} else { // the one that was to be better was not, for long\n\t\ts.noUse(c)", "} else {\n\t\t_ = s"),
	one("a next proxy is tried again without a pause", "slot.go", "s.retry = c.clock + c.jitter(exponential(retryFirst, retryMost, float64(s.tries)))", "s.retry = c.clock"),
	one("the older of two proxies is the active one after a restart", "slot.go", "case s.next == nil && (s.active.run.listed || !t.run.listed):", "case s.next == nil:"),
	one("a restart forgets that a proxy is moving", "slot.go", "if s.next != nil && s.next.Epoch < s.active.Epoch {", "if false {"),
	one("two proxies on agents that go take turns", "slot.go", "|| c.planned(s.active) && !c.planned(s.next)),", "|| c.planned(s.active)),"),
	one("a next proxy is ended though the agent of the first goes", "slot.go", "!away(s.active.State) && (!c.planned(s.active) || c.planned(s.next)):", "!away(s.active.State):"),
	one("a proxy is moved as soon as Mesos loses sight of it", "slot.go", "return away(t.State) && c.clock-max(t.run.since, c.recon.started) > awayLimit", "return away(t.State)"),
	one("a proxy that Mesos does not see counts as gone, whatever its miners say", "slot.go", "case away(t.State):\n\t\tswitch {\n\t\tcase word == miningWord:", "case away(t.State):\n\t\tswitch {\n\t\tcase false:"),
	one("a proxy that does not report counts as gone, whatever its miners say", "slot.go", "c.clock-r.reportAt > c.freshFor(t):\n\t\tswitch {\n\t\tcase word == miningWord:", "c.clock-r.reportAt > c.freshFor(t):\n\t\tswitch {\n\t\tcase false:"),
	one("a place that is not wanted any more is kept", "slot.go", "if s.active != nil && c.allServe() {", "if false {"),
	one("two proxies go to one agent at once", "offer.go", "if a.hasProxy() && !s.spreadOver(c) {", "if false {"),
	one("an agent without a proxy is waited for for ever", "slot.go", "return c.clock-s.wanted >= spreadPatience }", "return false }"),
	one("all miners have the same first proxy", "proxies.go", "cmp.Or(cmp.Compare(affinity(t.AgentID, a), affinity(t.AgentID, b)), a-b)", "a - b"),
	one("a proxy that comes or goes changes the order of all others", "proxies.go", "cmp.Compare(affinity(t.AgentID, a), affinity(t.AgentID, b))", "cmp.Compare(affinity(t.AgentID, a+len(order)), affinity(t.AgentID, b+len(order)))"),
	one("miners know of one proxy only", "proxies.go", "order = order[:min(len(order), mostListed)]", "order = order[:min(len(order), 1)]"),
	one("a proxy is taken from the list when it is silent", "proxies.go", "t != nil && (t.run.listed || t.State == stateRunning)", "t != nil && s.health >= healthStarting && (t.run.listed || t.State == stateRunning)"),
	one("the last proxies of a longer list stay on it", "proxies.go", "same = same && slices.Equal(lists[i], c.state.Proxies.of(i))", "same = same && (i > 0 || slices.Equal(lists[i], c.state.Proxies.of(i)))"),

	// Upgrades, and what keeps launches back.
	one("an upgrade begins with many at a time", "rollout.go", "if r.proved == 0 {\n\t\troom = 1\n\t}", ""),
	one("an upgrade counts what runs and has not shown that it works", "task.go", "c.after(provedAfter, func() {", "c.after(0, func() {"),
	one("an upgrade ends miners that would not be launched again", "rollout.go", "default:\n\t\treturn // they would not be launched again", "default:\n\t\t// they would not be launched again"),
	one("an executor that did not run is forgotten at a restart", "rollout.go", "if b.Digest != c.set.ArtifactDigest || c.now.Sub(b.At) >= badFor {", "if true {"),
	{"what did not run is known from the first tick on only", []edit{
		{"core.go", "\tc.rememberBad()\n", ""},
		{"rollout.go", "func (c *Core) roll() {\n", "func (c *Core) roll() {\n\tif c.connected {\n\t\tc.rememberBad()\n\t}\n"},
	}},
	one("the executor of before is forgotten", "rollout.go", "if c.rollout.back {\n\t\treturn c.set.Fallback\n\t}", ""),
	one("what fails everywhere is launched everywhere", "backoff.go", "if !k.open {\n\t\tk.open = true", "if !k.open {\n\t\tk.open = false"),
	one("launches are never paced up", "backoff.go", "p.window = min(p.window+1, paceMost)", "_ = p"),
	one("launches that take long are not paced down", "backoff.go", "p.window = max(paceLeast, p.window*2/3)", "_ = p"),
	one("each launch that takes long slows all down", "backoff.go", "p.until = clock + d", "_ = d"),
	one("back-offs do not grow", "agent.go", "if d := float64(base) * math.Exp2(max(0, n)); d < float64(limit) {", "if d := float64(base); d < float64(limit) {"),
	one("an agent that preempted a miner gets another at once", "backoff.go", "c.leaveAlone(a, 2*time.Minute)", "_ = a"),
	one("an agent that drops launches gets more at once", "backoff.go", "c.leaveAlone(a, exponential(2*time.Second, time.Minute, 2*a.failures.count(c.clock)-1))", "_ = a"),
	one("an agent where an operator killed a task gets another at once", "operator.go", "c.leaveAlone(a, killedPause)", "_ = a"),
	one("many are tried at a time where one is to show whether they can run", "backoff.go", "n := 1 + int(max(0, clock-k.until)/probeLimit)", "n := 1 << 20"),
	one("one bad agent holds back all", "backoff.go", "if len(k.agents) < mostAgents || len(k.agents) <= c.sums.good {", "if len(k.agents) < 1 {"),
	one("what failed everywhere is held back though it runs again", "backoff.go", "if k.kind == t.Kind {\n\t\t\tdelete(cs, key)", "if k.kind == t.Kind && key == \"\" {\n\t\t\tdelete(cs, key)"),
	one("what fails everywhere is tried without a pause", "backoff.go", "k.until = c.clock + c.jitter(exponential(breakerFirst, breakerMost, float64(k.tries)))", "_ = k"),
}
