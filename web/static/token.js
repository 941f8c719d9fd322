// The token that a scheduler with --token-file wants: asked for once, kept as long as the
// tab is open, sent with each request.

import { h } from "./dom.js";

const key = "lode-token";

/** token is the one that was given, "" if none. */
export function token() {
  return sessionStorage.getItem(key) ?? "";
}

/** @returns {Record<string, string>} */
export function authorization() {
  return token() ? { Authorization: `Bearer ${token()}` } : {};
}

let open = false;

/**
 * askToken asks for a token, unless the question is open already.
 * @param {string} why @param {(token: string) => void} given
 */
export function askToken(why, given) {
  if (open) return;
  open = true;
  const input = h("input", { type: "password", name: "token", autocomplete: "off", required: true, "aria-label": "Token" });
  dialog("A token is needed", [h("p", {}, why), input], "Go on", async () => {
    sessionStorage.setItem(key, input.value.trim());
    given(input.value.trim());
    return "";
  }, () => { open = false; });
}

/**
 * dialog shows a form; act does what it is for and returns what went wrong, "" if nothing.
 * @param {string} title @param {Node[]} content @param {string} go @param {() => Promise<string>} act
 * @param {() => void} [closed]
 */
export function dialog(title, content, go, act, closed = () => {}) {
  const trouble = h("p", { class: "bad", role: "alert" });
  const box = h("dialog", { "aria-label": title },
    h("form", {
      method: "dialog", onsubmit: async (/** @type {SubmitEvent} */ e) => {
        e.preventDefault();
        const wrong = await act();
        if (wrong) trouble.textContent = wrong;
        else box.close();
      },
    },
    h("h2", {}, title), ...content, trouble,
    h("div", { class: "row" }, h("button", { type: "button", onclick: () => box.close() }, "Cancel"), h("button", { class: "go" }, go))));
  box.addEventListener("close", () => {
    box.remove();
    closed();
  });
  document.body.append(box);
  box.showModal();
}

/**
 * command has the server do something; it returns what went wrong, "" if nothing.
 * @param {string} path @param {Record<string, any>} [body]
 * @returns {Promise<string>}
 */
export async function command(path, body = {}) {
  try {
    const response = await fetch(path, {
      method: "POST", headers: { ...authorization(), "Content-Type": "application/json" }, body: JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    });
    return response.ok ? "" : (await response.json()).error ?? response.statusText;
  } catch (e) {
    return e instanceof Error ? e.message : String(e);
  }
}
