// The state of the service, its cameras, the NPU and the receivers of events.

import { get } from "./api.js";
import { count, dateTime, duration, h, redraw, repeat, table } from "./dom.js";

export async function show(main) {
  const body = h("div");
  main.replaceChildren(h("h1", {}, "Health"), body);
  return repeat(async () => redraw(body, ...sections(await get("/health"))), 2000);
}

function sections(health) {
  return [
    h("section", { class: "card", "aria-label": "Summary" },
      health.ok ? h("p", { class: "known" }, "Everything works.") : h("ul", {}, health.problems.map((one) => h("li", { class: "bad" }, one))),
      facts({
        "Running for": duration(Date.now() / 1000 - health.started),
        Version: health.version,
        Models: `${health.bundle} (${health.backend}${health.binding && `, ${health.binding}`})`,
        Board: health.board,
        "NPU load": health.npu_load,
        Temperature: Object.entries(health.celsius).map(([zone, value]) => `${zone} ${Math.round(value)} °C`).join(", "),
        Memory: `${Math.round(health.memory)} MiB`,
        "NPU queue": count(health.queue, "frame", "frames"),
        Gallery: `${count(health.people, "person", "people")}, ${count(health.samples, "sample", "samples")}`,
      })),
    h("section", { class: "card" }, h("h2", {}, "Cameras"), table("Cameras",
      ["Camera", "State", "Resolution", "Analyzed", "Latency", "Dropped", "Reconnects", "Last error"],
      health.cameras.map((one) => [
        one.name, one.on ? state(one.connected, "connected", "no picture") : "switched off",
        one.width ? `${one.width}×${one.height}${one.decoder ? `, ${one.decoder} decoding` : ""}` : "–",
        `${one.fps.toFixed(1)} of ${one.offered.toFixed(1)} fps${one.pace ? ` (${one.pace})` : ""}`,
        `${Math.round(one.latency)} ms`, one.dropped, one.reconnects,
        one.error ? `${one.error}${one.error_time ? ` (${dateTime(one.error_time)})` : ""}` : "–",
      ]))),
    health.sinks.length ? h("section", { class: "card" }, h("h2", {}, "Event receivers"), table("Event receivers",
      ["Receiver", "State", "Sent", "Waiting", "Lost", "Last error"],
      health.sinks.map((one) => [
        one.name, state(one.connected, "connected", "not connected"), one.sent, one.waiting, one.lost, one.error || "–",
      ]))) : null,
  ].filter(Boolean);
}

const state = (good, yes, no) => h("span", { class: good ? "known" : "bad" }, good ? yes : no);

const facts = (all) => h("dl", {}, Object.entries(all).filter(([, value]) => value)
  .flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
