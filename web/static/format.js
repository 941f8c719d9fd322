// Numbers and times for people: SI prefixes, local time.

const prefixes = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];

/**
 * si splits a number into digits and unit: si(31.6e6, "H/s") is ["31.6", "MH/s"].
 * @param {number} value
 * @param {string} unit
 * @param {number} [digits] significant ones
 * @returns {[string, string]}
 */
export function si(value, unit, digits = 3) {
  if (!Number.isFinite(value) || value <= 0) return ["0", unit];
  let i = 0;
  while (value >= 999.5 && i < prefixes.length - 1) {
    value /= 1000;
    i++;
  }
  const text = value >= 0.9995 ? value.toPrecision(digits) : value.toPrecision(2);
  return [Number(text) >= 1000 ? String(Math.round(Number(text))) : text.includes("e") ? String(Number(text)) : text, prefixes[i] + unit];
}

/** @param {number} h hashes per second */
export function hashrate(h) {
  return h > 0 ? si(h, "H/s").join(" ") : "–";
}

/** @param {number} n */
export function count(n) {
  return (Number(n) || 0).toLocaleString();
}

/** @param {number} n difficulty, without unit */
export function difficulty(n) {
  if (!(n > 0)) return "0";
  if (n < 0.01) return n.toExponential(1);
  return si(n, "").join("");
}

/** @param {number} seconds */
export function duration(seconds) {
  if (!(seconds >= 0) || seconds === Infinity) return "–";
  if (seconds < 1) return "now";
  const units = /** @type {[number, string][]} */ ([[86400 * 365.25, "y"], [86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]);
  for (let i = 0; i < units.length; i++) {
    const [size, name] = units[i];
    if (seconds < size) continue;
    const whole = Math.floor(seconds / size);
    const next = units[i + 1];
    const rest = next && whole < 10 ? Math.floor((seconds % size) / next[0]) : 0;
    const big = whole >= 10000 ? Number(whole.toPrecision(3)).toLocaleString() : String(whole);
    return rest ? `${big} ${name} ${rest} ${next[1]}` : `${big} ${name}`;
  }
  return "now";
}

/** @param {string|number|Date} t */
export function clock(t) {
  const d = new Date(t);
  if (Number.isNaN(d.getTime())) return "–";
  const today = new Date().toDateString() === d.toDateString();
  return today ? d.toLocaleTimeString() : d.toLocaleString([], { dateStyle: "short", timeStyle: "short" });
}

/** @param {number} part @param {number} whole */
export function percent(part, whole) {
  if (!(whole > 0) || !(part > 0)) return "0 %";
  const p = (100 * part) / whole;
  return `${p < 0.1 ? "< 0.1" : p < 99.5 ? p.toPrecision(2) : Math.round(p).toLocaleString()} %`;
}

/**
 * short leaves out of a task's id the framework's, which is the same for all.
 * @param {string} id miner-<framework>-S<agent>-<n>
 */
export function short(id) {
  return id.replace(/^(\w+)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-/, "$1-…-");
}
