// What can be done with several people at once.

import { call, getAll } from "./api.js";
import { confirm, count, dialog, h, showMessage } from "./dom.js";

const NAMED = 5;  // people whose names a question lists

const named = (people) => (people.length === 1 ? people[0].name : count(people.length, "person", "people"));
const listed = (people) => (people.length === 1 ? "" : `${people.slice(0, NAMED).map((one) => one.name).join(", ")}${people.length > NAMED ? ", …" : ""}. `);

// Asks for a group and puts `people` into it. Resolves to whether something changed.
export async function joinGroup(people) {
  const known = await getAll("/groups");
  const group = await dialog(`Put ${named(people)} into a group`, (close) => {
    const names = h("datalist", { id: "known-groups" }, known.map((one) => h("option", { value: one.name })));
    const name = h("input", { id: "joined", list: names.id, required: true, maxlength: "200", autocomplete: "off" });
    return h("form", { onsubmit: (event) => { event.preventDefault(); close(name.value.trim()); } },
      h("p", {}, h("label", { for: "joined" }, "Group", h("span", { class: "faint" }, "Such as family; a new name makes a group. Rules can be about groups.")), name, names),
      h("div", { class: "row" }, h("button", { class: "main" }, "Put into it"), h("button", { type: "button", onclick: () => close() }, "Cancel")));
  });
  if (!group) return false;
  for (const one of people) {
    if (!one.groups.includes(group)) await call("PUT", `/people/${one.id}/groups`, { groups: [...one.groups, group] });
  }
  showMessage(`${named(people)}: now in the group ${group}`);
  return true;
}

// Asks, and forgets `people` permanently. Resolves to whether somebody is forgotten. What may be left is shown once, so
// it is a dialog.
export async function forgetPeople(people) {
  const text = `${listed(people)}This deletes all samples, pictures and appearances, here and in all backups. The receivers of events are told to delete their data.`;
  if (!await confirm(`Forget ${named(people)} permanently?`, text, "Forget permanently")) return false;
  const left = new Set();
  let done = 0, problem = "";
  for (const one of people) {
    showMessage(people.length === 1 ? `Forgetting ${one.name}…` : `Forgetting ${one.name}… ${done + 1} of ${people.length}`);
    try {
      for (const place of (await call("DELETE", `/people/${one.id}`)).left) left.add(place);
      done += 1;
    } catch (error) {
      problem = `${one.name} is not forgotten: ${error.message}`;
      break;
    }
  }
  const said = people.length === 1 ? `${people[0].name} is forgotten` : `${count(done, "person is", "people are")} forgotten`;
  if (problem && people.length === 1) throw new Error(problem);
  showMessage(problem ? `${said}. ${problem}` : said);
  if (left.size) await dialog(said, (close) => [
    h("p", {}, "Some data may remain:"),
    h("ul", { class: "rows" }, [...left].map((place) => h("li", {}, h("span", { class: "grow" }, place)))),
    h("button", { type: "button", autofocus: true, onclick: () => close() }, "Close")]);
  return done > 0;
}
