// Finding a person among thousands: the service searches, and sends a page at a time.

import { call } from "./api.js";
import { count, dialog, h, showMessage } from "./dom.js";

const TYPING = 200;  // milliseconds after the last letter until the search begins
const SHOWN = 20;  // people in a dialog
const SUGGESTED = 8;  // names below a field

// A page of the people whose names contain the words of `text`, sorted by name.
export const searchPeople = (text, cursor = null, limit = 50) => call("POST", "/people/search", { text, cursor, limit });

export const portrait = (person, { sample = 0, large = false } = {}) => h("img", {
  class: large ? "face large" : "face", alt: "", loading: "lazy", onerror: (event) => { event.target.removeAttribute("src"); },
  src: `/v1/people/${person}/face${sample ? `?sample=${sample}` : ""}`,
});

// Calls `search(text)` a moment after the user has typed in `input`, unless another letter follows.
export function whenTyped(input, search) {
  let timer;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => search(input.value.trim()).catch((error) => showMessage(error.message)), TYPING);
  });
}

// A field for a name, with the names of people who are enrolled as suggestions.
export function nameField(id, attributes = {}) {
  const names = h("datalist", { id: `${id}-names` });
  const input = h("input", { id, list: names.id, required: true, maxlength: "200", autocomplete: "off", ...attributes });
  whenTyped(input, async (text) => {
    const { items } = text ? await searchPeople(text, null, SUGGESTED) : { items: [] };
    names.replaceChildren(...items.map((one) => h("option", { value: one.name })));
  });
  return [input, names];
}

// Asks the user to choose one of the people, except the one with the id `without`. Resolves to a person, or undefined.
export function choosePerson(title, without = null) {
  return dialog(title, (close) => {
    const field = h("input", { id: "person-search", type: "search", maxlength: "200", autocomplete: "off" });
    const list = h("ul", { class: "rows" }), state = h("p", { class: "faint", role: "status" });
    let turn = 0, shown = [];
    const fill = async (text) => {
      const mine = ++turn;
      const { items, next } = await searchPeople(text, null, SHOWN);
      if (mine !== turn) return;
      const people = shown = items.filter((one) => one.id !== without);
      state.textContent = people.length ? (next ? `The first ${people.length}: type more of the name` : count(people.length, "person", "people"))
        : "Nobody is called like this.";
      list.replaceChildren(...people.map((one) => h("li", {}, h("button", { type: "button", class: "choice grow", onclick: () => close(one) },
        portrait(one.id), h("span", { class: "grow" }, one.name)))));
    };
    whenTyped(field, fill);
    fill("").catch((error) => { state.textContent = error.message; });
    const enter = async (event) => {  // chooses only if it is clear who is meant, by what is in the field now
      event.preventDefault();
      const text = field.value.trim();
      await fill(text).catch((error) => { shown = []; state.textContent = error.message; });
      const named = shown.filter((one) => one.name.toLowerCase() === text.toLowerCase());
      if (named.length === 1 || shown.length === 1) close(named[0] ?? shown[0]);
      else list.querySelector("button")?.focus();
    };
    return h("form", { onsubmit: enter },
      h("label", { for: field.id }, "Name"), field, state, h("div", { class: "list" }, list),
      h("div", { class: "row" }, h("button", { type: "button", onclick: () => close() }, "Cancel")));
  });
}
