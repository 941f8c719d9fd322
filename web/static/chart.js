// <lode-chart>: curves of /api/v1/history, with range and split to choose from, a
// crosshair for pointer and arrow keys, and a table of the same numbers.

import { h, s, setText } from "./dom.js";
import { clock, hashrate, si } from "./format.js";
import { authorization } from "./token.js";
import * as url from "./url.js";

const ranges = /** @type {const} */ (["1h", "24h", "7d", "30d"]);
const left = 70, right = 6, top = 8, bottom = 20;

/** @typedef {{from: number, step: number, series: Record<string, (number|null)[]>}} Window */

export class Chart extends HTMLElement {
  /** @type {Window} */
  #data = { from: 0, step: 10, series: {} };
  #at = -1; // index that the crosshair is at
  #width = 600;
  #height = 200;
  #split = "";
  #tip = h("p", { class: "tip", "aria-live": "off" });
  #legend = h("div", { class: "legend" });
  #svg = /** @type {SVGSVGElement} */ (s("svg", { role: "img", tabindex: 0 }));
  #twin = h("div", { class: "twin", hidden: true, tabindex: 0 });
  #asTable = h("button", { type: "button", "aria-pressed": "false", onclick: () => this.#toggle() }, "Table");
  /** @type {HTMLButtonElement[]} */
  #buttons = [];
  #splits = h("div", { class: "seg low", role: "group", "aria-label": "Split by", hidden: true });
  /** @type {Record<string, string>} */
  #splitBy = {};
  /** total is the series of the whole. */
  total = "hashrate";

  connectedCallback() {
    this.#buttons = ranges.map((r) => h("button", { type: "button", onclick: () => this.#choose(r) }, r));
    this.append(
      h("div", { class: "head" }, this.#legend, this.#splits,
        h("div", { class: "seg", role: "group", "aria-label": "Time range" }, ...this.#buttons),
        h("div", { class: "seg" }, this.#asTable)),
      this.#svg, this.#twin, this.#tip);
    new ResizeObserver(([e]) => {
      if (!e.contentRect.height) return; // the table is shown
      this.#width = Math.max(e.contentRect.width, 200);
      this.#height = e.contentRect.height;
      this.#draw();
    }).observe(this.#svg);
    this.#svg.addEventListener("pointermove", (e) => this.#point(e));
    this.#svg.addEventListener("pointerleave", () => this.#mark(-1));
    this.#svg.addEventListener("keydown", (e) => this.#key(e));
    this.load();
    setInterval(() => document.hidden || this.load(), 10_000);
    url.onChange(() => this.load());
  }

  /** splits are what the curve can be split by: prefix of series → label. @param {Record<string, string>} by */
  set splits(by) {
    this.#splitBy = by;
    this.#splits.replaceChildren(...Object.entries({ "": "Total", ...by }).map(([prefix, label]) =>
      h("button", { type: "button", "data-prefix": prefix, onclick: () => { this.#split = prefix; this.#draw(); } }, label)));
    this.#draw();
  }

  get range() {
    const r = url.get("range", "1h");
    return /** @type {readonly string[]} */ (ranges).includes(r) ? r : "1h";
  }

  #choose(/** @type {string} */ range) {
    url.set({ range: range === "1h" ? "" : range });
  }

  /** load asks for the series anew. */
  async load() {
    this.#buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(ranges[i] === this.range)));
    try {
      const answer = await fetch(`/api/v1/history?range=${this.range}&points=360`, { headers: authorization() });
      if (!answer.ok) return;
      this.#data = trim(await answer.json(), this.total);
      this.#draw();
    } catch { /* the banner tells that the connection is gone */ }
  }

  /** curves are those to draw: name and values. @returns {[string, (number|null)[]][]} */
  #curves() {
    const all = this.#data.series;
    if (!this.#split) return [["", all[this.total] ?? []]];
    return Object.entries(all).filter(([name]) => name.startsWith(this.#split))
      .sort((a, b) => sum(b[1]) - sum(a[1])).slice(0, 6)
      .map(([name, values]) => [name.slice(this.#split.length), values]);
  }

  #draw() {
    const { from, step } = this.#data, height = this.#height;
    const curves = this.#curves();
    const n = curves[0]?.[1].length ?? 0;
    const peak = Math.max(...curves.flatMap(([, v]) => v.map((x) => x ?? 0)), 0);
    const { max, ticks } = scale(peak);
    const x = (/** @type {number} */ i) => left + ((this.#width - left - right) * (n > 1 ? i / (n - 1) : 1));
    const y = (/** @type {number} */ v) => top + (height - top - bottom) * (1 - v / max);
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${height}`);
    const parts = [];
    for (const t of ticks) {
      parts.push(s("line", { class: "grid", x1: left, x2: this.#width - right, y1: y(t), y2: y(t) }));
      parts.push(s("text", { x: left - 8, y: y(t) + 4, "text-anchor": "end" }, t ? mark(t) : "0"));
    }
    let before = "";
    for (const [at, text, anchor] of times(from, step, n, this.#width)) {
      if (text === before) continue; // of the same minute
      before = text;
      parts.push(s("text", { x: x(at), y: height - 4, "text-anchor": anchor }, text));
    }
    curves.forEach(([, values], c) => {
      const line = path(values, x, y);
      if (c === 0 && curves.length === 1 && line) parts.push(s("path", { class: "area", d: area(values, x, y, y(0)) }));
      parts.push(s("path", { class: `curve c${c}`, d: line }));
    });
    if (!n || !curves.some(([, v]) => v.some((p) => p != null))) {
      parts.push(s("text", { x: this.#width / 2, y: height / 2, "text-anchor": "middle" }, "nothing recorded yet"));
    }
    if (this.#at >= 0 && this.#at < n) {
      parts.push(s("line", { class: "cross", x1: x(this.#at), x2: x(this.#at), y1: top, y2: height - bottom }));
      const v = curves[0][1][this.#at];
      if (v != null) parts.push(s("circle", { class: "dot", cx: x(this.#at), cy: y(v), r: 5 }));
    }
    this.#svg.replaceChildren(...parts);
    this.#words(curves, n);
  }

  /** words are all that is not drawn: label, legend, line below, table. */
  #words(/** @type {[string, (number|null)[]][]} */ curves, /** @type {number} */ n) {
    const { from, step } = this.#data;
    const present = curves[0]?.[1].filter((v) => v != null) ?? [];
    const mean = present.length ? sum(present) / present.length : 0;
    this.#svg.setAttribute("aria-label",
      `${this.getAttribute("label")} over ${this.range}: mean ${hashrate(mean)}, last ${hashrate(Number(present.at(-1) ?? 0))}. Arrow keys read values.`);
    this.#legend.replaceChildren(...(this.#split ? curves.map(([name], i) => h("span", { class: `key c${i}` }, name)) : []));
    for (const b of this.#splits.querySelectorAll("button")) b.setAttribute("aria-pressed", String(b.dataset.prefix === this.#split));
    this.#splits.hidden = !Object.keys(this.#data.series).some((k) => Object.keys(this.#splitBy).some((p) => k.startsWith(p)));
    if (this.#at >= 0 && this.#at < n) {
      const words = curves.map(([name, v]) => `${name} ${v[this.#at] == null ? "–" : hashrate(Number(v[this.#at]))}`.trim());
      setText(this.#tip, `${clock((from + this.#at * step) * 1000)}  ·  ${words.join("  ·  ")}`);
    } else {
      setText(this.#tip, present.length ? `mean ${hashrate(mean)}  ·  peak ${hashrate(Math.max(...present.map(Number)))}` : "");
    }
    if (this.#twin.hidden) return;
    const every = Math.max(1, Math.ceil(n / 60));
    const rows = [];
    for (let i = n - 1; i >= 0; i -= every) {
      rows.push(h("tr", {}, h("td", {}, clock((from + i * step) * 1000)),
        ...curves.map(([, v]) => h("td", {}, v[i] == null ? "–" : hashrate(Number(v[i]))))));
    }
    this.#twin.replaceChildren(h("table", {},
      h("caption", {}, `${this.getAttribute("label")}, ${this.range}`),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Time"), ...curves.map(([name]) => h("th", { scope: "col" }, name || "Total")))),
      h("tbody", {}, ...rows)));
  }

  #toggle() {
    const table = this.#twin.hidden;
    this.#twin.hidden = !table;
    this.#svg.toggleAttribute("hidden", table);
    this.#asTable.setAttribute("aria-pressed", String(table));
    this.#draw();
  }

  #point(/** @type {PointerEvent} */ e) {
    const n = this.#curves()[0]?.[1].length ?? 0;
    const box = this.#svg.getBoundingClientRect();
    const x = ((e.clientX - box.left) / box.width) * this.#width;
    this.#mark(Math.round(((x - left) / (this.#width - left - right)) * (n - 1)));
  }

  #key(/** @type {KeyboardEvent} */ e) {
    const n = this.#curves()[0]?.[1].length ?? 0;
    const to = { ArrowLeft: (this.#at < 0 ? n : this.#at) - 1, ArrowRight: this.#at + 1, Home: 0, End: n - 1, Escape: -1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    this.#tip.setAttribute("aria-live", "polite");
    this.#mark(e.key === "Escape" ? -1 : Math.min(Math.max(to, 0), n - 1));
  }

  #mark(/** @type {number} */ at) {
    if (at === this.#at) return;
    this.#at = at;
    requestAnimationFrame(() => this.#draw());
  }
}

/**
 * trim leaves out the time before anything was recorded, but for a few minutes: a new
 * cluster's curve is to be seen.
 * @param {Window} w @param {string} total
 * @returns {Window}
 */
function trim(w, total) {
  const all = w.series[total] ?? [];
  const first = all.findIndex((v) => v != null);
  const cut = Math.min(first < 0 ? 0 : first, Math.max(all.length - 30, 0));
  if (!cut) return w;
  const series = Object.fromEntries(Object.entries(w.series).map(([name, values]) => [name, values.slice(cut)]));
  return { from: w.from + cut * w.step, step: w.step, series };
}

/** mark is a number of the axis. @param {number} t */
function mark(t) {
  const [n, unit] = si(t, "H/s");
  return `${Number(n)} ${unit}`;
}

/** @param {(number|null)[]} values */
function sum(values) {
  return values.reduce((/** @type {number} */ a, b) => a + (b ?? 0), 0);
}

/**
 * scale chooses round marks from 0 to a peak.
 * @param {number} peak
 */
function scale(peak) {
  if (!(peak > 0)) return { max: 1, ticks: [0] };
  const rough = peak / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((v) => v >= rough) ?? rough;
  const ticks = [];
  for (let t = 0; t < peak * 1.05 + step; t += step) ticks.push(t);
  return { max: ticks[ticks.length - 1], ticks };
}

/**
 * times are marks of the time axis: index, text, anchor.
 * @param {number} from @param {number} step @param {number} n @param {number} width
 * @returns {[number, string, string][]}
 */
function times(from, step, n, width) {
  const marks = Math.max(2, Math.floor(width / 150));
  const long = step * n > 86400 * 1.5;
  return Array.from({ length: n > 1 ? marks : 0 }, (_, m) => {
    const i = Math.round((m * (n - 1)) / (marks - 1));
    const d = new Date((from + i * step) * 1000);
    const text = long ? d.toLocaleDateString([], { month: "short", day: "numeric" }) : d.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    return [i, text, m === 0 ? "start" : m === marks - 1 ? "end" : "middle"];
  });
}

/**
 * path is a line through the values, interrupted where there are none.
 * @param {(number|null)[]} values
 * @param {(i: number) => number} x @param {(v: number) => number} y
 */
export function path(values, x, y) {
  let d = "", pen = false;
  values.forEach((v, i) => {
    if (v == null) {
      pen = false;
      return;
    }
    d += `${pen ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    if (!pen && (values[i + 1] ?? null) === null) d += "h0.1"; // a lone value is a dot
    pen = true;
  });
  return d;
}

/**
 * area closes each piece of the line down to the base.
 * @param {(number|null)[]} values
 * @param {(i: number) => number} x @param {(v: number) => number} y @param {number} base
 */
function area(values, x, y, base) {
  let d = "", first = -1;
  values.forEach((v, i) => {
    if (v == null) return;
    if (first < 0) {
      first = i;
      d += `M${x(i).toFixed(1)} ${base}`;
    }
    d += `L${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    if ((values[i + 1] ?? null) === null) {
      d += `L${x(i).toFixed(1)} ${base}Z`;
      first = -1;
    }
  });
  return d;
}

customElements.define("lode-chart", Chart);
