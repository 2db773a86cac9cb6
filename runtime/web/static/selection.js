// Choosing several entries of a list, to do something with all of them.

import { count, h } from "./dom.js";

// Boxes for the entries of a list, and a bar that shows how many are chosen, with the buttons `actions`: each has a
// `label` and `run(ids)`, and may have `allowed(entries)` and a `class`.
export function selection(nouns, actions) {
  const chosen = new Map(), boxes = new Map();  // by id: the entry, and its box
  const all = h("input", { type: "checkbox", id: "choose-all", onchange: () => {
    for (const { entry, box } of boxes.values()) mark(entry, box, all.checked);
    update();
  } });
  const state = h("span", { class: "grow", role: "status" });
  const buttons = actions.map((one) => [one, h("button", { type: "button", class: one.class ?? "", onclick: () => one.run([...chosen.keys()]) }, one.label)]);
  const bar = h("div", { class: "row bar enroll-only", role: "group", "aria-label": "Chosen entries" },
    h("label", { class: "choice", for: all.id }, all, "All"), state, buttons.map(([, button]) => button));
  function mark(entry, box, on) {
    box.checked = on;
    if (on) chosen.set(entry.id, entry);
    else chosen.delete(entry.id);
  }
  function update() {
    all.checked = boxes.size > 0 && chosen.size === boxes.size;
    all.indeterminate = chosen.size > 0 && !all.checked;
    state.textContent = chosen.size ? `${count(chosen.size, ...nouns)} chosen` : "";
    for (const [{ allowed }, button] of buttons) button.disabled = !chosen.size || (allowed ? !allowed([...chosen.values()]) : false);
  }
  update();
  return {
    bar,
    isEmpty: () => chosen.size === 0,
    clear() { chosen.clear(); boxes.clear(); update(); },
    box(entry, label) {
      const box = h("input", { type: "checkbox", class: "enroll-only", "aria-label": `Choose ${label}`, onchange: () => { mark(entry, box, box.checked); update(); } });
      boxes.set(entry.id, { entry, box });
      update();
      return box;
    },
  };
}
