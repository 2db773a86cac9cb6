// Settings that can change while the service runs. The service lists them and checks new values. The form does not use
// the browser's validation: it would refuse values set elsewhere that are not a multiple of `step`.

import { call, getAll } from "./api.js";
import { h, showMessage } from "./dom.js";

export async function show(main) {
  const settings = await getAll("/settings");
  const fields = settings.map((one) => ({ ...one, input: input(one) }));
  const reset = async (one) => {
    try {
      await call("PATCH", "/settings", { [one.key]: null });
      await show(main);
      document.getElementById(one.key)?.focus();
      showMessage(`${one.label}: ${one.configured} again`);
    } catch (error) { showMessage(error.message); }
  };
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
  fields.map((one) => h("p", {}, h("label", { for: one.key }, one.label, h("span", { class: "faint" }, one.help)), one.input, origin(one, reset))),
  h("button", { class: "main" }, "Save")) : h("p", {}, "There are no settings to change."));
}

// Where the value comes from, if it is not the default, with a button to undo a change.
function origin(one, reset) {
  if (one.source === "configuration") return h("span", { class: "faint" }, "From the configuration.");
  if (one.source !== "console") return null;
  const text = `Changed here${one.changed ? ` on ${one.changed}` : ""}. The configuration says ${one.configured}.`;
  return h("span", { class: "row" }, h("span", { class: "faint grow" }, text),
    h("button", { type: "button", "aria-label": `Reset ${one.label}`, onclick: () => reset(one) }, "Reset"));
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
