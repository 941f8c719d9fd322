// <lode-tabs>: a tab list as the ARIA practices describe it; the chosen one stands in the address.

import { h, setText } from "./dom.js";
import * as url from "./url.js";

export class Tabs extends HTMLElement {
  /** @type {Map<string, HTMLButtonElement>} */
  #tabs = new Map();
  #first = "";

  connectedCallback() {
    this.setAttribute("role", "tablist");
    this.setAttribute("aria-label", this.getAttribute("label") ?? "");
    this.addEventListener("keydown", (e) => this.#key(e));
    url.onChange(() => this.#mark());
  }

  /**
   * fill makes the tabs: name → label.
   * @param {Record<string, string>} labels
   */
  fill(labels) {
    for (const [name, label] of Object.entries(labels)) {
      const b = h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel", onclick: () => this.#choose(name) },
        label, h("span", { class: "n" }));
      this.#tabs.set(name, b);
      this.append(b);
    }
    this.#first = this.#tabs.keys().next().value ?? "";
    this.#mark();
  }

  /** chosen is the name of the tab that is shown. */
  get chosen() {
    const view = url.get("view", this.#first);
    return this.#tabs.has(view) ? view : this.#first;
  }

  /**
   * count writes a number beside a tab.
   * @param {string} name @param {string} text
   */
  count(name, text) {
    const n = this.#tabs.get(name)?.querySelector(".n");
    if (n) setText(n, text);
  }

  #choose(/** @type {string} */ name) {
    url.set({ view: name === this.#first ? "" : name, sort: "", q: "" });
  }

  #mark() {
    for (const [name, b] of this.#tabs) {
      const on = name === this.chosen;
      b.setAttribute("aria-selected", String(on));
      b.tabIndex = on ? 0 : -1;
    }
  }

  #key(/** @type {KeyboardEvent} */ e) {
    const names = [...this.#tabs.keys()], at = names.indexOf(this.chosen);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    const name = names[(to + names.length) % names.length];
    this.#choose(name);
    this.#tabs.get(name)?.focus();
  }
}

customElements.define("lode-tabs", Tabs);
