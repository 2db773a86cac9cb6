// How the service, its cameras and its NPU fare.

import { get } from "./api.js";
import { count, h, lasting, repeat, when } from "./dom.js";

export async function show(main) {
  const body = h("div");
  main.replaceChildren(h("h1", {}, "Health"), body);
  return repeat(async () => body.replaceChildren(...page(await get("/health"))), 2000);
}

function page(health) {
  return [
    h("section", { class: "card", "aria-label": "Summary" },
      health.ok ? h("p", { class: "known" }, "All is well.") : h("ul", {}, health.problems.map((one) => h("li", { class: "bad" }, one))),
      facts({
        "Running for": lasting(Date.now() / 1000 - health.started),
        Version: health.version,
        Models: `${health.bundle} (${health.backend})`,
        Board: health.board,
        "NPU load": health.npu_load,
        Temperature: Object.entries(health.celsius).map(([zone, value]) => `${zone} ${Math.round(value)} °C`).join(", "),
        Memory: `${Math.round(health.memory)} MiB`,
        "Waiting for the NPU": count(health.queue, "frame", "frames"),
        Gallery: `${count(health.people, "person", "people")}, ${count(health.samples, "sample", "samples")}`,
      })),
    h("section", { class: "card" }, h("h2", {}, "Cameras"), table(
      ["Camera", "State", "Picture", "Looked at", "Latency", "Dropped", "Reconnects", "Last error"],
      health.cameras.map((one) => [
        one.name, state(one.connected, "connected", "no picture"), one.width ? `${one.width}×${one.height}` : "–",
        `${one.fps.toFixed(1)} of ${one.offered.toFixed(1)} /s${one.pace ? `, ${one.pace}` : ""}`, `${Math.round(one.latency)} ms`, one.dropped, one.reconnects,
        one.error ? `${one.error}${one.error_time ? ` (${when(one.error_time)})` : ""}` : "–",
      ]))),
    health.sinks.length ? h("section", { class: "card" }, h("h2", {}, "Events go to"), table(
      ["Where", "State", "Sent", "Waiting", "Lost", "Last error"],
      health.sinks.map((one) => [one.name, state(one.connected, "connected", "away"), one.sent, one.waiting, one.lost, one.error || "–"]))) : null,
  ].filter(Boolean);
}

const state = (good, yes, no) => h("span", { class: good ? "known" : "bad" }, good ? yes : no);

const facts = (all) => h("dl", {}, Object.entries(all).filter(([, value]) => value)
  .flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

const table = (heads, rows) => h("div", { class: "scroll" }, h("table", {},
  h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
  h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, place) => h("td", { class: place === row.length - 1 ? "wide" : "" },
    cell instanceof Node ? cell : String(cell))))))));
