// People without a name who came again: enroll them, or ignore them for good. Below them: who is ignored, and which past
// appearances were named afterwards.

import { addressOf } from "./address.js";
import { call, get, getAll, query } from "./api.js";
import { confirm, count, dateTime, dialog, h, showMessage } from "./dom.js";
import { describe, refusal } from "./enroll.js";
import { nameField } from "./person_choice.js";

const PAGE = 60;
const MOST_LISTED = 1000;  // ids in a request
const DAY = 86400000;  // milliseconds

const picture = (address) => h("img", { class: "face large", alt: "", loading: "lazy", src: address });
const faceOf = (stranger) => (stranger.face ? picture(`/v1/appearances/${stranger.face}/face`) : h("span", { class: "face large" }));

// Exactly the appearances that the page shows: the stranger may have come again since. Of many, a list would be too long
// for a request; then all are meant.
const seen = ({ appearances }) => (appearances.length <= MOST_LISTED ? appearances : []);

// "seen 7 times since Tuesday"; with the date if that is a week ago, and "today" if it began today.
function seenSince({ times, started }) {
  const then = new Date(started * 1000);
  if (times === 1) return `seen once, ${dateTime(started)}`;
  if (then.toDateString() === new Date().toDateString()) return `seen ${times} times today`;
  const recent = Date.now() - then < 6 * DAY;
  return `seen ${times} times since ${then.toLocaleDateString([], recent ? { weekday: "long" } : { dateStyle: "medium" })}`;
}

export async function show(main, _, filters) {
  const list = h("ul", { class: "grid wide", "aria-label": "Strangers" }), pages = h("p", { class: "row" });
  const nobody = h("p", { class: "card" });
  const ignored = h("section", { class: "card" }), renamed = h("section", { class: "card" });
  const least = filters.all ? 1 : 2;
  const title = h("h1", { tabindex: "-1" }, "Strangers");
  const reload = () => fill().then(() => title.focus({ preventScroll: true }), (error) => showMessage(error.message));  // the button that was pressed is gone
  const fill = async () => {
    const [{ items, next }, settings, entries, renamings] = await Promise.all([
      get(`/strangers?${query({ limit: PAGE, least, cursor: filters.after })}`), getAll("/settings"), getAll("/ignored"), getAll("/renamings")]);
    const kept = settings.find((one) => one.key === "keep.embeddings")?.value;
    nobody.hidden = items.length > 0;
    nobody.replaceChildren(...(kept
      ? ["Nobody without a name came again."]
      : ["Strangers are found by the embeddings of their faces, and none is kept: that is off until you switch it on. Set “Keep embeddings (days)” in the ",
        h("a", { href: "#/settings" }, "settings"), ". Embeddings are biometric data of people who were not asked."]));
    list.replaceChildren(...items.map((one) => card(one, reload)));
    pages.replaceChildren(...[
      filters.after && h("a", { class: "button", href: addressOf("strangers", undefined, { all: filters.all }) }, "Newest"),
      next && h("a", { class: "button", href: addressOf("strangers", undefined, { all: filters.all, after: next }) }, "Older"),
      h("a", { class: "button", href: addressOf("strangers", undefined, filters.all ? {} : { all: "yes" }) },
        filters.all ? "Only who came again" : "Also who came once")].filter(Boolean));
    showIgnored(ignored, entries, reload);
    showRenamings(renamed, renamings, reload);
  };
  await fill();
  main.replaceChildren(title, nobody, list, pages, ignored, renamed);
}

function card(stranger, reload) {
  const known = stranger.person;
  return h("li", { class: "card person" }, faceOf(stranger), h("strong", {}, seenSince(stranger)),
    h("span", { class: "faint" }, `last ${dateTime(stranger.last)}, ${stranger.cameras.join(", ")}`),
    known ? h("span", { class: "known" }, `now recognized as ${known.name}`) : null,
    h("div", { class: "row enroll-only" },
      known
        ? h("button", { type: "button", class: "main", onclick: () => renamePast(known, reload) }, "Name past appearances")
        : h("button", { type: "button", class: "main", disabled: !stranger.pictures, title: stranger.pictures ? null : "No picture is stored any more", onclick: () => enroll(stranger, reload) }, "Enroll…"),
      h("button", { type: "button", onclick: () => ignore(stranger, reload) }, "Ignore for good…")));
}

async function enroll(stranger, reload) {
  const verdict = await dialog("Who is this?", (close) => {
    const [name, names] = nameField("name");
    const rename = h("input", { id: "rename", type: "checkbox", checked: true });
    const result = h("div", { role: "status" });
    const send = async (person, force) => {
      result.replaceChildren("Enrolling…");
      try {
        const given = await call("POST", `/strangers/${stranger.id}/enroll`, { name: person, force, rename: rename.checked, appearances: seen(stranger) });
        if (given.status === "refused") result.replaceChildren(...refusal(given, send, `/v1/appearances/${stranger.face}/face`));
        else close(given);
      } catch (error) { result.replaceChildren(h("p", { class: "bad" }, error.message)); }
    };
    return h("form", { onsubmit: (event) => { event.preventDefault(); send(name.value.trim(), false); } },
      h("div", { class: "row" }, faceOf(stranger), h("span", { class: "grow" }, seenSince(stranger))),
      h("p", {}, h("label", { for: "name" }, "Name", h("span", { class: "faint" }, "A new name, or a person who is already enrolled")), name, names),
      h("p", {}, h("label", { class: "choice" }, rename, `Also name the ${count(stranger.times, "past appearance", "past appearances")}. You can undo that.`)),
      result,
      h("div", { class: "row" }, h("button", { class: "main" }, "Enroll"), h("button", { type: "button", onclick: () => close() }, "Cancel")));
  });
  if (!verdict) return;
  showMessage([describe(verdict), ...verdict.notes].join(" – "));
  reload();
}

async function ignore(stranger, reload) {
  const note = await dialog("Ignore this person for good?", (close) => {
    const field = h("input", { id: "note", maxlength: "200", autocomplete: "off" });
    return h("form", { onsubmit: (event) => { event.preventDefault(); close(field.value); } },
      h("div", { class: "row" }, faceOf(stranger), h("span", { class: "grow" }, seenSince(stranger))),
      h("p", {}, "From now on, this face is nobody: no appearance, no event, no alert. To recognize it, the gallery keeps up to eight embeddings and pictures of this person, who was not asked, until you stop ignoring them."),
      h("p", {}, h("label", { for: "note" }, "Note", h("span", { class: "faint" }, "For yourself, such as “the postman”")), field),
      h("div", { class: "row" }, h("button", { class: "main" }, "Ignore"), h("button", { type: "button", onclick: () => close() }, "Cancel")));
  });
  if (note === undefined) return;
  try {
    await call("POST", `/strangers/${stranger.id}/ignore`, { note, appearances: seen(stranger) });
    showMessage("This face is ignored from now on.");
  } catch (error) { showMessage(error.message); }
  reload();
}

function showIgnored(place, entries, reload) {
  place.hidden = !entries.length;
  place.replaceChildren(h("h2", {}, "Ignored"), h("ul", { class: "rows", "aria-label": "Ignored" }, entries.map((one) => h("li", {},
    one.face ? h("img", { class: "face", alt: "", src: `/v1/ignored/${one.id}/face` }) : h("span", { class: "face" }),
    h("span", { class: "grow" }, one.note || "no note", " ", h("span", { class: "faint" }, `since ${dateTime(one.created)}, ${count(one.embeddings, "embedding", "embeddings")}`)),
    h("button", { type: "button", class: "enroll-only", onclick: async () => {
      if (!await confirm("Stop ignoring this person?", "The embeddings and pictures of this entry are deleted, also in backups. The person can appear as a stranger again.", "Stop ignoring")) return;
      try {
        const { left } = await call("DELETE", `/ignored/${one.id}`);
        showMessage(left.length ? `Deleted here. Copies may remain: ${left.join("; ")}` : "Deleted, also in backups.");
      } catch (error) { showMessage(error.message); }
      reload();
    } }, "Stop ignoring…")))));
}

async function renamePast(person, reload) {
  try {
    const { renaming } = await call("POST", "/renamings", { person: person.person });
    showMessage(renaming ? `${count(renaming.appearances, "past appearance", "past appearances")} named ${renaming.name}` : "No past appearance looks like this person.");
  } catch (error) { showMessage(error.message); }
  reload();
}

function showRenamings(place, renamings, reload) {
  place.hidden = !renamings.length;
  place.replaceChildren(h("h2", {}, "Named afterwards"), h("ul", { class: "rows", "aria-label": "Named afterwards" }, renamings.map((one) => h("li", {},
    h("span", { class: "grow" }, h("a", { href: addressOf("people", one.person) }, one.name), " ",
      h("span", { class: "faint" }, `${count(one.appearances, "appearance", "appearances")} since ${dateTime(one.started)}`)),
    h("button", { type: "button", class: "enroll-only", onclick: async () => {
      try {
        await call("DELETE", `/renamings/${one.id}`);
        showMessage("These appearances are those of a stranger again.");
      } catch (error) { showMessage(error.message); }
      reload();
    } }, "Undo")))));
}
