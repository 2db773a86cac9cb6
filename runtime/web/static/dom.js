// Functions that build the page. Text is only ever inserted as text: no file here sets innerHTML.

export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const MOVED = 700;  // milliseconds that somebody needs to notice that a list has changed

let messageTimer;
export function showMessage(text) {  // at the bottom of the page, for 8 seconds
  const message = document.getElementById("message");
  message.textContent = text;
  clearTimeout(messageTimer);
  messageTimer = setTimeout(() => { message.textContent = ""; }, 8000);
}

// Shows a dialog with the elements that `fill(close)` returns. Resolves to the value given to close(), or to undefined
// after Escape.
export function dialog(title, fill) {
  return new Promise((resolve) => {
    let answer;
    const box = h("dialog", { "aria-labelledby": "dialog-title" });
    const close = (value) => { answer = value; box.close(); };
    box.append(h("h2", { id: "dialog-title" }, title), ...[fill(close)].flat());
    box.addEventListener("close", () => { box.remove(); resolve(answer); });
    document.body.append(box);
    box.showModal();
  });
}

// Ignores clicks in a list just after its rows have moved: they were meant for the row that was there before. A key
// stroke goes to the row that has the focus, wherever it moved.
export function ignoreClicksAfterMoves(list) {
  let moved = -Infinity;
  new MutationObserver((changes) => {
    if (changes.some((one) => one.removedNodes.length || one.nextSibling)) moved = performance.now();
  }).observe(list, { childList: true });
  list.addEventListener("click", (event) => {
    if (event.detail === 0 || performance.now() - moved > MOVED) return;
    event.stopPropagation();
    event.preventDefault();
    showMessage("The list has just changed. Look again, then click.");
  }, { capture: true });
}

export function confirm(title, text, yes) {
  return dialog(title, (close) => [
    h("p", {}, text),
    h("div", { class: "row" },
      h("button", { type: "button", class: "danger", onclick: () => close(true) }, yes),
      h("button", { type: "button", autofocus: true, onclick: () => close(false) }, "Cancel")),
  ]);
}

export const dateTime = (seconds) => new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
export const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;
export const percent = (value) => `${Math.round(value * 100)}%`;
export const duration = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : seconds < 5400
  ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

// Calls `work` now, and again `pause` milliseconds after it has ended, until the returned function is called.
export function repeat(work, pause) {
  let timer, stopped = false;
  const turn = async () => {
    try { await work(); } catch (error) { if (!stopped) showMessage(error.message); }
    if (!stopped) timer = setTimeout(turn, pause);
  };
  turn();
  return () => { stopped = true; clearTimeout(timer); };
}

// Replaces the children of `parent`. A link, a button or a table of the same name keeps the focus, and how far it is scrolled.
export function redraw(parent, ...children) {
  const all = () => [...parent.querySelectorAll("a, button, .scroll")];
  const name = (one) => JSON.stringify([one.closest("section")?.getAttribute("aria-label"), one.getAttribute("aria-label") ?? one.textContent]);
  const before = new Map(all().map((one) => [name(one), { left: one.scrollLeft, focused: one === document.activeElement }]));
  parent.replaceChildren(...children);
  for (const one of all()) {
    const { left, focused } = before.get(name(one)) ?? {};
    if (left) one.scrollLeft = left;
    if (focused) one.focus({ preventScroll: true });
  }
}

// The mark next to a name if liveness was checked and the face is not live.
export const notLiveMark = (live) => (live === false
  ? h("strong", { class: "fake", title: "This looks like a photo or a screen, not like a real face" }, "not live") : null);
export const nameOf = (match) => (match
  ? h("span", { class: "known" }, match.name)
  : h("span", { class: "unknown" }, "unknown"));

// A table that can be scrolled on a narrow screen; its last column may have long texts.
export const table = (label, heads, rows) => h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, h("table", {},
  h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
  h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, place) => h("td", { class: place === row.length - 1 ? "wide" : "" },
    cell instanceof Node ? cell : String(cell))))))));
