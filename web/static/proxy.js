// The pool-proxy's page.

import "./chart.js";
import "./tabs.js";
import "./table.js";
import { byId, setText } from "./dom.js";
import { clock, count, difficulty, duration, hashrate, percent, short } from "./format.js";
import { listTable, modelTable, rate, refusals, start, tiles } from "./page.js";

/** @type {import("./table.js").Column[]} */
const workerColumns = [
  { key: "id", label: "Worker", width: "w20", id: true, text: (r) => short(r.id), title: (r) => r.id },
  { key: "hashrate", label: "Hashrate", width: "w8", number: true, text: (r) => hashrate(r.hashrate) },
  { key: "spark", label: "Trend", width: "w10", spark: (r) => r.spark, sort: false, low: true },
  { key: "accepted", label: "Accepted", width: "w7", number: true, text: (r) => count(r.accepted) },
  { key: "rejected", label: "Rejected", width: "w6", number: true, text: (r) => count(r.rejected), tone: (r) => (r.rejected ? "bad" : "") },
  { key: "stale", label: "Stale", width: "w6", number: true, low: true, text: (r) => count(r.stale) },
  { key: "work", label: "Work", width: "w8", number: true, low: true, text: (r) => difficulty(r.work) },
  { key: "best", label: "Best share", width: "w8", number: true, text: (r) => difficulty(r.best) },
  { key: "blocks", label: "Blocks", width: "w6", number: true, low: true },
  { key: "seen", label: "Last share", width: "w14 wide", text: (r) => (r.seen ? clock(r.seen * 1000) : "–") },
];

/** @type {ReturnType<typeof start>} */
let page;

page = start("proxy", {
  workers: {
    ...modelTable("Workers", workerColumns, "-hashrate", ["No workers yet", "Point a miner at the Stratum address below."], () => page),
    count: (d) => count(d.worker_count),
  },
  upstreams: listTable("Upstreams", [
    { key: "url", label: "Upstream", width: "w30", id: true, title: (r) => r.url },
    { key: "kind", label: "Kind", width: "w6" },
    { key: "state", label: "State", width: "w10", tag: true, tone: (r) => (r.active ? "good" : r.up ? "" : "bad") },
    { key: "height", label: "Height", width: "w8", number: true, text: (r) => (r.height ? count(r.height) : "–") },
    { key: "since", label: "Since", width: "w14", low: true, text: (r) => (r.since ? clock(r.since) : "–") },
    { key: "error", label: "Error", width: "w20 wide", title: (r) => r.error ?? "" },
  ], "", ["No upstream", "The proxy has nowhere to get work from."],
  (d) => d.upstreams.map((/** @type {any} */ u) => ({ ...u, state: u.active ? "mined for" : u.up ? "ready" : "down" }))),
  rejects: listTable("Outcomes", [
    { key: "outcome", label: "Outcome", width: "w20" },
    { key: "shares", label: "Shares", width: "w10", number: true, text: (r) => count(r.shares) },
    { key: "part", label: "Part", width: "w8", number: true, text: (r) => percent(r.shares, r.all) },
    { key: "difficulty", label: "Work", width: "w10 wide", number: true, text: (r) => difficulty(r.difficulty) },
  ], "-shares", ["No shares yet", ""], (d) => d.outcomes),
  blocks: listTable("Blocks", [
    { key: "height", label: "Height", width: "w6", number: true, text: (r) => count(r.height) },
    { key: "hash", label: "Hash", width: "w30", id: true, title: (r) => r.hash },
    { key: "state", label: "State", width: "w8", tag: true, tone: (r) => ({ confirmed: "good", orphaned: "bad" }[/** @type {string} */ (r.state)] ?? "warn") },
    { key: "confirmations", label: "Deep", width: "w6", number: true, low: true },
    { key: "found_at", label: "Found", width: "w14", text: (r) => clock(r.found_at) },
    { key: "finder", label: "By", width: "w20 wide", text: (r) => short(r.finder), title: (r) => r.finder },
  ], "-found_at", ["No block yet", "A found block shows here the moment it is known."], (d) => d.blocks),
}, (d) => {
  const miner = d.kind === "miner";
  const shares = d.shares.accepted + d.shares.rejected + d.shares.stale;
  rate(d.hashrate, miner ? `${count(d.threads)} ${d.threads === 1 ? "thread" : "threads"}\n${d.kernel}` : `${count(d.connections)} connections\n${count(d.worker_count)} workers`);
  setText(byId("what"), [d.network, miner ? "miner" : "pool-proxy"].filter(Boolean).join(" · "));
  setText(byId("facts"), d.upstream ? `work from ${d.upstream.replace(/^.*:\/\//, "")}` : "");
  tiles([
    ["Shares", count(d.shares.accepted), ...refusals(d.shares.rejected, d.shares.stale, shares)],
    ["Best share", difficulty(d.best_share), d.network_difficulty ? `of ${difficulty(d.network_difficulty)} for a block` : "difficulty"],
    ["Expected block", d.network_difficulty && d.hashrate ? duration((d.network_difficulty * 2 ** 32) / d.hashrate) : "–", "on average", "", "at this hashrate, on average"],
    ["Blocks", count(d.blocks.length), `${count(d.blocks.filter((/** @type {any} */ b) => b.state === "confirmed").length)} confirmed`],
    ["Height", d.height ? count(d.height) : "–", d.network || "of the next block"],
    miner ? ["Work done", difficulty(d.shares.difficulty), "difficulty of shares"] : ["Broadcast", d.broadcast_p99_ms ? `${Number(d.broadcast_p99_ms.toPrecision(2))} ms` : "–", "p99, to all miners", "", "from a new job to the last miner, 99 of 100"],
  ]);
  setText(byId("foot"), `${miner ? "" : `stratum ${d.stratum.join(", ")} · `}up ${duration(d.uptime)} · ${clock(d.time)}`);
}, (d) => d.draining ? "The proxy is draining: it takes no new miners." : d.ready ? "" : `${d.kind === "miner" ? "There is no work" : "Miners get no work"}: ${d.last_error || "no upstream gives any"}.`);
