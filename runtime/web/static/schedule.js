// The schedule of a camera: hours of the week in which it is on.

import { call } from "./api.js";
import { confirm, h, showMessage } from "./dom.js";
import { field, hoursFields } from "./hours.js";

const NEW = { days: [], hours: [], time_zone: "" };

// Shows the schedule in `setup` of a camera. `path` is its address at the service; `reload` shows the page again.
export function editSchedule(main, setup, path, reload) {
  const problem = h("p", { class: "bad", role: "alert" });
  const list = h("div");
  let made = 0;
  let entries = Object.entries(setup.schedule).map(([name, hours]) => entry(name, hours, false));
  const always = h("p", { class: "card" }, "No hours: the camera is always on.");
  const draw = () => { list.replaceChildren(...entries.map((one) => one.box)); always.hidden = entries.length > 0; };

  function entry(name, hours, isNew) {
    made += 1;
    const id = `hours-${made}`, fields = hoursFields(id, hours, isNew);
    const called = h("input", { id, required: true, maxlength: "100", autocomplete: "off", value: name });
    const one = { read: () => [called.value.trim(), fields.read()], called };
    one.box = h("section", { class: "card", "aria-label": name || "New hours" },
      field(id, "Name", "Of your choice, such as night or holidays.", called), fields.nodes,
      h("button", { type: "button", class: "danger admin-only", onclick: () => {
        entries = entries.filter((other) => other !== one);
        draw();
        add.focus();
      } }, "Remove these hours"));
    return one;
  }

  const add = h("button", { type: "button", class: "admin-only", onclick: () => {
    entries.push(entry("", NEW, true));
    draw();
    entries.at(-1).called.focus();
  } }, "Add hours");
  const act = async (work, said) => {
    problem.textContent = "";
    try {
      await work();
      await reload();
      showMessage(said);
    } catch (error) { problem.textContent = sayPlainly(error.message); }
  };
  const save = (event) => {
    event.preventDefault();
    const given = entries.map((one) => one.read()), hours = Object.fromEntries(given);
    if (Object.keys(hours).length < given.length) {
      problem.textContent = "Two of them have the same name: choose another one.";
      return;
    }
    act(() => call("PUT", `${path}/schedule`, { hours }), "Saved");
  };
  const reset = async () => {
    if (await confirm("Back to the configuration", "The hours that were set here are lost.", "Discard them")) {
      act(() => call("DELETE", `${path}/schedule`), "As in the configuration again");
    }
  };
  draw();
  main.replaceChildren(
    h("p", {}, h("a", { href: "#/cameras" }, "All cameras")), h("h1", {}, `Schedule of ${setup.name}`),
    h("p", { class: "faint" }, "The camera is on in these hours. While it is off, no picture is read. What somebody switches by hand holds until the schedule changes next."),
    h("form", { onsubmit: save }, always, list, problem,
      h("div", { class: "row" }, add, h("button", { class: "main admin-only" }, "Save"))),
    setup.schedule_source === "console" ? h("div", { class: "row admin-only" },
      h("span", { class: "faint grow" }, `Changed here${setup.schedule_changed ? ` on ${setup.schedule_changed}` : ""}.`),
      h("button", { type: "button", onclick: reset }, "Back to the configuration…")) : "");
}

// The service names keys of the configuration; the page has names.
const sayPlainly = (message) => message.split("; ").map((one) => one.replace(/^schedule\./, "")).join(". ");
