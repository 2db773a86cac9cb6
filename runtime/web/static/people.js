// People and their samples.

import { call, get } from "./api.js";
import { confirm, count, dialog, h, say, share, when } from "./dom.js";
import { decision, photo, told } from "./enroll.js";

export const show = (main, id) => (id ? one(main, id) : all(main));

const face = (person, sample, large) => h("img", {
  class: large ? "face large" : "face", alt: "", loading: "lazy", onerror: (event) => { event.target.removeAttribute("src"); },
  src: `/v1/people/${person}/face${sample ? `?sample=${sample}` : ""}`,
});

async function all(main) {
  const list = h("ul", { class: "grid" });
  const nobody = h("p", {}, "Nobody is enrolled yet. Add photos here, or press Enroll… beside somebody in the live view.");
  const fill = async () => {
    const people = await get("/people");
    nobody.hidden = people.length > 0;
    list.replaceChildren(...people.map((person) => h("li", {},
      h("a", { class: "card person", href: `#/people/${person.id}` },
        face(person.id, 0, true), h("strong", {}, person.name),
        h("span", { class: "faint" }, count(person.samples, "sample", "samples"))))));
  };
  await fill();
  main.replaceChildren(h("h1", {}, "People"), upload("", fill), nobody, list);
}

// A form for photos of one person; each gets its verdict, and `done` is called after each that was enrolled. `name` is ""
// where it is to be asked for.
function upload(name, done) {
  const called = h("input", { id: "who", required: true, maxlength: "200", autocomplete: "off", value: name });
  const files = h("input", { id: "photos", type: "file", multiple: true, required: true, accept: "image/jpeg,image/png,image/webp,image/bmp" });
  const verdicts = h("ul", { class: "rows", role: "status" });
  const button = h("button", { class: "main" }, "Enroll");
  const judge = async (file, row, person, force) => {
    row.replaceChildren(h("span", { class: "grow" }, file.name), "…");
    const verdict = await photo(person, file, force);
    const good = verdict.status !== "refused";
    row.replaceChildren(h("span", { class: "grow" }, file.name),
      ...(good ? [told(verdict), ...verdict.notes.map((note) => h("span", { class: "unknown" }, note))]
        : decision(verdict, (...again) => judge(file, row, ...again))));
    if (good) await done();
    return good;
  };
  return h("form", { class: "card", onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    verdicts.replaceChildren();
    let good = 0;
    for (const file of [...files.files]) {
      const row = h("li");
      verdicts.append(row);
      try {
        good += await judge(file, row, called.value.trim(), false);
      } catch (error) {
        row.replaceChildren(h("span", { class: "grow" }, file.name), h("span", { class: "bad" }, error.message));
      }
    }
    button.disabled = false;
    say(`${good} of ${count(files.files.length, "photo", "photos")} enrolled`);
  } },
  h("h2", {}, "Enroll from photos"),
  h("div", { class: "row" },
    h("label", { hidden: Boolean(name) }, "Name", called),
    h("label", {}, "Photos", files),
    button),
  verdicts);
}

async function one(main, id) {
  const { person, samples, nearest } = await get(`/people/${id}`);
  const others = (await get("/people")).filter((other) => other.id !== id);
  const again = () => one(main, id);
  const list = h("ul", { class: "grid" });
  const fill = (found) => list.replaceChildren(...found.map((sample) => h("li", { class: "person" },
    sample.crop ? face(id, sample.id, true) : h("span", { class: "face large" }),
    h("span", {}, `quality ${share(sample.quality)}`),
    h("span", { class: "faint" }, `${sample.source}, ${when(sample.created)}`),
    h("button", { type: "button", class: "quiet", "aria-label": `Remove the sample ${sample.source}`, onclick: attempt(async () => {
      if (!await confirm("Remove this sample?", "Backups keep it until they grow old.", "Remove")) return;
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
          h("p", {}, h("a", { href: `#/appearances/${id}` }, "Appearances")),
          h("p", { class: "faint" }, `Enrolled ${when(person.created)}`),
          nearest.length ? h("h2", {}, "Looks most like") : null,
          h("ul", { class: "rows" }, nearest.map((match) => h("li", {},
            h("a", { class: "grow", href: `#/people/${match.person}` }, match.name), `cosine ${match.cosine.toFixed(2)}`)))),
        rename(person, again), merge(person, others), forget(person))));
}

const attempt = (work) => async (event) => {
  event.preventDefault();
  try { await work(); } catch (error) { say(error.message); }
};

function rename(person, done) {
  const name = h("input", { id: "renamed", value: person.name, required: true, maxlength: "200" });
  return h("form", { class: "card", onsubmit: attempt(async () => {
    await call("PATCH", `/people/${person.id}`, { name: name.value.trim() });
    say("Renamed");
    done();
  }) }, h("p", {}, h("label", { for: "renamed" }, "Name"), name), h("button", {}, "Rename"));
}

function merge(person, others) {
  const into = h("select", { id: "into" }, others.map((other) => h("option", { value: other.id }, other.name)));
  return h("form", { class: "card", hidden: !others.length, onsubmit: attempt(async () => {
    const name = into.selectedOptions[0].textContent;
    if (!await confirm("One person?", `All samples of ${person.name} become ${name}'s.`, "Merge")) return;
    await call("POST", `/people/${person.id}/merge`, { into: into.value });
    location.hash = `#/people/${into.value}`;
  }) }, h("p", {}, h("label", { for: "into" }, "Is the same person as"), into), h("button", {}, "Merge…"));
}

function forget(person) {
  return h("form", { class: "card", onsubmit: attempt(async () => {
    const text = `${person.name}, with all samples, pictures and appearances, here and in all backups. `
      + "Whoever receives events is told to delete the rest.";
    if (!await confirm("Delete for good?", text, "Delete for good")) return;
    say(`Deleting ${person.name}…`);
    const { left } = await call("DELETE", `/people/${person.id}`);
    location.hash = "#/people";
    say(`${person.name} is forgotten`);
    if (left.length) await dialog(`${person.name} is forgotten here`, (close) => [  // until it was read: it is said only once
      h("p", {}, "Out of reach, for now or for good:"),
      h("ul", { class: "rows" }, left.map((said) => h("li", {}, h("span", { class: "grow" }, said)))),
      h("button", { type: "button", autofocus: true, onclick: () => close() }, "Close")]);
  }) }, h("button", { class: "danger" }, "Forget this person…"));
}
