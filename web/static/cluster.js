// The scheduler's page: the cluster.

import "./chart.js";
import "./tabs.js";
import "./table.js";
import { h, byId, setText } from "./dom.js";
import { clock, count, difficulty, duration, hashrate, percent, short } from "./format.js";
import { listTable, modelTable, rate, start, tiles } from "./page.js";

const chart = /** @type {import("./chart.js").Chart} */ (byId("chart"));
chart.splits = { "kernel:": "By kernel", "proxy:": "By proxy" };

const plain = (/** @type {string} */ state) => state.replace("TASK_", "").toLowerCase();

/** @type {import("./table.js").Column[]} */
const taskColumns = [
  { key: "id", label: "Task", width: "w14", id: true, text: (r) => short(r.id), title: (r) => r.id },
  { key: "host", label: "Agent", width: "w14", low: true, title: (r) => r.agent },
  { key: "state", label: "State", width: "w8", tag: true, text: (r) => plain(r.state), tone: (r) => (r.state === "TASK_RUNNING" ? "good" : "warn") },
  { key: "hashrate", label: "Hashrate", width: "w8", number: true, text: (r) => hashrate(r.hashrate) },
  { key: "spark", label: "Trend", width: "w10", spark: (r) => r.spark, sort: false, low: true },
  { key: "threads", label: "Threads", width: "w6", number: true, text: (r) => (r.threads ? String(r.threads) : "–") },
  { key: "kernel", label: "Kernel", width: "w8", low: true, text: (r) => r.kernel || "–" },
  { key: "accepted", label: "Accepted", width: "w6", number: true, text: (r) => count(r.accepted) },
  { key: "rejected", label: "Rejected", width: "w6", number: true, low: true, text: (r) => count(r.rejected), tone: (r) => (r.rejected ? "bad" : "") },
  { key: "stale", label: "Stale", width: "w5", number: true, low: true, text: (r) => count(r.stale) },
  { key: "age", label: "Report", width: "w6", number: true, low: true, text: (r) => (r.age < 0 ? "none" : duration(r.age)), tone: (r) => (r.age > 30 ? "warn" : "") },
  { key: "doing", label: "Doing", width: "w20 wide", title: (r) => r.doing },
];

/** @type {ReturnType<typeof start>} */
let page;

/** why groups the last decisions by outcome and reason. @param {any} d */
function why(d) {
  /** @type {Map<string, {outcome: string, reason: string, n: number, hosts: Set<string>}>} */
  const groups = new Map();
  for (const o of d.offer_decisions) {
    const reason = o.tasks?.length ? "launched tasks" : o.reason || o.outcome;
    const key = `${o.outcome} ${reason}`;
    const g = groups.get(key) ?? { outcome: o.outcome, reason, n: 0, hosts: new Set() };
    g.n++;
    g.hosts.add(o.hostname);
    groups.set(key, g);
  }
  return [...groups.values()].sort((a, b) => b.n - a.n);
}

let bars = /** @type {HTMLElement|null} */ (null);

page = start("cluster", {
  tasks: {
    ...modelTable("Tasks", taskColumns, "-hashrate", ["No tasks yet", "They start as soon as Mesos makes an offer that fits; “Why not” says what became of the last ones."], () => page),
    count: (d) => count(d.totals.tasks),
  },
  agents: listTable("Agents", [
    { key: "hostname", label: "Agent", width: "w20", title: (r) => r.id },
    { key: "tasks", label: "Tasks", width: "w6", number: true },
    { key: "hashrate", label: "Hashrate", width: "w8", number: true, text: (r) => hashrate(r.hashrate) },
    { key: "threads", label: "Threads", width: "w6", number: true },
    { key: "failures", label: "Failures", width: "w6", number: true, text: (r) => (r.failures ? r.failures.toPrecision(2) : "0"), tone: (r) => (r.failures >= 1 ? "warn" : "") },
    { key: "backoff_until", label: "State", width: "w20 wide", text: (r) => (r.backoff_until ? `backs off until ${clock(r.backoff_until)}` : r.unavailable ? `maintenance from ${clock(r.unavailable)}` : "in use") },
  ], "-hashrate", ["No agents known", "An agent is known once it has made an offer."], (d) => d.agents),
  why: {
    label: "Why not",
    make(panel) {
      bars = h("ul", { class: "bars", tabindex: 0, "aria-label": "Offers by what became of them" });
      panel.append(bars);
    },
    update(d) {
      const groups = why(d), all = d.offer_decisions.length;
      bars?.replaceChildren(
        h("li", { class: "who" }, d.need.why ? `Now: ${d.need.why}.` : `What became of the last ${all} offers.`),
        ...groups.map((g) => h("li", {},
          h("div", { class: "top" }, h("span", {}, `${g.outcome}: ${g.reason}`), h("span", {}, `${g.n} of ${all}`)),
          h("progress", { max: all, value: g.n, "aria-label": g.reason }),
          h("div", { class: "who" }, [...g.hosts].slice(0, 8).join(", ") + (g.hosts.size > 8 ? ` and ${g.hosts.size - 8} more` : "")))));
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
    { key: "message", label: "Why", width: "w30 wide", text: (r) => [r.reason.replace("REASON_", "").toLowerCase().replaceAll("_", " "), r.message].filter(Boolean).join(": "), title: (r) => r.message },
  ], "-at", ["Nothing has ended", "Tasks that end are listed here with the reason."], (d) => d.ended),
}, (d) => {
  const t = d.totals, shares = t.accepted + t.rejected + t.stale;
  rate(d.hashrate, t.miners ? `${count(t.mining)} of ${count(t.miners)} miners at work · ${count(t.threads)} threads` : "no miners yet");
  setText(byId("what"), [d.name, d.role && d.role !== "*" ? `role ${d.role}` : ""].filter(Boolean).join(" · "));
  setText(byId("facts"), d.master ? `master ${d.master}` : "");
  const proxy = d.proxy;
  tiles([
    ["Cores", count(Math.round(t.cpus * 10) / 10), `${count(t.idle)} miners idle`],
    ["Agents", count(d.agents.length), `${count(d.agents.filter((/** @type {any} */ a) => a.backoff_until || a.unavailable).length)} not in use`],
    ["Shares", count(t.accepted), `${percent(t.rejected, shares)} rejected, ${percent(t.stale, shares)} stale`],
    ["Work done", difficulty(t.difficulty), "difficulty of shares"],
    ["Blocks", count(d.blocks.length), `${count(d.blocks.filter((/** @type {any} */ b) => b.state === "confirmed").length)} confirmed`],
    ["Height", proxy.height ? count(proxy.height) : "–", proxy.network || "of the block that is mined"],
    ["Proxy", proxy.ready ? "serving" : "not serving", proxy.ready ? `${proxy.address}, ${count(proxy.connections)} connections` : proxy.error || "none is running", proxy.ready ? "" : "bad"],
    ["Upstream", proxy.upstream ? (proxy.upstream.startsWith("node:") ? "node" : "pool") : "–", proxy.upstream.replace(/^.*:\/\//, "") || "none"],
  ]);
  setText(byId("foot"), `framework ${d.framework_id || "not registered"} · executor ${d.artifact.digest.slice(0, 12)} · up ${duration(d.uptime)} · ${clock(d.time)}`);
}, (d) => d.connected ? "" : `Not subscribed at a Mesos master: ${d.error || "no reason known"}. Tasks go on; nothing new is launched.`);
