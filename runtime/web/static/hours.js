// Fields for hours of the week: days, hours of the day, and their time zone.

import { h } from "./dom.js";

const DAYS = { mon: "Monday", tue: "Tuesday", wed: "Wednesday", thu: "Thursday", fri: "Friday", sat: "Saturday", sun: "Sunday" };
const HOURS = "Such as 08:00-17:30, or 22:00-06:00 over midnight, which belong to the day on which they begin. Several with commas between them. Empty: all day.";

export const field = (id, label, help, input) => h("div", { class: "field" }, h("label", { for: id }, label),
  h("span", { class: "faint help", id: `${id}-help` }, help), (input.setAttribute("aria-describedby", `${id}-help`), input));

// Boxes to tick. Values that were chosen and do not exist any more stay visible, so that they can be taken away.
export function choices(title, help, offered, chosen, names = {}) {
  const all = [...new Set([...offered, ...chosen])];
  const boxes = all.map((value) => h("input", { type: "checkbox", value, checked: chosen.includes(value) }));
  const box = h("fieldset", { hidden: !all.length }, h("legend", {}, title), help ? h("p", { class: "faint" }, help) : null,
    h("div", { class: "row" }, boxes.map((one) => h("label", { class: "choice" }, one, names[one.value] ?? one.value))));
  return { box, read: () => boxes.filter((one) => one.checked).map((one) => one.value) };
}

// The fields, with ids that begin with `prefix`. `isNew`: the time zone of the browser is filled in. `read()` returns
// the values as the service takes them.
export function hoursFields(prefix, { days, hours, time_zone: zone }, isNew) {
  const onDays = choices("Days", "None chosen: every day", Object.keys(DAYS), days, DAYS);
  const spans = h("input", { id: `${prefix}-hours`, value: hours.join(", "), autocomplete: "off", placeholder: "22:00-06:00" });
  const place = h("input", { id: `${prefix}-zone`, value: isNew ? Intl.DateTimeFormat().resolvedOptions().timeZone : zone, list: `${prefix}-zones`, autocomplete: "off" });
  return {
    nodes: [onDays.box, field(spans.id, "Hours", HOURS, spans),
      field(place.id, "Time zone", "Such as Europe/Warsaw. Empty: that of the machine with the cameras.", place),
      h("datalist", { id: `${prefix}-zones` }, Intl.supportedValuesOf("timeZone").map((one) => h("option", { value: one })))],
    read: () => ({ days: onDays.read(), hours: spans.value.split(",").map((one) => one.trim()).filter(Boolean), time_zone: place.value.trim() }),
  };
}
