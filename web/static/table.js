// <lode-table>: a table of any length that keeps only the rows in view in the document.
// Rows live in the model's worker; the table asks for those that it shows.

import { h, s, setText } from "./dom.js";
import { path } from "./chart.js";
import * as url from "./url.js";

/**
 * @typedef {{key: string, label: string, width: string, number?: boolean, low?: boolean, mid?: boolean, id?: boolean,
 *   text?: (row: any) => string, title?: (row: any) => string, tone?: (row: any) => string,
 *   spark?: (row: any) => number[], tag?: boolean, sort?: boolean, act?: (row: any) => void}} Column
 */

const rowHeight = 36, margin = 8;

export class Table extends HTMLElement {
  /** @type {Column[]} */ #columns = [];
  /** @type {HTMLElement[]} */ #pool = [];
  #total = 0;
  #first = 0;
  // What of the table is in view, px, as the browser last told: asking for it while the page
  // changes would have it laid out once more.
  #top = 0;
  #height = 600;
  /** @type {any[]} */ #rows = [];
  #key = "";
  /** @type {WeakMap<HTMLElement, any>} */ #shown = new WeakMap();
  #scroll = h("div", { class: "scroll", tabindex: 0, role: "region" });
  #table = h("div", { class: "grid-table", role: "table" });
  #head = h("div", { class: "thead", role: "rowgroup" });
  #body = h("div", { class: "tbody", role: "rowgroup" });
  #search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search", autocomplete: "off", spellcheck: "false" });
  #count = h("span", { class: "count", role: "status" });
  #empty = h("div", { class: "empty", hidden: true });
  #ask = () => {};
  /** The order in which rows come when nothing is chosen: key, with - in front for descending. */
  order = "";
  /** What is said when there are no rows: headline and hint. @type {[string, string]} */
  nothing = ["Nothing here", ""];

  /**
   * show fills the element.
   * @param {string} label @param {Column[]} columns
   * @param {() => void} ask is called when other rows are wanted
   * @param {...HTMLElement} tools beside the search
   */
  show(label, columns, ask, ...tools) {
    this.#columns = columns;
    this.#ask = ask;
    this.#scroll.setAttribute("aria-label", label);
    this.#table.setAttribute("aria-label", label);
    this.#search.value = url.get("q");
    this.#search.addEventListener("input", () => {
      url.set({ q: this.#search.value });
      this.#scroll.scrollTop = this.#top = 0;
      ask();
    });
    this.#head.replaceChildren(h("div", { class: "tr", role: "row", "aria-rowindex": 1 }, ...columns.map((c) => this.#header(c))));
    this.#table.append(this.#head, this.#body);
    this.#scroll.append(this.#table);
    this.classList.add("panel");
    this.replaceChildren(h("div", { class: "tools" }, this.#search, ...tools, this.#count), this.#scroll, this.#empty);
    let waiting = false;
    this.#scroll.addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        this.#top = this.#scroll.scrollTop;
        ask();
      });
    }, { passive: true });
    new ResizeObserver(([e]) => {
      if (e.contentRect.height) this.#height = e.contentRect.height; // 0: there are no rows
      ask();
    }).observe(this.#scroll);
  }

  /** query says which rows are wanted. */
  get query() {
    const first = Math.max(0, Math.floor(this.#top / rowHeight) - margin);
    const sort = url.get("sort", this.order);
    return {
      sort: sort.replace(/^-/, ""), descending: sort.startsWith("-"), search: url.get("q").toLowerCase(),
      first, count: Math.ceil(this.#height / rowHeight) + 2 * margin,
    };
  }

  /**
   * fill shows rows that the model has sent.
   * @param {{total: number, matched: number, first: number, rows: any[]}} answer
   */
  fill(answer) {
    this.#total = answer.matched;
    this.#first = answer.first;
    this.#rows = answer.rows;
    this.#table.setAttribute("aria-rowcount", String(answer.matched + 1));
    this.#body.style.height = `${answer.matched * rowHeight}px`;
    setText(this.#count, answer.matched === answer.total ? `${answer.total.toLocaleString()} in all` :
      `${answer.matched.toLocaleString()} of ${answer.total.toLocaleString()}`);
    this.#scroll.hidden = !answer.matched;
    this.#empty.hidden = answer.matched > 0;
    if (!answer.matched) {
      const [head, hint] = answer.total ? ["No match", `Nothing contains “${url.get("q")}”.`] : this.nothing;
      this.#empty.replaceChildren(h("b", {}, head), hint);
    }
    this.#mark();
    this.#render();
  }

  #header(/** @type {Column} */ c) {
    const cell = h("div", { class: classes({ ...c, id: false }), role: "columnheader", "data-key": c.key });
    if (c.sort === false) cell.append(c.label);
    else cell.append(h("button", { type: "button", onclick: () => this.#sort(c) }, c.label));
    return cell;
  }

  #sort(/** @type {Column} */ c) {
    const now = url.get("sort", this.order);
    const down = `-${c.key}`, up = c.key;
    const next = c.number ? (now === down ? up : down) : (now === up ? down : up);
    url.set({ sort: next === this.order ? "" : next });
    this.#ask();
  }

  #mark() {
    const sort = url.get("sort", this.order);
    if (sort === this.#key) return;
    this.#key = sort;
    for (const cell of this.#head.querySelectorAll("[role=columnheader]")) {
      const key = /** @type {HTMLElement} */ (cell).dataset.key ?? "";
      if (sort === key) cell.setAttribute("aria-sort", "ascending");
      else if (sort === `-${key}`) cell.setAttribute("aria-sort", "descending");
      else cell.removeAttribute("aria-sort");
    }
  }

  #render() {
    const wanted = Math.min(this.#rows.length, this.#total - this.#first);
    while (this.#pool.length < wanted) {
      const row = h("div", { class: "tr", role: "row" }, ...this.#columns.map((c) => {
        const cell = h("div", { class: classes(c), role: "cell" });
        if (c.spark) cell.append(s("svg", { class: "spark", viewBox: "0 0 100 22", preserveAspectRatio: "none", "aria-hidden": "true" }, s("path")));
        if (c.tag) cell.append(h("span", { class: "tag" }));
        if (c.act) cell.append(h("button", { type: "button", class: "act", onclick: () => c.act?.(this.#shown.get(row)) }));
        return cell;
      }));
      this.#pool.push(row);
    }
    while (this.#pool.length > wanted) this.#pool.pop()?.remove();
    for (let i = 0; i < wanted; i++) this.#fillRow(this.#pool[i], this.#rows[i], this.#first + i);
  }

  #fillRow(/** @type {HTMLElement} */ row, /** @type {any} */ data, /** @type {number} */ index) {
    row.style.transform = `translateY(${index * rowHeight}px)`;
    row.setAttribute("aria-rowindex", String(index + 2));
    this.#shown.set(row, data);
    this.#columns.forEach((c, i) => {
      const cell = /** @type {HTMLElement} */ (row.children[i]);
      if (c.spark) {
        const values = c.spark(data);
        const top = Math.max(...values, 1e-9), from = 100 - (values.length - 1) * (100 / 39);
        cell.querySelector("path")?.setAttribute("d", path(values, (j) => from + j * (100 / 39), (v) => 20 - (18 * v) / top));
        return;
      }
      const text = c.text ? c.text(data) : String(data[c.key] ?? "");
      const inner = c.tag || c.act ? /** @type {HTMLElement} */ (cell.firstChild) : cell;
      setText(inner, text);
      if (c.act) {
        inner.setAttribute("aria-label", `${text} ${data.id ?? ""}`);
        return;
      }
      const title = c.title ? c.title(data) : "";
      if (cell.title !== title) cell.title = title;
      const wanted = `${c.tag ? "tag " : classes(c) + " "}${c.tone ? c.tone(data) : ""}`.trim();
      if (inner.className !== wanted) inner.className = wanted;
    });
    if (!row.isConnected) this.#body.append(row);
  }
}

/** @param {Column} c */
function classes(c) {
  return ["td", c.width, c.number ? "num" : "", c.low ? "low" : "", c.mid ? "mid low" : "", c.id ? "id" : ""].filter(Boolean).join(" ");
}

customElements.define("lode-table", Table);
