// The form for a rule for alerts.

import { addressOf } from "./address.js";
import { call, get, getAll } from "./api.js";
import { h, showMessage } from "./dom.js";
import { choices, field, hoursFields } from "./hours.js";
import { choosePerson } from "./person_choice.js";
import { trial } from "./rule_trial.js";

const WHO = { anybody: "Anybody", known: "Anybody who is enrolled", stranger: "Strangers" };
const NEW = { who: ["stranger"], cameras: [], zones: [], days: [], hours: [], time_zone: "", cooldown: 300, receivers: [], enabled: true };
const LABELS = { who: "Who", cameras: "Cameras", zones: "Zones", days: "Days", hours: "Hours", time_zone: "Time zone", cooldown: "Minutes of quiet", receivers: "Receivers" };

export async function editRule(main, state, rules) {
  const rule = state?.rule ?? NEW;
  const [cameras, groups, { sinks }] = await Promise.all([getAll("/cameras"), getAll("/groups"), get("/health")]);
  const setups = await Promise.all(cameras.map((one) => get(`/cameras/${encodeURIComponent(one.name)}`)));
  const zones = [...new Set(setups.flatMap((one) => Object.keys(one.area.zones)))];
  const name = h("input", { id: "rule-name", required: true, maxlength: "100", autocomplete: "off", value: state?.name ?? "" });
  const who = await whom(rule.who, groups);
  const where = choices("Cameras", "None chosen: all", cameras.map((one) => one.name), rule.cameras);
  const inZones = choices("Zones", "None chosen: everywhere", zones, rule.zones);
  const when = hoursFields("rule", rule, !state);
  const receivers = choices("Send the alert to", "", sinks.map((one) => one.name), rule.receivers);
  const quiet = h("input", { id: "rule-quiet", type: "number", required: true, min: "0", max: "1440", step: "any", value: String(rule.cooldown / 60) });
  const problem = h("p", { class: "bad", role: "alert" });
  const read = () => ({
    who: who.read(), cameras: where.read(), zones: inZones.read(), ...when.read(),
    cooldown: quiet.valueAsNumber * 60 || 0, receivers: receivers.read(), enabled: rule.enabled,
  });
  const save = async (event) => {
    event.preventDefault();
    problem.textContent = "";
    const called = name.value.trim();
    try {
      if (!state && rules.some((one) => one.name === called)) throw new Error(`There is a rule ${called} already: choose another name.`);
      await call("PUT", `/rules/${encodeURIComponent(called)}`, read());
      location.hash = addressOf("rules");
      showMessage(`${called}: saved`);
    } catch (error) {
      problem.textContent = sayPlainly(error.message);
      problem.scrollIntoView({ block: "nearest" });
    }
  };
  main.replaceChildren(h("h1", {}, state ? `Rule ${state.name}` : "New rule"),
    h("form", { onsubmit: save },
      h("div", { class: "card" }, state ? null : field("rule-name", "Name", "Of your choice; receivers get it with the alert.", name), who.box),
      h("div", { class: "card" }, where.box, inZones.box),
      h("div", { class: "card" }, when.nodes),
      h("div", { class: "card" }, receivers.box,
        field("rule-quiet", "Minutes of quiet", "After an alert, the same person causes no other one for so long; strangers: at the same camera.", quiet)),
      h("div", { class: "card" }, h("h2", {}, "Try it"), trial(read)),
      problem,
      h("div", { class: "row" }, h("button", { class: "main admin-only" }, "Save"), h("a", { class: "button", href: addressOf("rules") }, "Cancel"))));
}

// Whom the rule is about: kinds of people, groups, and single people.
async function whom(chosen, groups) {
  const people = new Map(await Promise.all(chosen.filter((one) => one.startsWith("person:")).map(async (one) => {
    try { return [one, (await get(`/people/${one.slice(7)}`)).person.name]; } catch { return [one, one.slice(7)]; }
  })));
  const names = { ...WHO, ...Object.fromEntries([...groups.map((one) => `group:${one.name}`), ...chosen.filter((one) => one.startsWith("group:"))].map((one) => [one, `Group ${one.slice(6)}`])) };
  const kinds = choices("Who", "", Object.keys(names), chosen.filter((one) => !people.has(one)), names);
  const list = h("ul", { class: "rows" });
  const draw = () => list.replaceChildren(...[...people].map(([key, person]) => h("li", {}, h("span", { class: "grow" }, person),
    h("button", { type: "button", "aria-label": `Remove ${person}`, onclick: () => { people.delete(key); draw(); add.focus(); } }, "Remove"))));
  const add = h("button", { type: "button", onclick: async () => {
    const person = await choosePerson("Whom is the rule about?");
    if (person) people.set(`person:${person.id}`, person.name);
    draw();
    add.focus();
  } }, "Add a person…");
  draw();
  kinds.box.append(list, add);
  return { box: kinds.box, read: () => [...kinds.read(), ...people.keys()] };
}

// The service names keys of the configuration; the page calls them what it calls the fields.
const sayPlainly = (message) => (/\.who is empty/.test(message) ? "Who is empty: choose whom the rule is about." : message.split("; ").map((one) => one.replace(/^rules\..*?\.(\w+)(:| is| has)/, (whole, key, rest) => (
  LABELS[key] ? `${LABELS[key]}${rest}` : whole)).replace(/^rules\.[^:]*: /, "")).join(". "));
