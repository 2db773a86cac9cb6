// Settings that can change while the service runs. The service lists them and checks new values. The form does not use
// the browser's validation: it would refuse values set elsewhere that are not a multiple of `step`.

import { call, get } from "./api.js";
import { h, showMessage } from "./dom.js";

export async function show(main) {
  const settings = await get("/settings");
  const fields = settings.map((one) => ({ ...one, input: input(one) }));
  main.replaceChildren(h("h1", {}, "Settings"), settings.length ? h("form", { class: "card", novalidate: "", onsubmit: async (event) => {
    event.preventDefault();
    const empty = fields.find((one) => Number.isNaN(read(one)));
    if (empty) { empty.input.focus(); return showMessage(`${empty.label}: enter a number`); }
    const changed = fields.filter((one) => read(one) !== one.value).map((one) => [one.key, read(one)]);
    if (!changed.length) return showMessage("No changes to save");
    try {
      await call("PATCH", "/settings", Object.fromEntries(changed));
      await show(main);
      showMessage("Saved");
    } catch (error) { showMessage(error.message); }
  } },
  fields.map((one) => h("p", {}, h("label", { for: one.key }, one.label, h("span", { class: "faint" }, one.help)), one.input)),
  h("button", { class: "main" }, "Save")) : h("p", {}, "There are no settings to change."));
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
