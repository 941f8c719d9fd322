// What both pages share: the model's worker, the connection's state, tiles, panels.

import { h, byId, setText } from "./dom.js";
import { si, clock, percent } from "./format.js";
import { askToken, token } from "./token.js";
import * as url from "./url.js";
import { Table } from "./table.js";
import { Tabs } from "./tabs.js";

/**
 * A panel below the tabs: make builds it when its tab is chosen, update fills it.
 * @typedef {{label: string, make: (panel: HTMLElement) => void, update?: (document: any) => void,
 *   rows?: (answer: any) => void, event?: (event: any) => void, count?: (document: any) => string}} Panel
 */

/**
 * start runs a page.
 * @param {string} source "cluster" or "proxy"
 * @param {Record<string, Panel>} panels
 * @param {(document: any) => void} update
 * @param {(document: any) => string} trouble what the banner says; "": nothing
 * @returns {{ask: (query: any) => void}}
 */
export function start(source, panels, update, trouble) {
  const worker = new Worker("/assets/model.js", { type: "module" });
  const tabs = /** @type {Tabs} */ (byId("tabs"));
  tabs.fill(Object.fromEntries(Object.entries(panels).map(([name, p]) => [name, p.label])));
  let shown = "", /** @type {any} */ last = null, lost = "", since = 0;

  const choose = () => {
    if (tabs.chosen === shown) return;
    shown = tabs.chosen;
    const panel = byId("panel");
    panel.setAttribute("aria-labelledby", `tab-${shown}`);
    panel.replaceChildren();
    panels[shown].make(panel);
    if (last) panels[shown].update?.(last);
  };
  const state = () => {
    const pill = byId("state"), banner = byId("banner");
    const said = lost ? `No answer from this server since ${clock(since)} (${lost}). What is shown is old; trying again.` : last ? trouble(last) : "";
    pill.dataset.state = said ? "bad" : last ? "good" : "wait";
    setText(pill, lost ? "no connection" : said ? "trouble" : last ? "live" : "connecting");
    setText(banner, said);
    banner.hidden = !said;
    delete document.body.dataset.wait;
  };
  worker.addEventListener("message", ({ data }) => {
    if (data.document) {
      last = data.document;
      lost = "";
      update(last);
      for (const [name, p] of Object.entries(panels)) if (p.count) tabs.count(name, p.count(last));
      panels[shown]?.update?.(last);
    }
    if (data.event) {
      for (const p of Object.values(panels)) p.event?.(data.event);
      return;
    }
    if (data.locked) {
      lost = data.locked;
      since ||= Date.now();
      askToken(data.locked, (given) => worker.postMessage({ token: given }));
    }
    if (data.lost) {
      if (!lost) since = Date.now();
      lost = data.lost;
    }
    if (data.rows) panels[shown]?.rows?.(data.rows);
    if (!data.rows) state();
  });
  worker.postMessage({ source, interval: 2000, token: token() });
  url.onChange(choose);
  choose();
  return { ask: (query) => worker.postMessage({ query }) };
}

/**
 * rate writes the big number.
 * @param {number} hashrate @param {string} below
 */
export function rate(hashrate, below) {
  const [n, unit] = si(hashrate, "H/s");
  const big = byId("hashrate");
  setText(/** @type {Node} */ (big.querySelector(".n")), n);
  setText(/** @type {Node} */ (big.querySelector(".u")), unit);
  setText(byId("hashrate-sub"), below);
  document.title = `${n} ${unit} · Lode`;
}

/**
 * refusals are the detail of a tile of shares, in as few words as they allow, with tone and more words.
 * @param {number} rejected @param {number} stale @param {number} all
 * @returns {[string, string, string]}
 */
export function refusals(rejected, stale, all) {
  const words = `${percent(rejected, all)} rejected, ${percent(stale, all)} stale`;
  if (!rejected) return [stale ? `${percent(stale, all)} stale` : "none refused", "", words];
  return [`${percent(rejected + stale, all)} refused`, "", words];
}

/**
 * tiles writes the overview: label, value, detail, tone of the value, more words for who points at it.
 * @param {[string, string, string, string?, string?][]} list
 */
export function tiles(list) {
  const parent = byId("tiles");
  while (parent.children.length < list.length) {
    parent.append(h("div", { class: "tile" }, h("dt"), h("dd", { class: "v" }), h("dd", { class: "d" })));
  }
  list.forEach(([label, value, detail, tone, more], i) => {
    const [dt, v, d] = parent.children[i].children;
    setText(dt, label);
    setText(v, value);
    setText(d, detail);
    const title = `${value} ${more || detail}`.trim();
    if (/** @type {HTMLElement} */ (parent.children[i]).title !== title) /** @type {HTMLElement} */ (parent.children[i]).title = title;
    v.className = `v ${tone ?? ""}`.trim();
  });
}

/**
 * modelTable is a panel whose rows are the model's.
 * @param {string} label @param {import("./table.js").Column[]} columns @param {string} order
 * @param {[string, string]} nothing @param {() => {ask: (query: any) => void}} page
 * @param {() => HTMLElement[]} [tools]
 * @returns {Panel}
 */
export function modelTable(label, columns, order, nothing, page, tools = () => []) {
  let table = /** @type {Table|null} */ (null);
  return {
    label,
    make(panel) {
      table = /** @type {Table} */ (document.createElement("lode-table"));
      table.order = order;
      table.nothing = nothing;
      const t = table;
      table.show(label, columns, () => page().ask(t.query), ...tools());
      panel.append(table);
      queueMicrotask(() => page().ask(t.query));
    },
    rows: (answer) => table?.fill(answer),
  };
}

/**
 * listTable is a panel whose rows are a list of the document: it sorts and searches by itself.
 * @param {string} label @param {import("./table.js").Column[]} columns @param {string} order
 * @param {[string, string]} nothing @param {(document: any) => any[]} rows
 * @returns {Panel}
 */
export function listTable(label, columns, order, nothing, rows) {
  let table = /** @type {Table|null} */ (null), /** @type {any[]} */ all = [];
  const fill = () => {
    if (!table) return;
    const { sort, descending, search, first, count } = table.query;
    const sign = descending ? -1 : 1;
    const matched = all.filter((r) => !search || columns.some((c) => (c.text ? c.text(r) : String(r[c.key] ?? "")).toLowerCase().includes(search)));
    if (sort) matched.sort((a, b) => sign * ((a[sort] ?? "") < (b[sort] ?? "") ? -1 : (a[sort] ?? "") > (b[sort] ?? "") ? 1 : 0));
    const from = Math.min(first, Math.max(0, matched.length - 1));
    table.fill({ total: all.length, matched: matched.length, first: from, rows: matched.slice(from, from + count) });
  };
  return {
    label,
    make(panel) {
      table = /** @type {Table} */ (document.createElement("lode-table"));
      table.order = order;
      table.nothing = nothing;
      table.show(label, columns, fill);
      panel.append(table);
    },
    update(document) {
      all = rows(document);
      fill();
    },
    count: (document) => String(rows(document).length),
  };
}
