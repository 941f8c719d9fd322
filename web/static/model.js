// The page's model, in a worker of its own: it asks the server every few seconds, keeps
// all rows, sorts and searches them, and sends the page only what it shows. So ten
// thousand rows that change cost the page no frame.
//
// From the page: {source, interval, token} once, {query} whenever other rows are wanted,
// {token} when the user has given one.
// To the page: {document}, {rows}, {event}, {lost: reason} and, when it is back,
// {found: true}; {locked: reason} where the server wants a token, or another one.

/**
 * @typedef {{sort: string, descending: boolean, search: string, first: number, count: number}} Query
 * @typedef {Record<string, any>} Row
 */

const sparkPoints = 40;

/** @type {Row[]} */ let rows = [];
/** @type {Row[]} */ let shown = [];
/** @type {Query|null} */ let query = null;
let lost = false;
let token = "";
/** @type {() => void} ends the pause between two questions */
let wake = () => {};
/** @type {Map<string, number[]>} last hashrates by row id */
const sparks = new Map();

/**
 * unpack makes rows of columns: {id: [a, b], hashrate: [1, 2]} → two rows.
 * @param {Record<string, any[]>} columns
 * @returns {Row[]}
 */
function unpack(columns) {
  const keys = Object.keys(columns), n = columns.id?.length ?? 0;
  const out = new Array(n);
  for (let i = 0; i < n; i++) {
    /** @type {Row} */ const row = {};
    for (const k of keys) row[k] = columns[k][i];
    out[i] = row;
  }
  return out;
}

function remember() {
  const here = new Set();
  for (const r of rows) {
    here.add(r.id);
    let spark = sparks.get(r.id);
    if (!spark) sparks.set(r.id, (spark = []));
    spark.push(r.hashrate ?? 0);
    if (spark.length > sparkPoints) spark.shift();
    r.spark = spark;
    r.text = Object.values(r).filter((v) => typeof v === "string").join("\n").toLowerCase();
  }
  for (const id of sparks.keys()) if (!here.has(id)) sparks.delete(id);
}

function arrange() {
  if (!query) return;
  const { sort, descending, search } = query;
  shown = search ? rows.filter((r) => r.text.includes(search)) : rows.slice();
  if (!sort) return;
  const sign = descending ? -1 : 1;
  shown.sort((a, b) => {
    const x = a[sort] ?? "", y = b[sort] ?? "";
    return sign * (x < y ? -1 : x > y ? 1 : a.id < b.id ? -1 : 1);
  });
}

function answer() {
  if (!query) return;
  const first = Math.min(query.first, Math.max(0, shown.length - 1));
  postMessage({ rows: { total: rows.length, matched: shown.length, first, rows: shown.slice(first, first + query.count) } });
}

/** Locked says that the server wants a token, or another one. */
class Locked extends Error {}

/** @returns {Record<string, string>} */
function authorization() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** @param {string} path */
async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(15_000), headers: authorization() });
  if (response.status === 401) throw new Locked((await response.json()).error);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return response.json();
}

/** @type {Record<string, () => Promise<{document: any, columns: Record<string, any[]>}>>} */
const sources = {
  async cluster() {
    const { tasks, ...document } = await get("/api/v1/dashboard");
    return { document, columns: tasks };
  },
  async proxy() {
    const { workers, ...document } = await get("/api/v1/dashboard");
    return { document, columns: workers };
  },
};

/** @param {string} source @param {number} interval milliseconds */
async function run(source, interval) {
  for (;;) {
    const begun = performance.now();
    try {
      const { document, columns } = await sources[source]();
      rows = unpack(columns);
      remember();
      arrange();
      if (lost) postMessage({ found: true });
      lost = false;
      postMessage({ document });
      answer();
    } catch (e) {
      const reason = e instanceof Error ? e.message : String(e);
      lost = true;
      if (e instanceof Locked) postMessage({ locked: reason });
      else postMessage({ lost: reason });
    }
    await pause(Math.max(interval - (performance.now() - begun), 200));
  }
}

/** @param {number} time milliseconds */
function pause(time) {
  return new Promise((done) => {
    const timer = setTimeout(done, time);
    wake = () => {
      clearTimeout(timer);
      done(undefined);
    };
  });
}

const eventTypes = "subscribed,lost,offer,fetched,task,ended,proxies,block,secrets,hopeless,operator,notice";

/** watch follows the events, going on behind the last one after a break. */
async function watch() {
  let last = "0";
  for (;;) {
    try {
      const response = await fetch(`/api/v1/events?type=${eventTypes}&after=${last}`, { headers: { ...authorization(), Accept: "application/x-ndjson" } });
      if (!response.ok || !response.body) throw new Error(response.statusText);
      let rest = "";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          if (!line) continue;
          const event = JSON.parse(line);
          last = event.id;
          postMessage({ event });
        }
      }
    } catch { /* the questions for the document tell what is wrong */ }
    await new Promise((done) => setTimeout(done, 3000));
  }
}

addEventListener("message", ({ data }) => {
  if (data.token !== undefined) {
    token = data.token;
    wake();
  }
  if (data.source) {
    run(data.source, data.interval);
    if (data.source === "cluster") watch();
  }
  if (data.query) {
    const before = query;
    query = /** @type {Query} */ (data.query);
    if (!before || before.sort !== query.sort || before.descending !== query.descending || before.search !== query.search) arrange();
    answer();
  }
});
