// What is shown stands in the address, so that a view can be shared and survives a reload.

const listeners = /** @type {Set<() => void>} */ (new Set());

function read() {
  return new URLSearchParams(location.hash.slice(1));
}

/**
 * get is a value of the view.
 * @param {string} name
 * @param {string} [fallback]
 */
export function get(name, fallback = "") {
  return read().get(name) ?? fallback;
}

/**
 * set changes values of the view; "" takes one out.
 * @param {Record<string, string>} values
 */
export function set(values) {
  const p = read();
  for (const [name, value] of Object.entries(values)) {
    if (value === "") p.delete(name);
    else p.set(name, value);
  }
  const text = p.toString();
  history.replaceState(null, "", text ? "#" + text : location.pathname);
  for (const f of listeners) f();
}

/**
 * onChange calls f when the view has changed, also by the browser's buttons.
 * @param {() => void} f
 */
export function onChange(f) {
  listeners.add(f);
}

addEventListener("hashchange", () => {
  for (const f of listeners) f();
});
