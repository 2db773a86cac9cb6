// The boards of the hub, and who was in front of their cameras last. Both are read again every few seconds.

import { get } from "./api.js";
import { count, dateTime, duration, h, nameOf, repeat } from "./dom.js";

const PAUSE = 3000;  // milliseconds between two looks
const SHOWN = 30;  // appearances
const STATES = { ok: "known", waiting: "unknown" };  // all others are bad

export async function show(main) {
  const boards = h("ul", { class: "rows card", "aria-label": "Boards" });
  const none = h("p", { class: "card" }, "No boards yet. On the hub's machine, ", h("code", {}, "rkface hub add-board NAME --site SITE"), " adds one.");
  const seen = h("ul", { class: "rows", "aria-label": "Latest appearances" });
  const nobody = h("p", { class: "faint" }, "Nobody yet.");
  const lost = document.getElementById("lost");
  main.replaceChildren(h("h1", {}, "Boards"), h("div", { class: "columns" },
    h("div", {}, boards, none),
    h("section", { class: "card" }, h("h2", {}, "Latest appearances"), seen, nobody)));
  const stop = repeat(async () => {
    try {
      const [fleet, appearances] = await Promise.all([get("/boards"), get(`/appearances?limit=${SHOWN}`)]);
      update(boards, fleet.items, (one) => one.id, board);
      update(seen, appearances.items, (one) => `${one.board} ${one.id}`, appearance);
      boards.hidden = !(none.hidden = fleet.items.length > 0);
      seen.hidden = !(nobody.hidden = appearances.items.length > 0);
      lost.hidden = true;
    } catch (error) {
      lost.textContent = `${error.message[0].toUpperCase()}${error.message.slice(1)}`;
      lost.hidden = false;
    }
  }, PAUSE);
  return () => { stop(); lost.hidden = true; };
}

// Makes the rows of `list` show `entries`. A row that shows the same as before is kept, so that nothing flickers and a
// screen reader stays where it is.
function update(list, entries, keyOf, draw) {
  const before = new Map([...list.children].map((row) => [row.dataset.key, row]));
  list.replaceChildren(...entries.map((one) => {
    const fresh = draw(one), old = before.get(keyOf(one));
    fresh.dataset.key = keyOf(one);
    return old?.isEqualNode(fresh) ? old : fresh;
  }));
}

const fact = (name, value) => (value === null ? [] : [h("div", {}, h("dt", {}, name), h("dd", {}, value))]);

function board(one) {
  const late = one.standing === "away" || one.standing === "lease ended";
  return h("li", {},
    h("span", { class: "grow" }, h("strong", {}, one.id), h("br"), h("span", { class: "faint" }, one.site)),
    h("span", { class: "grow" }, h("span", { class: STATES[one.standing] ?? "bad" }, one.standing === "trouble" ? "reports a problem" : one.standing),
      h("br"), h("span", { class: late ? "bad" : "faint" }, one.seen === null ? "never seen" : `seen ${lasting(one.age)} ago`)),
    h("dl", { class: "facts" },
      fact("Release", one.release ?? "not reported"),
      fact("Replica", one.seen === null ? "none yet" : one.behind ? h("span", { class: "unknown" }, `${count(one.behind, "change", "changes")} behind`) : "up to date"),
      fact("Queue", one.queue === null ? "not reported" : count(one.queue, "event", "events")),
      fact("Temperature", one.celsius === null ? "not reported" : `${Math.round(one.celsius)} °C`),
      fact("Lease", one.lease_left === null ? null : one.lease_left ? `${lasting(one.lease_left)} left` : h("span", { class: "bad" }, "ended: names nobody")),
      fact("Revoked", one.revoked === null ? null : dateTime(one.revoked)),
      fact("Erasures", one.unconfirmed ? h("span", { class: "bad" }, `${one.unconfirmed} not confirmed`) : null)));
}

const lasting = (seconds) => (seconds > 2 * 86400 ? `${Math.round(seconds / 86400)} days` : duration(seconds));

const appearance = (one) => h("li", {},
  h("span", { class: "grow" }, nameOf(one.person === null ? null : one),
    h("br"), h("span", { class: "faint" }, `${one.board}, ${one.source}`)),
  h("span", { class: "time faint" }, dateTime(one.started), h("br"), one.ended ? duration(one.ended - one.started) : "still there"));
