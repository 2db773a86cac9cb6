// A dry run of a rule for alerts on the appearances of the last days.

import { call } from "./api.js";
import { count, dateTime, h } from "./dom.js";

const DAYS = [1, 7, 30];

// What the rule that `read` returns would have sent. Nothing is sent.
export function trial(read) {
  const days = h("select", { "aria-label": "Days" }, DAYS.map((one) => h("option", { value: String(one), selected: one === 7 }, count(one, "day", "days"))));
  const result = h("div", { role: "status" });
  const run = async () => {
    try {
      result.replaceChildren("Trying…");
      const found = await call("POST", "/rules/dry-run", { rule: read(), days: Number(days.value) });
      const more = found.newest.length < found.alerts ? `, of which these are the newest ${found.newest.length}` : "";
      result.replaceChildren(
        h("p", {}, `It would have sent ${count(found.alerts, "alert", "alerts")} among ${count(found.appearances, "appearance", "appearances")}${more}.`,
          found.quiet ? ` ${found.quiet} more were in the cool-down.` : ""),
        found.newest.length ? h("ul", { class: "rows list" }, found.newest.map((one) => h("li", {},
          h("span", { class: "grow" }, one.name ?? h("span", { class: "unknown" }, "unknown")),
          h("span", {}, one.source), h("span", { class: "faint time" }, dateTime(one.started))))) : "");
    } catch (error) { result.replaceChildren(h("p", { class: "bad" }, error.message)); }
  };
  return h("div", {}, h("div", { class: "row" }, h("label", {}, "In the last", days),
    h("button", { type: "button", onclick: run }, "Would have sent…")), result);
}
