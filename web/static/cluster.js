// The scheduler's page: the cluster.

import "./chart.js";
import "./tabs.js";
import "./table.js";
import { h, byId, setText } from "./dom.js";
import { clock, count, difficulty, duration, hashrate, percent, short } from "./format.js";
import { listTable, modelTable, rate, refusals, start, tiles } from "./page.js";
import { command, dialog } from "./token.js";

const chart = /** @type {import("./chart.js").Chart} */ (byId("chart"));
chart.splits = { "kernel:": "By kernel", "shard:": "By shard" };

const plain = (/** @type {string} */ state) => state.replace("TASK_", "").toLowerCase();

/** @type {import("./table.js").Column[]} */
const taskColumns = [
  { key: "id", label: "Task", width: "w12", id: true, text: (r) => short(r.id), title: (r) => r.id },
  { key: "host", label: "Agent", width: "w10", low: true, title: (r) => `${r.host} ${r.agent}` },
  { key: "state", label: "State", width: "w7", tag: true, text: (r) => plain(r.state), tone: (r) => (r.state === "TASK_RUNNING" ? "good" : "warn") },
  { key: "hashrate", label: "Hashrate", width: "w8", number: true, text: (r) => hashrate(r.hashrate) },
  { key: "spark", label: "Trend", width: "w9", spark: (r) => r.spark, sort: false, low: true },
  { key: "threads", label: "Threads", width: "w6", number: true, mid: true, text: (r) => (r.threads ? String(r.threads) : "–") },
  { key: "kernel", label: "Kernel", width: "w12", low: true, text: (r) => r.kernel || "–" },
  { key: "accepted", label: "Accepted", width: "w7", number: true, text: (r) => count(r.accepted) },
  { key: "rejected", label: "Rejected", width: "w6", number: true, low: true, text: (r) => count(r.rejected), tone: (r) => (r.rejected ? "bad" : "") },
  { key: "stale", label: "Stale", width: "w5", number: true, mid: true, text: (r) => count(r.stale) },
  { key: "age", label: "Report", width: "w5", number: true, mid: true, text: (r) => (r.age < 0 ? "none" : duration(r.age)), tone: (r) => (r.age > 30 ? "warn" : "") },
  { key: "doing", label: "Doing", width: "wide", title: (r) => r.doing },
  { key: "act", label: "Action", width: "w7", sort: false, text: () => "Restart", act: (r) => restart(r) },
];

/** @param {any} task */
function restart(task) {
  dialog(`Restart ${short(task.id)}?`, [h("p", {}, `It runs on ${task.host}. Another one is launched for it.`)], "Restart",
    () => command(`/api/v1/tasks/${encodeURIComponent(task.id)}/restart`, { reason: "restarted on the page" }));
}

let paused = false;
const pauseButton = h("button", {
  type: "button", class: "act", onclick: async () => {
    if (paused) {
      const wrong = await command("/api/v1/resume");
      if (wrong) dialog("Mining is still paused", [h("p", {}, wrong)], "Close", async () => "");
      return;
    }
    dialog("Pause mining?", [h("p", {}, "All miners stop within a second and keep their tasks; Resume has them go on as fast.")], "Pause",
      () => command("/api/v1/pause", { reason: "paused on the page" }));
  },
}, "Pause mining");

function scale() {
  const input = h("input", { type: "number", min: 0, step: 1, required: true, "aria-label": "Most miners" });
  dialog("How many miners at most?", [h("p", {}, "Fewer than run now: the newest ones are ended. 0 ends all of them."), input], "Scale",
    () => command("/api/v1/scale", { max_miners: Number(input.value) }));
}

/** @param {any} agent */
function drain(agent) {
  if (agent.drained) {
    dialog(`Use ${agent.hostname} again?`, [h("p", {}, "Tasks are launched there again.")], "Undrain", () => command(`/api/v1/agents/${encodeURIComponent(agent.drained)}/undrain`));
    return;
  }
  dialog(`Drain ${agent.hostname}?`, [h("p", {}, "Its tasks end, and nothing is launched there until it is undrained.")], "Drain",
    () => command(`/api/v1/agents/${encodeURIComponent(agent.id)}/drain`, { reason: "drained on the page" }));
}

/** upgrade shows how far the replacement of executors is, while there is one. @param {any} u */
function upgrade(u) {
  const shown = ["running", "paused", "stopped"].includes(u.state), all = u.old + u.new;
  byId("upgrade").hidden = !shown;
  if (!shown) return;
  setText(byId("upgrade-text"), `Upgrade ${u.state}: ${count(u.new)} of ${count(all)} tasks have executor ${u.digest.slice(0, 12)}${u.why ? `. ${u.why}` : ""}`);
  const bar = /** @type {HTMLProgressElement} */ (byId("upgrade-bar"));
  bar.max = Math.max(all, 1);
  bar.value = u.new;
  setText(upgradeButton, u.state === "running" ? "Pause the upgrade" : "Go on");
  upgradeButton.dataset.action = u.state === "running" ? "pause" : "start";
  rollbackButton.hidden = !u.previous;
}

/** @param {string} title @param {string} text @param {string} action */
const turn = (title, text, action) => dialog(title, [h("p", {}, text)], title.replace("?", ""), () => command("/api/v1/upgrade", { action }));
const upgradeButton = h("button", {
  type: "button", class: "act", onclick: () => (upgradeButton.dataset.action === "pause" ?
    turn("Pause the upgrade?", "No further tasks are replaced; those that were stay.", "pause") :
    turn("Go on with the upgrade?", "The tasks with other executors are replaced, a few at a time.", "start")),
}, "Pause the upgrade");
const rollbackButton = h("button", { type: "button", class: "act", onclick: () => turn("Roll back?", "All tasks get the executor of before.", "rollback") }, "Roll back");
byId("upgrade-acts").append(upgradeButton, rollbackButton);

/** @type {ReturnType<typeof start>} */
let page;

const mostEvents = 300;
const events = /** @type {any[]} */ ([]);
let list = /** @type {HTMLElement|null} */ (null);

/** entry is an event in a line. @param {any} e */
function entry(e) {
  return h("li", {}, h("time", { datetime: e.time }, clock(e.time)), h("span", { class: "t" }, e.type), h("span", { class: "m" }, words(e)));
}

/** words say what an event is about. @param {any} e */
function words(e) {
  if (e.block) return `${e.block.height} ${e.block.hash} ${e.block.state}`;
  if (e.ended) return [short(e.ended.id), plain(e.ended.state), `on ${e.ended.hostname}`, e.ended.message].filter(Boolean).join(" ");
  if (e.task) return [short(e.task.id), plain(e.task.state), `on ${e.task.hostname}`, e.message].filter(Boolean).join(" ");
  if (e.decision) return `${e.decision.hostname}: ${e.decision.resources} → ${(e.decision.tasks ?? []).map(short).join(", ") || e.decision.reason}`;
  return [e.message, e.master, e.agent].filter(Boolean).join(" ");
}

let bars = /** @type {HTMLElement|null} */ (null);

page = start("cluster", {
  tasks: {
    ...modelTable("Tasks", taskColumns, "-hashrate", ["No tasks yet", "They start as soon as Mesos makes an offer that fits; “Why not” says what became of the last ones."], () => page,
      () => [pauseButton, h("button", { type: "button", class: "act", onclick: scale }, "Scale …")]),
    count: (d) => count(d.totals.tasks),
  },
  agents: listTable("Agents", [
    { key: "hostname", label: "Agent", width: "w20", title: (r) => r.id },
    { key: "tasks", label: "Tasks", width: "w6", number: true },
    { key: "hashrate", label: "Hashrate", width: "w8", number: true, text: (r) => hashrate(r.hashrate) },
    { key: "threads", label: "Threads", width: "w6", number: true },
    { key: "failures", label: "Failures", width: "w6", number: true, text: (r) => (r.failures ? r.failures.toPrecision(2) : "0"), tone: (r) => (r.failures >= 1 ? "warn" : "") },
    { key: "backoff_until", label: "State", width: "w20 wide", text: (r) => (r.backoff_until ? `backs off until ${clock(r.backoff_until)}` : r.unavailable ? `maintenance from ${clock(r.unavailable)}` : r.drained ? "drained" : "in use") },
    { key: "act", label: "Action", width: "w8", sort: false, text: (r) => (r.drained ? "Undrain" : "Drain"), act: drain },
  ], "-hashrate", ["No agents known", "An agent is known once it has made an offer."], (d) => d.agents),
  why: {
    label: "Why not",
    make(panel) {
      bars = h("ul", { class: "bars", tabindex: 0, "aria-label": "Offers by what became of them" });
      panel.append(bars);
    },
    update(d) {
      const all = d.offers;
      bars?.replaceChildren(
        h("li", { class: "who" }, d.need.why ? `Now: ${d.need.why}.` : `What became of the last ${all} offers.`),
        ...d.reasons.map((/** @type {any} */ g) => h("li", {},
          h("div", { class: "top" }, h("span", {}, `${g.outcome}: ${g.reason}`), h("span", {}, `${g.count} of ${all}`)),
          h("progress", { max: all, value: g.count, "aria-label": g.reason }),
          h("div", { class: "who" }, g.hosts.join(", ") + (g.agents > g.hosts.length ? ` and ${g.agents - g.hosts.length} more` : ""), ` · last ${clock(g.last)}`))));
      if (!all) bars?.append(h("li", { class: "empty" }, h("b", {}, "No offers yet"), "The master has made none; does the role get resources?"));
    },
  },
  blocks: listTable("Blocks", [
    { key: "height", label: "Height", width: "w6", number: true, text: (r) => count(r.height) },
    { key: "hash", label: "Hash", width: "w30", id: true, title: (r) => r.hash },
    { key: "state", label: "State", width: "w8", tag: true, tone: (r) => ({ confirmed: "good", orphaned: "bad" }[/** @type {string} */ (r.state)] ?? "warn") },
    { key: "confirmations", label: "Deep", width: "w6", number: true, low: true },
    { key: "found_at", label: "Found", width: "w14", text: (r) => clock(r.found_at) },
    { key: "finder", label: "By", width: "w20 wide", text: (r) => short(r.finder ?? ""), title: (r) => r.finder ?? "" },
  ], "-found_at", ["No block yet", "A found block shows here the moment it is known."], (d) => d.blocks),
  ended: listTable("Ended", [
    { key: "at", label: "At", width: "w10", text: (r) => clock(r.at) },
    { key: "id", label: "Task", width: "w14", id: true, text: (r) => short(r.id), title: (r) => r.id },
    { key: "hostname", label: "Agent", width: "w14", low: true },
    { key: "state", label: "State", width: "w8", tag: true, text: (r) => plain(r.state), tone: (r) => (r.wanted ? "" : "bad") },
    { key: "message", label: "Why", width: "w30 wide", text: (r) => [r.cause || r.reason.replace("REASON_", "").toLowerCase().replaceAll("_", " "), r.message, r.output?.split("\n").at(-1)].filter(Boolean).join(": "), title: (r) => [r.message, r.output].filter(Boolean).join("\n") },
  ], "-at", ["Nothing has ended", "Tasks that end are listed here with the reason."], (d) => d.ended),
  events: {
    label: "Events",
    make(panel) {
      list = h("ul", { class: "list", tabindex: 0, role: "log", "aria-label": "Events" });
      panel.append(list);
      list.append(...events.map(entry));
      if (!events.length) list.append(h("li", {}, "Nothing has happened yet."));
    },
    event(e) {
      if (!events.length) list?.replaceChildren();
      events.unshift(e);
      list?.prepend(entry(e));
      if (events.length > mostEvents) {
        events.pop();
        list?.lastElementChild?.remove();
      }
    },
  },
}, (d) => {
  paused = d.paused_by_operator;
  setText(pauseButton, paused ? "Resume mining" : "Pause mining");
  upgrade(d.upgrade);
  const t = d.totals, shares = t.accepted + t.rejected + t.stale;
  rate(d.hashrate, t.miners ? `${count(t.mining)} of ${count(t.miners)} miners\n${count(t.threads)} threads` : "no miners yet");
  setText(byId("what"), [d.name, d.role && d.role !== "*" ? `role ${d.role}` : ""].filter(Boolean).join(" · "));
  const proxy = d.proxy;
  setText(byId("facts"), [proxy.upstream && `work from ${proxy.upstream.replace(/^.*:\/\//, "")}`, d.master && `master ${d.master}`].filter(Boolean).join(" · "));
  tiles([
    [d.paused ? "Cores (paused)" : "Cores", count(Math.round(t.cpus * 10) / 10), d.paused || `${count(t.idle)} miners idle`],
    ["Agents", count(d.agents.length), `${count(d.agents.filter((/** @type {any} */ a) => a.backoff_until || a.unavailable || a.drained).length)} not in use`],
    ["Shares", count(t.accepted), ...refusals(t.rejected, t.stale, shares)],
    ["Work done", difficulty(t.difficulty), "difficulty of shares"],
    ["Blocks", count(d.blocks.length), `${count(d.blocks.filter((/** @type {any} */ b) => b.state === "confirmed").length)} confirmed`],
    ["Given to others", percent(t.away + t.parked, t.harvested + t.away + t.parked), "of the time", "", `${count(t.given)} times`],
    ["Height", proxy.height ? count(proxy.height) : "–", proxy.network || "of the next block"],
    ["Proxy", proxy.ready ? "serving" : "not serving", proxy.ready ? `${count(proxy.connections)} miners` : proxy.error || "none is running", proxy.ready ? "" : "bad"],
  ]);
  setText(byId("foot"), `framework ${d.framework_id || "not registered"} · executor ${d.artifact.digest.slice(0, 12)} · up ${duration(d.uptime)} · ${clock(d.time)}`);
}, (d) => d.connected ? d.problems.join(" · ") : `Not subscribed at a Mesos master: ${d.error || "no reason known"}. Tasks go on; nothing new is launched.`);
