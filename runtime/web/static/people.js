// People and their samples.

import { addressOf, setFilters } from "./address.js";
import { call, get, getAll } from "./api.js";
import { confirm, count, dateTime, dialog, h, percent, showMessage } from "./dom.js";
import { chooseFace, describe, enrollPhoto, refusal } from "./enroll.js";
import { forgetPeople, joinGroup } from "./people_actions.js";
import { choosePerson, nameField, portrait, searchPeople, whenTyped } from "./person_choice.js";
import { selection } from "./selection.js";

const PAGE = 60;
const COMPARED = 4;  // pictures of each person before a merge

export const show = (main, id, filters) => (id ? showPerson(main, id) : showAll(main, filters));

async function showAll(main, filters) {
  const list = h("ul", { class: "grid", "aria-label": "People" }), pages = h("p", { class: "row" });
  const nobody = h("p", { class: "card" });
  const search = h("input", { id: "search", type: "search", maxlength: "200", autocomplete: "off", value: filters.search ?? "" });
  let { search: text = "", after } = filters, turn = 0, shown = new Map();
  const withChosen = (work) => async (ids) => {
    try {
      if (!await work(ids.map((id) => shown.get(id)))) return;
    } catch (error) { showMessage(error.message); }
    await fill().catch((error) => showMessage(error.message));
    (list.querySelector("a") ?? search).focus();  // the button that was pressed is disabled again
  };
  const chosen = selection(["person", "people"], [
    { label: "Put into a group…", class: "enroll-only", run: withChosen(joinGroup) },
    { label: "Forget…", class: "danger admin-only", run: withChosen(forgetPeople) },
  ]);
  const fill = async () => {
    const mine = ++turn;
    const { items, next } = await searchPeople(text, after, PAGE);
    if (mine !== turn) return;
    nobody.hidden = items.length > 0;
    nobody.textContent = text ? "Nobody is called like this."
      : "Nobody is enrolled yet. Add photos here, or choose Enroll… next to a person in the live view.";
    chosen.clear();
    chosen.bar.hidden = !items.length;
    shown = new Map(items.map((person) => [person.id, person]));
    list.replaceChildren(...items.map((person) => h("li", { class: "card person" },
      chosen.box(person, person.name),  // first: the focus goes from top to bottom
      h("a", { class: "person", href: addressOf("people", person.id) },
        portrait(person.id, { large: true }), h("strong", {}, person.name),
        h("span", { class: "faint" }, [count(person.samples, "sample", "samples"), ...person.groups].join(", "))))));
    pages.replaceChildren(...[
      after && h("a", { class: "button", href: addressOf("people", undefined, { search: text }) }, "First page"),
      next && h("a", { class: "button", href: addressOf("people", undefined, { search: text, after: next }) }, "Next page")].filter(Boolean));
    return items.length;
  };
  whenTyped(search, (typed) => {
    [text, after] = [typed, undefined];
    setFilters({ search: text }, { replace: true });
    return fill();
  });
  const some = await fill();
  main.replaceChildren(h("h1", {}, "People"),
    h("form", { class: "card", role: "search", hidden: !some && !text, onsubmit: (event) => event.preventDefault() },
      h("label", { for: "search" }, "Search by name"), search),
    h("details", { class: "enroll-only add", open: !some && !text }, h("summary", {}, "Enroll from photos"), upload("", fill)), nobody, chosen.bar, list, pages);
}

// A form to enroll one person from photos. It shows the verdict on each and calls `done` after each enrolled one. If
// `name` is "", the form asks for it.
function upload(name, done) {
  const nameInput = h("input", { id: "who", required: true, maxlength: "200", autocomplete: "off", value: name });
  const files = h("input", { id: "photos", type: "file", multiple: true, required: true, accept: "image/jpeg,image/png,image/webp,image/bmp" });
  const verdicts = h("ul", { class: "rows", "aria-live": "polite" });
  const button = h("button", { class: "main" }, name ? "Add" : "Enroll");
  const enroll = async (file, row, person, force, face = null) => {
    row.replaceChildren(h("span", { class: "grow" }, file.name), "…");
    try {
      const verdict = await enrollPhoto(person, file, force, face);
      const good = verdict.status !== "refused";
      row.replaceChildren(h("span", { class: "grow" }, file.name),
        ...(good ? [h("a", { href: addressOf("people", verdict.id) }, describe(verdict)), ...verdict.notes.map((note) => h("span", { class: "unknown" }, note))]
          : verdict.faces.length ? await chooseFace(verdict, file, (chosen) => enroll(file, row, person, force, chosen))
            : refusal(verdict, (who, anyway) => enroll(file, row, who, anyway, face), URL.createObjectURL(file))));
      if (good) await done();
      return good;
    } catch (error) {
      row.replaceChildren(h("span", { class: "grow" }, file.name), h("span", { class: "bad" }, error.message));
      return false;
    }
  };
  return h("form", { class: "card enroll-only", onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    verdicts.replaceChildren();
    let good = 0;
    for (const file of [...files.files]) {
      const row = h("li");
      verdicts.append(row);
      good += await enroll(file, row, nameInput.value.trim(), false);
    }
    button.disabled = false;
    showMessage(`${good} of ${count(files.files.length, "photo", "photos")} enrolled`);
  } },
  h("h2", {}, name ? "Add photos" : "Enroll from photos"),
  h("div", { class: "row" },
    h("label", { hidden: Boolean(name) }, "Name", nameInput),
    h("label", {}, "Photos", files),
    button),
  verdicts);
}

async function showPerson(main, id) {
  const { person, samples, nearest } = await get(`/people/${id}`);
  const reload = () => showPerson(main, id);
  const list = h("ul", { class: "grid", "aria-label": "Samples" });
  const chosen = selection(["sample", "samples"], [
    { label: "Move to another person…", class: "enroll-only", allowed: (entries) => entries.length < list.children.length, run: (ids) => split(person, ids, refill) },
    { label: "Remove…", class: "danger enroll-only", run: async (ids) => {
      if (!await confirm(`Remove ${count(ids.length, "sample", "samples")}?`, "Existing backups still contain what you remove.", "Remove")) return;
      try {
        for (const sample of ids) await call("DELETE", `/people/${id}/samples/${sample}`);
      } catch (error) { showMessage(error.message); }
      await refill();
    } },
  ]);
  const fill = (found) => {
    chosen.clear();
    list.replaceChildren(...found.map((sample) => h("li", { class: "person" },
      sample.crop ? portrait(id, { sample: sample.id, large: true }) : h("span", { class: "face large" }),
      h("label", { class: "choice" }, chosen.box(sample, `the sample ${sample.source}, ${dateTime(sample.created)}`), `quality ${percent(sample.quality)}`),
      h("span", { class: "faint" }, `${sample.source}, ${dateTime(sample.created)}`))));
  };
  const refill = async () => fill((await get(`/people/${id}`)).samples);
  fill(samples);
  main.replaceChildren(
    h("h1", {}, person.name),
    h("div", { class: "columns" },
      h("div", {},
        h("section", { class: "card" }, h("h2", {}, "Samples"), chosen.bar, list),
        upload(person.name, refill)),
      h("div", {},
        h("section", { class: "card" },
          h("p", {}, h("a", { href: addressOf("appearances", undefined, { who: id }) }, "Show appearances")),
          h("p", { class: "faint" }, `Enrolled ${dateTime(person.created)}`),
          groupsOf(person, await getAll("/groups")),
          nearest.length ? h("h2", {}, "Most similar people") : null,
          h("ul", { class: "rows" }, nearest.map((match) => h("li", {}, portrait(match.person),
            h("a", { class: "grow short", href: addressOf("people", match.person) }, match.name), h("span", { class: "faint" }, `cosine ${match.cosine.toFixed(2)}`))))),
        rename(person, reload), ownThreshold(person), merge(person, reload), forget(person))));
}

// An event handler that shows the error if `work` fails.
const handle = (work) => async (event) => {
  event.preventDefault();
  try { await work(); } catch (error) { showMessage(error.message); }
};

// The groups of a person, for rules for alerts.
function groupsOf(person, known) {
  const names = h("datalist", { id: "groups" }, known.map((one) => h("option", { value: one.name })));
  const list = h("ul", { class: "rows", "aria-label": "Groups" });
  const input = h("input", { id: "group", list: names.id, required: true, maxlength: "200", autocomplete: "off" });
  let groups = person.groups;
  const set = async (wanted) => {
    groups = (await call("PUT", `/people/${person.id}/groups`, { groups: wanted })).groups;
    draw();
  };
  const draw = () => list.replaceChildren(...groups.map((one) => h("li", {}, h("span", { class: "grow" }, one),
    h("button", { type: "button", class: "enroll-only", "aria-label": `Remove from ${one}`, onclick: handle(async () => {
      await set(groups.filter((other) => other !== one));
      input.focus();
    }) }, "Remove"))));
  draw();
  return h("div", {}, h("h2", {}, "Groups"), list, h("form", { class: "enroll-only", onsubmit: handle(async () => {
    await set([...groups, input.value.trim()]);
    input.value = "";
    input.focus();
  }) }, h("label", { for: "group" }, "Add to a group", h("span", { class: "faint" }, "Such as family; a new name makes a group. Rules can be about groups.")),
  names, h("div", { class: "row" }, h("span", { class: "grow" }, input), h("button", {}, "Add"))));
}

function rename(person, done) {
  const name = h("input", { id: "renamed", value: person.name, required: true, maxlength: "200" });
  return h("form", { class: "card enroll-only", onsubmit: handle(async () => {
    await call("PATCH", `/people/${person.id}`, { name: name.value.trim() });
    showMessage("Name changed");
    done();
  }) }, h("p", {}, h("label", { for: "renamed" }, "Name"), name), h("button", {}, "Rename"));
}

function ownThreshold(person) {
  const value = h("input", { id: "own-threshold", type: "number", min: "0", max: "1", step: "0.01", value: person.threshold ?? "" });
  return h("form", { class: "card enroll-only", onsubmit: handle(async () => {
    await call("PUT", `/people/${person.id}/threshold`, { threshold: value.value === "" ? null : Number(value.value) });
    showMessage(value.value === "" ? "The threshold of the service counts" : "Threshold changed");
  }) }, h("p", {}, h("label", { for: "own-threshold" }, "Minimum cosine",
    h("span", { class: "faint" }, "For people who look alike. Empty: as for everybody; it can only be stricter")), value), h("button", {}, "Set"));
}

// Asks who is the same person, shows both, and merges them.
function merge(person, reload) {
  return h("form", { class: "card enroll-only", onsubmit: handle(async () => {
    const other = await choosePerson(`Who is the same person as ${person.name}?`, person.id);
    if (!other) return;
    const into = await compare(person, other);
    if (!into) return;
    const from = into === person.id ? other : person;
    await call("POST", `/people/${from.id}/merge`, { into });
    showMessage(`${person.name} and ${other.name} are one person now`);
    if (into === person.id) await reload();
    else location.hash = addressOf("people", into);
  }) }, h("p", {}, "Was this person enrolled twice?"), h("button", {}, "Merge with…"));
}

// Shows the pictures of two people. Resolves to the id of the one who stays, or undefined.
async function compare(...people) {
  const details = await Promise.all(people.map((one) => get(`/people/${one.id}`)));
  return dialog("Are these one person?", (close) => {
    const names = people.map((one, place) => h("input", { type: "radio", name: "kept", value: one.id, id: `kept-${place}`, checked: !place }));
    return h("form", { onsubmit: (event) => { event.preventDefault(); close(names.find((one) => one.checked).value); } },
      details.map(({ person, samples }) => h("section", { "aria-label": person.name }, h("h3", {}, person.name),
        h("div", { class: "row" }, samples.filter((one) => one.crop).slice(0, COMPARED).map((one) => portrait(person.id, { sample: one.id, large: true }))))),
      h("fieldset", {}, h("legend", {}, "Keep the name"), names.map((one, place) => h("label", { class: "choice", for: one.id }, one, people[place].name))),
      h("p", {}, "All samples and appearances become those of this person. A merge cannot be undone, but samples can be moved to another person again."),
      h("div", { class: "row" }, h("button", { class: "main" }, "Merge"), h("button", { type: "button", onclick: () => close() }, "Cancel")));
  });
}

// Asks who is shown by these `samples` of `person`, and gives them to that person.
async function split(person, samples, done) {
  const moved = await dialog("Who is this?", (close) => {
    const [name, names] = nameField("moved");
    const problem = h("p", { class: "bad", role: "status" });
    return h("form", { onsubmit: async (event) => {
      event.preventDefault();
      try { close(await call("POST", `/people/${person.id}/split`, { name: name.value.trim(), samples })); }
      catch (error) { problem.textContent = error.message; }
    } },
    h("div", { class: "row" }, samples.map((sample) => portrait(person.id, { sample, large: true }))),
    h("p", {}, h("label", { for: "moved" }, "Name", h("span", { class: "faint" }, "A new name, or a person who is already enrolled")), name, names),
    problem, h("div", { class: "row" }, h("button", { class: "main" }, "Move"), h("button", { type: "button", onclick: () => close() }, "Cancel")));
  });
  if (!moved) return;
  showMessage(`${count(samples.length, "sample", "samples")} moved to ${moved.name}`);
  await done();
}

function forget(person) {
  return h("form", { class: "card admin-only", onsubmit: handle(async () => {
    if (await forgetPeople([person])) location.hash = "#/people";
  }) }, h("button", { class: "danger" }, "Forget this person…"));
}
