// Building the page. Text only ever becomes text: nothing here, or anywhere, sets innerHTML.

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

let silence;
export function say(text) {
  document.getElementById("said").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => { document.getElementById("said").textContent = ""; }, 8000);
}

// A dialog with what `fill(dialog, close)` returns. Resolves with what was given to close(), or undefined (Escape).
export function dialog(title, fill) {
  return new Promise((resolve) => {
    let answer;
    const box = h("dialog", { "aria-labelledby": "asked" });
    const close = (value) => { answer = value; box.close(); };
    box.append(h("h2", { id: "asked" }, title), ...[fill(close)].flat());
    box.addEventListener("close", () => { box.remove(); resolve(answer); });
    document.body.append(box);
    box.showModal();
  });
}

export function confirm(title, text, yes) {
  return dialog(title, (close) => [
    h("p", {}, text),
    h("div", { class: "row" },
      h("button", { type: "button", class: "danger", onclick: () => close(true) }, yes),
      h("button", { type: "button", autofocus: true, onclick: () => close(false) }, "Cancel")),
  ]);
}

export const when = (seconds) => new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
export const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;
export const share = (value) => `${Math.round(value * 100)} %`;
export const lasting = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : seconds < 5400
  ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

// Calls `work` now and `pause` milliseconds after each end of it, until the function returned is called.
export function repeat(work, pause) {
  let timer, over = false;
  const turn = async () => {
    try { await work(); } catch (error) { if (!over) say(error.message); }
    if (!over) timer = setTimeout(turn, pause);
  };
  turn();
  return () => { over = true; clearTimeout(timer); };
}

// Beside who it is, where that was judged.
export const lively = (live) => (live === false
  ? h("strong", { class: "fake", title: "Looks like a picture of a face, not a face" }, "not live") : null);
export const who = (match) => (match
  ? h("span", { class: "known" }, match.name)
  : h("span", { class: "unknown" }, "unknown"));
