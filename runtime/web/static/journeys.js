// The list of journeys: one person in front of one camera after another. Its filters and its page are in the address.

import { addressOf, setFilters } from "./address.js";
import { get, query } from "./api.js";
import { dayFields, midnight } from "./days.js";
import { count, dateTime, duration, h, showMessage } from "./dom.js";

const PAGE = 50;

// The view. `filter` is the name of the filter by place in requests ("source" or "site") and in the address, and
// `places()` returns its values. `more(filters)` returns a link below the list, if there is one.
export const journeysView = (filter, label, places, more = () => null) => ({
  async show(main, person, given) {
    let filters = given;
    const list = h("ul", { class: "rows card", "aria-label": "Journeys" });
    const empty = h("p", { class: "card" }, "No journeys. People who are not known have none.");
    const pages = h("p", { class: "row" });
    let turn = 0;
    async function load() {
      const mine = ++turn;
      const { items, next } = await get(`/journeys?${query({
        limit: PAGE, cursor: filters.before, person: person ?? null, [filter]: filters[filter] || null,
        since: midnight(filters.from), until: midnight(filters.to, 1),
      })}`);
      if (mine !== turn) return;  // meanwhile the user made another choice
      list.replaceChildren(...items.map(row));
      list.hidden = !items.length;
      empty.hidden = !list.hidden;
      const link = (text, its, before) => h("a", { class: "button", href: addressOf("journeys", its, { ...filters, before }) }, text);
      pages.replaceChildren(...[
        person && link("All people"), filters.before && link("Newest", person), next && link("Older", person, next),
        more(filters),
      ].filter(Boolean));
    }
    const change = (values) => {
      filters = { ...filters, before: undefined, ...values };
      setFilters(filters);
      load().catch((error) => showMessage(error.message));
    };
    const place = h("select", { id: filter, onchange: () => change({ [filter]: place.value }) },
      h("option", { value: "" }, "All"),
      (await places()).map((one) => h("option", { value: one, selected: one === filters[filter] }, one)));
    await load();
    main.replaceChildren(
      h("h1", {}, "Journeys"),
      h("form", { class: "row card filters", role: "search", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
        h("label", { for: filter }, label, place), dayFields(filters, change)),
      empty, list, pages);
  },
});

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { timeStyle: "medium" });

function row(journey) {
  return h("li", {},
    h("span", { class: "grow" }, h("a", { class: "known", href: addressOf("journeys", journey.person) }, journey.name), h("br"),
      h("span", { class: "faint" }, `${duration(journey.last - journey.started)}, ${count(journey.stops.length, "appearance", "appearances")}`)),
    h("span", { class: "time" }, dateTime(journey.started)),
    h("ol", { class: "stops", "aria-label": `The way of ${journey.name}` }, journey.stops.map((stop) => h("li", {},
      h("span", { class: "time" }, clock(stop.started)), " ", h("strong", {}, [stop.board, stop.source].filter(Boolean).join(" / ")), " ",
      h("span", { class: "faint" }, stop.lasts ? "no end yet" : duration(stop.last - stop.started))))));
}
