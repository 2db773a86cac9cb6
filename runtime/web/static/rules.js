// Rules for alerts: what each does, in words, whether it is on, and what it would have sent in the last days.

import { addressOf } from "./address.js";
import { call, get, getAll } from "./api.js";
import { confirm, count, h, showMessage } from "./dom.js";
import { editRule } from "./rule_editor.js";
import { trial } from "./rule_trial.js";

export async function show(main, name) {
  const [rules, receivers] = await Promise.all([getAll("/rules"), getAll("/receivers")]);
  if (name === "new") return editRule(main, null, rules);
  const chosen = rules.find((one) => one.name === name);
  if (name && chosen) return editRule(main, chosen, rules);
  const draw = async (focus) => {
    await show(main);
    const button = [...main.querySelectorAll("section")].find((one) => one.getAttribute("aria-label") === focus)?.querySelector("button");
    (button ?? main.querySelector("a.button"))?.focus();
  };
  main.replaceChildren(h("h1", {}, "Rules"),
    h("p", { class: "row" }, h("span", { class: "grow" }, "A rule says when an alert is sent, and to whom."),
      h("a", { class: "button admin-only", href: addressOf("rules", "new") }, "New rule…")),
    ...(rules.length ? rules.map((one) => card(one, draw))
      : [h("p", { class: "card" }, "There are no rules yet, so no alerts are sent.")]),
    ...(receivers.length ? [testable(receivers)] : []));
}

// The receivers, each with a button that sends it a message, to see whether alerts would arrive.
function testable(receivers) {
  const row = ({ name }) => {
    const result = h("span", { class: "grow", role: "status" });
    const button = h("button", { type: "button", class: "admin-only", "aria-label": `Send a test message to ${name}`, onclick: async () => {
      button.disabled = true;
      result.replaceChildren("Sending…");
      try {
        const { delivered, problem } = await call("POST", `/receivers/${encodeURIComponent(name)}/test`);
        result.replaceChildren(h("span", { class: delivered ? "known" : "bad" }, delivered ? "It has the message." : problem));
      } catch (error) { result.replaceChildren(h("span", { class: "bad" }, error.message)); }
      button.disabled = false;
      button.focus();
    } }, "Send a test message");
    return h("li", {}, h("span", { class: "short" }, name), result, button);
  };
  return h("section", { class: "card", "aria-label": "Receivers" }, h("h2", {}, "Receivers"),
    h("p", { class: "faint" }, "Who can get alerts, as the configuration says. A test message contains no person. A receiver that gets pictures with alerts gets a drawn one."),
    h("ul", { class: "rows" }, receivers.map(row)));
}

const path = (name) => `/rules/${encodeURIComponent(name)}`;

function card(state, draw) {
  const { name, rule, words, source, configured, notes, sent } = state;
  const act = (work, said) => async () => {
    try {
      await work();
      await draw(name);
      showMessage(said);
    } catch (error) { showMessage(error.message); }
  };
  const reset = async () => {
    const text = configured ? "The rule of the configuration is in effect again." : "No more alerts are sent because of this rule.";
    if (!await confirm(`${configured ? "Reset" : "Delete"} the rule ${name}?`, text, configured ? "Reset" : "Delete")) return;
    await act(() => call("DELETE", path(name)), configured ? `${name}: as in the configuration again` : `${name}: deleted`)();
  };
  return h("section", { class: "card", "aria-label": name },
    h("div", { class: "row" },
      h("h2", { class: "grow" }, name),
      h("button", { type: "button", class: "admin-only", "aria-pressed": String(rule.enabled),
        onclick: act(() => call("PUT", path(name), { ...rule, enabled: !rule.enabled }), `${name}: ${rule.enabled ? "off" : "on"}`) },
      rule.enabled ? "Switch off" : "Switch on")),
    h("p", { class: rule.enabled ? "" : "faint" }, words),
    notes.map((note) => h("p", { class: "unknown" }, `${note[0].toUpperCase()}${note.slice(1)}.`)),
    h("p", { class: "faint" }, [`${count(sent, "alert", "alerts")} sent`,
      source === "console" ? (configured ? "changed here" : "made here") : "from the configuration"].join(", ")),
    trial(() => rule),
    h("div", { class: "row admin-only" },
      h("a", { class: "button", href: addressOf("rules", name), "aria-label": `Change ${name}` }, "Change…"),
      source === "console" ? h("button", { type: "button", class: configured ? "" : "danger", onclick: reset }, configured ? "Reset" : "Delete…") : null));
}
