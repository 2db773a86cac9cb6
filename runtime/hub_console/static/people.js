// The people of the hub, and the sites where they are known.

import { setFilters } from "./address.js";
import { call } from "./api.js";
import { count, h, showMessage } from "./dom.js";

const PAGE = 50;

export async function show(main, _, filters) {
  const list = h("ul", { class: "rows card", "aria-label": "People" });
  const none = h("p", { class: "card" }, "Nobody. Somebody who is enrolled at a board appears here when the board has told the hub.");
  const more = h("button", { type: "button", hidden: true, onclick: () => load(false).catch((error) => showMessage(error.message)) }, "Show more");
  const text = h("input", { id: "name", type: "search", autocomplete: "off", value: filters.name ?? "" });
  let cursor = null, turn = 0, timer;
  async function load(first) {
    const mine = ++turn;
    const { items, next } = await call("POST", "/people/search", { text: text.value.trim(), limit: PAGE, cursor: first ? null : cursor });
    if (mine !== turn) return;  // meanwhile the user typed on
    const rows = items.map(person);
    if (first) list.replaceChildren(...rows);
    else list.append(...rows);
    cursor = next;
    more.hidden = next === null;
    list.hidden = !(none.hidden = list.children.length > 0);
  }
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      setFilters({ name: text.value.trim() }, { replace: true });
      load(true).catch((error) => showMessage(error.message));
    }, 200);
  });
  await load(true);
  main.replaceChildren(h("h1", {}, "People"),
    h("form", { class: "row card", role: "search", onsubmit: (event) => event.preventDefault() }, h("label", { for: "name" }, "Name", text)), none, list, h("p", {}, more));
  return () => clearTimeout(timer);
}

const person = (one) => h("li", {},
  h("strong", { class: "grow" }, one.name),
  h("span", { class: "grow" }, one.sites.length ? `known at ${one.sites.join(", ")}` : "known nowhere"),
  h("span", { class: "faint figures" }, count(one.samples, "sample", "samples")));
