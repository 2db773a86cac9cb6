// Settings that can change while the service runs. The service lists them and checks new values. The form does not use
// the browser's validation: it would refuse values set elsewhere that are not a multiple of `step`.

import { call, getAll } from "./api.js";
import { h, showMessage } from "./dom.js";

const SECTIONS = { recognition: "Recognition", keep: "Stored data" };  // others are called as in the configuration

export async function show(main) {
  const settings = await getAll("/settings");
  const fields = settings.map((one) => ({ ...one, input: input(one), problem: h("span", { class: "bad", id: `${one.key}-problem` }) }));
  const reset = async (one) => {
    try {
      await call("PATCH", "/settings", { [one.key]: null });
      await show(main);
      document.getElementById(one.key)?.focus();
      showMessage(`${one.label}: ${one.configured} again`);
    } catch (error) { showMessage(error.message); }
  };
  const save = async (event) => {
    event.preventDefault();
    fields.forEach((one) => mark(one, ""));
    const empty = fields.filter((one) => Number.isNaN(read(one)));
    if (empty.length) return markAll(empty.map((one) => [one, "must be a number"]));
    const changed = fields.filter((one) => read(one) !== one.value).map((one) => [one.key, read(one)]);
    if (!changed.length) return showMessage("No changes to save");
    try {
      await call("PATCH", "/settings", Object.fromEntries(changed));
      await show(main);
      showMessage("Saved");
    } catch (error) {
      const wrong = (error.errors ?? []).map(({ loc, msg }) => [fields.find((one) => one.key === loc[1]), msg]).filter(([one]) => one);
      if (wrong.length) markAll(wrong);
      else showMessage(error.message);
    }
  };
  main.replaceChildren(h("h1", {}, "Settings"), settings.length ? h("form", { novalidate: "", onsubmit: save },
    Object.entries(Object.groupBy(fields, (one) => one.key.split(".")[0])).map(([table, group]) =>
      h("fieldset", { class: "card" }, h("legend", {}, SECTIONS[table] ?? table[0].toUpperCase() + table.slice(1)),
        group.map((one) => field(one, reset)))),
    h("button", { class: "main" }, "Save")) : h("p", {}, "There are no settings to change."));
}

function field(one, reset) {
  one.input.addEventListener("input", () => mark(one, ""));
  one.input.setAttribute("aria-describedby", `${one.key}-help ${one.key}-problem`);
  return h("div", { class: "field" },
    h("label", { for: one.key }, one.label), h("span", { class: "faint help", id: `${one.key}-help` }, one.help),
    one.input, one.problem, origin(one, reset));
}

// Marks the fields that are wrong, and goes to the first of them. Each message calls the field what the page calls it.
function markAll(wrong) {
  for (const [one, problem] of wrong) mark(one, problem);
  wrong[0][0].input.focus();
  showMessage(wrong.map(([one, problem]) => `${one.label} ${problem}`).join(". "));
}

function mark(one, problem) {
  one.problem.textContent = problem && `${one.label} ${problem}`;
  if (problem) one.input.setAttribute("aria-invalid", "true");
  else one.input.removeAttribute("aria-invalid");
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
