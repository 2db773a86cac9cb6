// The cameras: which of them are on, and which parts of their pictures count.

import { addressOf } from "./address.js";
import { call, get, getAll } from "./api.js";
import { confirm, h, redraw, repeat, showMessage } from "./dom.js";
import { editSchedule } from "./schedule.js";
import { editArea } from "./zone_editor.js";

const REFRESH = 5000;  // milliseconds

export async function show(main, name, filters) {
  if (name) return filters.edit === "schedule" ? showSchedule(main, name) : showCamera(main, name);
  const list = h("div");
  main.replaceChildren(h("h1", {}, "Cameras"), list);
  let shown = "";
  return repeat(async () => {
    const cameras = await getAll("/cameras");
    const setups = await Promise.all(cameras.map((one) => get(path(one.name))));
    const now = JSON.stringify([setups, cameras.map((one) => one.connected)]);
    if (now === shown) return;
    shown = now;
    redraw(list, ...cameras.map((one, place) => card(one, setups[place], (after) => { shown = ""; setups[place] = after; })));
    if (!cameras.length) list.replaceChildren(h("p", {}, "No camera is configured. Start the service with --camera."));
  }, REFRESH);
}

const path = (name) => `/cameras/${encodeURIComponent(name)}`;

function card(camera, setup, changed) {
  const box = h("section", { class: "card", "aria-label": camera.name });
  const draw = (now) => {
    const { area, switch: state } = now;
    const change = async (on) => {
      try {
        const after = await call("PUT", `${path(camera.name)}/switch`, { on });
        changed(after);
        draw(after);
        box.querySelector("button").focus();
        showMessage(`${camera.name}: ${stateOf(after.switch)}`);
      } catch (error) { showMessage(error.message); }
    };
    const parts = [count(area.zones, "zone"), count(area.masks, "mask"), area.min_face ? "a minimum size of faces" : ""].filter(Boolean);
    box.replaceChildren(...[
      h("div", { class: "row" },
        h("h2", { class: "grow" }, camera.name),
        h("button", { type: "button", class: "admin-only", onclick: () => change(!state.on) }, state.on ? "Switch off" : "Switch on"),
        state.manual && Object.keys(now.schedule).length
          ? h("button", { type: "button", class: "admin-only", onclick: () => change(null) }, "Follow the schedule") : null),
      h("p", { class: state.on ? "" : "unknown" }, stateOf(state),
        state.on && !camera.connected ? h("span", { class: "bad" }, " There is no picture.") : null),
      h("p", {}, h("a", { href: addressOf("cameras", camera.name, { edit: "schedule" }) }, "Schedule"), h("span", { class: "faint" }, ` ${scheduleOf(now.schedule)}`)),
      h("p", {}, h("a", { href: addressOf("cameras", camera.name) }, "Zones and masks"), h("span", { class: "faint" }, ` ${parts.join(", ") || "none"}`)),
    ].filter(Boolean));
  };
  draw(setup);
  return box;
}

const count = (polygons, what) => {
  const number = Object.keys(polygons).length;
  return number ? `${number} ${what}${number === 1 ? "" : "s"}` : "";
};

function stateOf({ on, manual, until }) {
  const what = on ? "On" : "Switched off: no picture is read";
  const end = until ? `until ${new Date(until * 1000).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" })}` : "";
  if (manual) return `${what}. Switched by hand${end ? `; this holds ${end}` : ""}.`;
  return end ? `${what}, by its schedule, ${end}.` : `${what}.`;
}

const scheduleOf = (schedule) => Object.entries(schedule).map(([name, { days, hours, time_zone: zone }]) =>
  `${name}: ${days.join(", ") || "every day"}, ${hours.join(", ") || "all day"}${zone ? ` (${zone})` : ""}`).join("; ") || "always on";

async function showSchedule(main, name) {
  editSchedule(main, await get(path(name)), path(name), () => showSchedule(main, name));
}

async function showCamera(main, name) {
  const [setup, cameras] = await Promise.all([get(path(name)), getAll("/cameras")]);
  const camera = cameras.find((one) => one.name === name);
  const picture = () => `/v1${path(name)}/picture?${Date.now()}`;
  const editor = editArea(setup.area, picture, camera);
  const origin = setup.area_source === "console"
    ? h("div", { class: "row admin-only" },
      h("span", { class: "faint grow" }, `Changed here${setup.area_changed ? ` on ${setup.area_changed}` : ""}.`),
      h("button", { type: "button", onclick: reset }, "Back to the configuration…")) : null;
  async function reset() {
    const sure = await confirm("Back to the configuration", "What was drawn here is lost.", "Discard it");
    if (!sure) return;
    try {
      await call("DELETE", `${path(name)}/area`);
      await showCamera(main, name);
      showMessage("As in the configuration again");
    } catch (error) { showMessage(error.message); }
  }
  main.replaceChildren(
    h("p", {}, h("a", { href: "#/cameras" }, "All cameras")), h("h1", {}, `Zones and masks of ${name}`),
    h("p", { class: "faint" }, "An appearance says in which zones its face was. Faces in masks are ignored. The center of a face counts."),
    h("form", { novalidate: "", onsubmit: async (event) => {
      event.preventDefault();
      const area = editor.read();
      if (!area) return;  // the editor says what is wrong
      try {
        await call("PUT", `${path(name)}/area`, area);
        await showCamera(main, name);
        showMessage("Saved");
      } catch (error) { showMessage(error.message); }
    } }, editor.node, origin));
}
