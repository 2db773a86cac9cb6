// The boards of the hub.

import { get } from "./api.js";
import { count, dateTime, duration, h, repeat, table } from "./dom.js";

const PAUSE = 3000;  // milliseconds between two looks

export async function show(main) {
  const boards = h("section", { class: "card" });
  main.replaceChildren(h("h1", {}, "Boards"), boards);
  return repeat(async () => boards.replaceChildren(boardTable((await get("/boards")).items)), PAUSE);
}

const boardTable = (boards) => (boards.length ? table("Boards",
  ["Board", "Site", "State", "Last seen", "Release", "Behind", "Queue", "Temperature", "Lease", "Erasures to confirm"],
  boards.map((one) => [
    one.id, one.site, h("span", { class: one.standing === "ok" ? "known" : one.standing === "waiting" ? "unknown" : "bad" }, one.standing),
    one.seen === null ? "never" : h("span", { title: dateTime(one.seen) }, `${duration(one.age)} ago`),
    one.release ?? "–", one.behind ? count(one.behind, "person", "people") : "–", one.queue ?? "–",
    one.celsius === null ? "–" : `${Math.round(one.celsius)} °C`,
    one.lease_left === null ? "–" : duration(one.lease_left), one.unconfirmed || "–",
  ])) : h("p", {}, "No boards yet: `rkface hub add-board NAME --site SITE` adds one."));
