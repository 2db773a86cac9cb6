// The form for a rule for alerts.

import { addressOf } from "./address.js";
import { call, get, getAll } from "./api.js";
import { h, showMessage } from "./dom.js";
import { choosePerson } from "./person_choice.js";
import { trial } from "./rule_trial.js";

const DAYS = { mon: "Monday", tue: "Tuesday", wed: "Wednesday", thu: "Thursday", fri: "Friday", sat: "Saturday", sun: "Sunday" };
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
  const days = choices("Days", "None chosen: every day", Object.keys(DAYS), rule.days, DAYS);
  const receivers = choices("Send the alert to", "", sinks.map((one) => one.name), rule.receivers);
  const hours = h("input", { id: "rule-hours", value: rule.hours.join(", "), autocomplete: "off", placeholder: "22:00-06:00" });
  const zone = h("input", { id: "rule-zone", value: state ? rule.time_zone : Intl.DateTimeFormat().resolvedOptions().timeZone, list: "zones", autocomplete: "off" });
  const quiet = h("input", { id: "rule-quiet", type: "number", required: true, min: "0", max: "1440", step: "any", value: String(rule.cooldown / 60) });
  const problem = h("p", { class: "bad", role: "alert" });
  const read = () => ({
    who: who.read(), cameras: where.read(), zones: inZones.read(), days: days.read(), time_zone: zone.value.trim(),
    hours: hours.value.split(",").map((one) => one.trim()).filter(Boolean),
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
      h("div", { class: "card" }, days.box,
        field("rule-hours", "Hours", "Such as 08:00-17:30, or 22:00-06:00 over midnight, which belong to the day on which they begin. Several with commas between them. Empty: all day.", hours),
        field("rule-zone", "Time zone", "Such as Europe/Warsaw. Empty: that of the machine with the cameras.", zone),
        h("datalist", { id: "zones" }, Intl.supportedValuesOf("timeZone").map((one) => h("option", { value: one })))),
      h("div", { class: "card" }, receivers.box,
        field("rule-quiet", "Minutes of quiet", "After an alert, the same person causes no other one for so long; strangers: at the same camera.", quiet)),
      h("div", { class: "card" }, h("h2", {}, "Try it"), trial(read)),
      problem,
      h("div", { class: "row" }, h("button", { class: "main admin-only" }, "Save"), h("a", { class: "button", href: addressOf("rules") }, "Cancel"))));
}

const field = (id, label, help, input) => h("div", { class: "field" }, h("label", { for: id }, label),
  h("span", { class: "faint help", id: `${id}-help` }, help), (input.setAttribute("aria-describedby", `${id}-help`), input));

// Boxes to tick. Values of the rule that do not exist any more stay visible, so that they can be taken away.
function choices(title, help, offered, chosen, names = {}) {
  const all = [...new Set([...offered, ...chosen])];
  const boxes = all.map((value) => h("input", { type: "checkbox", value, checked: chosen.includes(value) }));
  const box = h("fieldset", { hidden: !all.length }, h("legend", {}, title), help ? h("p", { class: "faint" }, help) : null,
    h("div", { class: "row" }, boxes.map((one) => h("label", { class: "choice" }, one, names[one.value] ?? one.value))));
  return { box, read: () => boxes.filter((one) => one.checked).map((one) => one.value) };
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
