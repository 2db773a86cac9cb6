// People and their samples.

import { call, get, getPeople } from "./api.js";
import { confirm, count, dateTime, dialog, h, percent, showMessage } from "./dom.js";
import { chooseFace, describe, enrollPhoto, refusal } from "./enroll.js";

export const show = (main, id) => (id ? showPerson(main, id) : showAll(main));

const face = (person, sample, large) => h("img", {
  class: large ? "face large" : "face", alt: "", loading: "lazy", onerror: (event) => { event.target.removeAttribute("src"); },
  src: `/v1/people/${person}/face${sample ? `?sample=${sample}` : ""}`,
});

async function showAll(main) {
  const list = h("ul", { class: "grid" });
  const nobody = h("p", {}, "Nobody is enrolled yet. Add photos here, or choose Enroll… next to a person in the live view.");
  const fill = async () => {
    const people = await getPeople();
    nobody.hidden = people.length > 0;
    list.replaceChildren(...people.map((person) => h("li", {},
      h("a", { class: "card person", href: `#/people/${person.id}` },
        face(person.id, 0, true), h("strong", {}, person.name),
        h("span", { class: "faint" }, count(person.samples, "sample", "samples"))))));
  };
  await fill();
  main.replaceChildren(h("h1", {}, "People"), upload("", fill), nobody, list);
}

// A form to enroll one person from photos. It shows the verdict on each and calls `done` after each enrolled one. If
// `name` is "", the form asks for it.
function upload(name, done) {
  const nameInput = h("input", { id: "who", required: true, maxlength: "200", autocomplete: "off", value: name });
  const files = h("input", { id: "photos", type: "file", multiple: true, required: true, accept: "image/jpeg,image/png,image/webp,image/bmp" });
  const verdicts = h("ul", { class: "rows", role: "status" });
  const button = h("button", { class: "main" }, name ? "Add" : "Enroll");
  const enroll = async (file, row, person, force, face = null) => {
    row.replaceChildren(h("span", { class: "grow" }, file.name), "…");
    try {
      const verdict = await enrollPhoto(person, file, force, face);
      const good = verdict.status !== "refused";
      row.replaceChildren(h("span", { class: "grow" }, file.name),
        ...(good ? [describe(verdict), ...verdict.notes.map((note) => h("span", { class: "unknown" }, note))]
          : verdict.faces.length ? await chooseFace(verdict, file, (chosen) => enroll(file, row, person, force, chosen))
            : refusal(verdict, (who, anyway) => enroll(file, row, who, anyway, face), URL.createObjectURL(file))));
      if (good) await done();
      return good;
    } catch (error) {
      row.replaceChildren(h("span", { class: "grow" }, file.name), h("span", { class: "bad" }, error.message));
      return false;
    }
  };
  return h("form", { class: "card", onsubmit: async (event) => {
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
  const others = (await getPeople()).filter((other) => other.id !== id);
  const reload = () => showPerson(main, id);
  const list = h("ul", { class: "grid" });
  const fill = (found) => list.replaceChildren(...found.map((sample) => h("li", { class: "person" },
    sample.crop ? face(id, sample.id, true) : h("span", { class: "face large" }),
    h("span", {}, `quality ${percent(sample.quality)}`),
    h("span", { class: "faint" }, `${sample.source}, ${dateTime(sample.created)}`),
    h("button", { type: "button", class: "quiet", "aria-label": `Remove sample ${sample.source}`, onclick: handle(async () => {
      if (!await confirm("Remove this sample?", "Existing backups still contain it.", "Remove")) return;
      await call("DELETE", `/people/${id}/samples/${sample.id}`);
      await refill();
    }) }, "Remove…"))));
  const refill = async () => fill((await get(`/people/${id}`)).samples);
  fill(samples);
  main.replaceChildren(
    h("h1", {}, person.name),
    h("div", { class: "columns" },
      h("div", {},
        h("section", { class: "card" }, h("h2", {}, "Samples"), list),
        upload(person.name, refill)),
      h("div", {},
        h("section", { class: "card" },
          h("p", {}, h("a", { href: `#/appearances/${id}` }, "Show appearances")),
          h("p", { class: "faint" }, `Enrolled ${dateTime(person.created)}`),
          nearest.length ? h("h2", {}, "Most similar people") : null,
          h("ul", { class: "rows" }, nearest.map((match) => h("li", {},
            h("a", { class: "grow", href: `#/people/${match.person}` }, match.name), `cosine ${match.cosine.toFixed(2)}`)))),
        rename(person, reload), merge(person, others), forget(person))));
}

// An event handler that shows the error if `work` fails.
const handle = (work) => async (event) => {
  event.preventDefault();
  try { await work(); } catch (error) { showMessage(error.message); }
};

function rename(person, done) {
  const name = h("input", { id: "renamed", value: person.name, required: true, maxlength: "200" });
  return h("form", { class: "card", onsubmit: handle(async () => {
    await call("PATCH", `/people/${person.id}`, { name: name.value.trim() });
    showMessage("Name changed");
    done();
  }) }, h("p", {}, h("label", { for: "renamed" }, "Name"), name), h("button", {}, "Rename"));
}

function merge(person, others) {
  const into = h("select", { id: "into" }, others.map((other) => h("option", { value: other.id }, other.name)));
  return h("form", { class: "card", hidden: !others.length, onsubmit: handle(async () => {
    const name = into.selectedOptions[0].textContent;
    if (!await confirm(`Merge with ${name}?`, `All samples of ${person.name} move to ${name}. This cannot be undone.`, "Merge")) return;
    await call("POST", `/people/${person.id}/merge`, { into: into.value });
    location.hash = `#/people/${into.value}`;
  }) }, h("p", {}, h("label", { for: "into" }, "Same person as"), into), h("button", {}, "Merge…"));
}

function forget(person) {
  return h("form", { class: "card", onsubmit: handle(async () => {
    const text = "This deletes all samples, pictures and appearances, here and in all backups. "
      + "The receivers of events are told to delete their data.";
    if (!await confirm(`Forget ${person.name} permanently?`, text, "Forget permanently")) return;
    showMessage(`Forgetting ${person.name}…`);
    const { left } = await call("DELETE", `/people/${person.id}`);
    location.hash = "#/people";
    showMessage(`${person.name} is forgotten`);
    if (left.length) await dialog(`${person.name} is forgotten`, (close) => [  // a dialog, because this is shown only once
      h("p", {}, "Some data may remain:"),
      h("ul", { class: "rows" }, left.map((place) => h("li", {}, h("span", { class: "grow" }, place)))),
      h("button", { type: "button", autofocus: true, onclick: () => close() }, "Close")]);
  }) }, h("button", { class: "danger" }, "Forget this person…"));
}
