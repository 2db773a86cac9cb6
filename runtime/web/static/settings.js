// What can be changed while the service runs. The service says what there is and judges what is sent; this draws a form
// for it, without the browser's own validation, which would hold `step` against values that were set elsewhere.

import { call, get } from "./api.js";
import { h, say } from "./dom.js";

export async function show(main) {
  const settings = await get("/settings");
  const fields = settings.map((one) => ({ ...one, input: input(one) }));
  main.replaceChildren(h("h1", {}, "Settings"), settings.length ? h("form", { class: "card", novalidate: "", onsubmit: async (event) => {
    event.preventDefault();
    const empty = fields.find((one) => Number.isNaN(read(one)));
    if (empty) { empty.input.focus(); return say(`${empty.label}: a number is needed`); }
    const changed = fields.filter((one) => read(one) !== one.value).map((one) => [one.key, read(one)]);
    if (!changed.length) return say("Nothing was changed");
    try {
      await call("PATCH", "/settings", Object.fromEntries(changed));
      await show(main);
      say("Saved");
    } catch (error) { say(error.message); }
  } },
  fields.map((one) => h("p", {}, h("label", { for: one.key }, one.label, h("span", { class: "faint" }, one.help)), one.input)),
  h("button", { class: "main" }, "Save")) : h("p", {}, "There is nothing to set here."));
}

function input({ key, value, minimum, maximum, step, choices }) {
  if (typeof value === "boolean") return h("input", { id: key, type: "checkbox", checked: value });
  if (choices.length) return h("select", { id: key }, choices.map((one) => h("option", { selected: one === value }, one)));
  if (typeof value === "string") return h("input", { id: key, value });
  return h("input", { id: key, type: "number", required: true, value: String(value), min: text(minimum), max: text(maximum), step: text(step ?? "any") });
}

const text = (value) => (value === null || value === undefined ? undefined : String(value));

function read({ value, input: field }) {
  if (typeof value === "boolean") return field.checked;
  return typeof value === "number" ? field.valueAsNumber : field.value;
}
