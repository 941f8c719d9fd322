// Making and changing elements.

/**
 * h makes an element: h("p", {class: "sub", onclick: f}, "text", child).
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Record<string, any>} [attributes] null and false leave one out; on… are listeners
 * @param {...(Node|string|null|undefined)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else e.setAttribute(key, value === true ? "" : String(value));
  }
  e.append(...children.filter((c) => c != null).map((c) => /** @type {Node|string} */ (c)));
  return e;
}

/**
 * s makes an SVG element.
 * @param {string} name
 * @param {Record<string, string|number>} [attributes]
 * @param {...(Node|string)} children
 */
export function s(name, attributes = {}, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, String(value));
  e.append(...children);
  return e;
}

/**
 * byId is the element of the page with an id that is there.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const e = document.getElementById(id);
  if (!e) throw new Error(`no element #${id}`);
  return e;
}

/**
 * setText changes a text only where it differs, so that nothing is laid out again for nothing.
 * @param {Node} e
 * @param {string} text
 */
export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}
